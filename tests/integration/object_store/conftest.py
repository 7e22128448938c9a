"""A prefix of the test's own in a bucket of the run's S3 service, which takes long to make one."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.object_store.promises import PROBES
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS


@pytest.fixture
def client(s3_client: S3Client) -> S3Client:
    """The user's."""
    return s3_client


@pytest.fixture
def forgetful(s3_client: S3Client, s3_server: EmbeddedSeaweedFS, monkeypatch: pytest.MonkeyPatch) -> S3Client:
    """A client of its own, which a test makes forget what it is asked: to the store, a service that lies."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return S3Endpoint(url=s3_server.url, path_style=True).open()


def forget(client: S3Client, operation: str, *names: str, **instead: object) -> None:
    """Let a client leave out arguments of an operation, or put others in their place: values, or what gives them."""

    def without(params: dict[str, Any], **_: object) -> None:
        for name in names:
            params.pop(name, None)
        params.update({name: value() if callable(value) else value for name, value in instead.items()})

    client.meta.events.register(f"provide-client-params.s3.{operation}", without)


def kept_for_two_days(key: str) -> datetime | None:
    return None if key.startswith(("removable/", PROBES)) else datetime.now(UTC) + timedelta(days=2)


@pytest.fixture
def own_prefix() -> str:
    return uuid.uuid4().hex[:8]


@pytest.fixture
def store(client: S3Client, own_prefix: str) -> S3ObjectStore:
    """In a bucket with versions and without locks."""
    return S3ObjectStore(client, S3Bucket("versions", prefix=own_prefix))


@pytest.fixture
def locked_store(client: S3Client, own_prefix: str) -> S3ObjectStore:
    """In a bucket whose objects nobody can delete, but those below `removable/` and probes."""
    bucket = S3Bucket("locks", prefix=own_prefix, lock_mode="COMPLIANCE")
    return S3ObjectStore(client, bucket, retain_until=kept_for_two_days)
