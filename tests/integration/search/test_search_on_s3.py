"""A search of a bucket that keeps versions reads what was put, whatever somebody puts over it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.search.engine import opened_engine
from compliance_pipelines.search.period import Period
from compliance_pipelines.search.searching import searched
from compliance_pipelines.search_filters import Wanted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.integration.search.conftest import World


@pytest.fixture
def object_store(s3_client: S3Client) -> S3ObjectStore:
    """In place of a directory."""
    return S3ObjectStore(s3_client, S3Bucket("versions", prefix=uuid.uuid4().hex[:8]))


def test_the_version_that_was_put_is_read(world: World, object_store: S3ObjectStore, s3_client: S3Client) -> None:
    (key,) = [
        info.key
        for info in object_store.list("audit-archives/")
        if f"{world.purged}" in info.key and info.key.endswith(".parquet")
    ]
    bucket = object_store.bucket
    for each in (key, key.replace(".parquet", ".manifest.json")):
        s3_client.put_object(Bucket=bucket.name, Key=f"{bucket.prefix}/{each}", Body=b"something else")
    assert object_store.get_bytes(key) == b"something else"
    period = Period.of(world.purged, world.hot)
    with searched(world.services, period, Wanted(), on_plan=lambda plan: plan.requests > 0) as found:
        assert found is not None
        assert found.missing == ()
        with opened_engine(found.entries, 64) as engine, engine.query("SELECT DISTINCT source FROM audit_log") as rows:
            assert {row["source"] for row in rows.read_all().to_pylist()} == {"hot", object_store.locate(key)}
            assert engine.count() == 30
