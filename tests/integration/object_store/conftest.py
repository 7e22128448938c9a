"""A prefix of the test's own in a bucket of the run's S3 service, which takes long to make one."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.promises import PROBES
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def client(s3_client: S3Client) -> S3Client:
    """The user's."""
    return s3_client


def kept_for_two_days(key: str) -> datetime | None:
    return None if key.startswith(("removable/", PROBES)) else datetime.now(UTC) + timedelta(days=2)


@pytest.fixture
def own_prefix() -> str:
    return uuid.uuid4().hex[:8]


@pytest.fixture
def store(client: S3Client, own_prefix: str) -> S3ObjectStore:
    """In a bucket with versions and without locks."""
    store = S3ObjectStore(client, S3Bucket("versions", prefix=own_prefix))
    store.create()
    return store


@pytest.fixture
def locked_store(client: S3Client, own_prefix: str) -> S3ObjectStore:
    """In a bucket whose objects nobody can delete, but those below `removable/` and probes."""
    bucket = S3Bucket("locks", prefix=own_prefix, lock_mode="COMPLIANCE")
    store = S3ObjectStore(client, bucket, retain_until=kept_for_two_days)
    store.create()
    return store
