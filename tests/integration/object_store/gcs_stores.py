"""Buckets of the tests' own service, which keeps what Google's documents say, and stores in them.

Here: fixtures. Not here: any rule (tests/support/gcs_rules.py).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.gcs import GcsBucket, GcsObjectStore
from compliance_pipelines.object_store.gcs_client import GcsEndpoint
from tests.integration.object_store.conftest import kept_for_two_days
from tests.support.gcs_server import gcs_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.object_store.gcs_client import GcsService
    from tests.support.gcs_rules import GcsRules
    from tests.support.gcs_server import GcsServer

KEY_RING = "projects/audit/locations/europe-west3/keyRings/cold/cryptoKeys/archives"


def service_at(url: str) -> GcsService:
    """A service that is given up after two seconds."""
    return GcsEndpoint(project="audit", url=url, timeout_seconds=1, first_wait_seconds=0.01).open()


@pytest.fixture
def gcs() -> Iterator[GcsServer]:
    with gcs_server() as running:
        yield running


@pytest.fixture
def rules(gcs: GcsServer) -> GcsRules:
    """What the service keeps and refuses, to be changed by a test."""
    return gcs.rules


@pytest.fixture
def gcs_store(gcs: GcsServer) -> GcsObjectStore:
    """In a bucket without locks and versions."""
    bucket = GcsBucket(f"plain-{uuid.uuid4().hex[:8]}", prefix="audit/prod", location="EUROPE-WEST3")
    store = GcsObjectStore(service_at(gcs.url), bucket)
    store.create()
    return store


@pytest.fixture
def gcs_locked_store(gcs: GcsServer) -> GcsObjectStore:
    """In a bucket whose objects nobody can delete, but those below `removable/` and probes."""
    bucket = GcsBucket(f"locks-{uuid.uuid4().hex[:8]}", lock_mode="Locked", location="EUROPE-WEST3")
    store = GcsObjectStore(service_at(gcs.url), bucket, retain_until=kept_for_two_days)
    store.create()
    return store
