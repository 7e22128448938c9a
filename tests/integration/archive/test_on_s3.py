"""A day's whole life in a bucket that locks, whatever somebody with the right to write puts over it."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil
import pytest

from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.part_keys import rotate_keys
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.encryption.wrapped_key import WrappedKey, record_key
from compliance_pipelines.ledger.object_retention import ObjectRetention, retention_end
from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
from compliance_pipelines.object_store.port import BrokenPromiseError, ObjectStoreError
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint
from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.verification.online import verify
from tests.integration.object_store.conftest import forget, forgetful
from tests.support.encrypted import encrypted
from tests.support.fault_proxy import Fault, Kind, s3_proxy
from tests.support.sealing import seal_all
from tests.support.servers import in_use

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

__all__ = ["forgetful"]  # fixture

_YEARS = 7
_ALL = ("GET", "HEAD", "PUT", "POST")
_KEYS = 1_000


@pytest.fixture
def object_store(s3_client: S3Client) -> S3ObjectStore:
    """In place of a directory."""
    bucket = S3Bucket("locks", prefix=uuid.uuid4().hex[:8], lock_mode="COMPLIANCE")
    return S3ObjectStore(s3_client, bucket, retain_until=ObjectRetention(_YEARS))


@pytest.fixture
def part(services: Services, days: Days, day: date) -> ArchivedPart:
    """Of a day that is archived and verified."""
    days.append(day, 10)
    archive_day(services, day)
    with services.engine.connect() as connection:
        (part,) = parts_of_day(connection, day)
    return part


def through(url: str, store: S3ObjectStore, environment: dict[str, str], patch: pytest.MonkeyPatch) -> S3ObjectStore:
    """The same bucket at another endpoint."""
    for name, value in environment.items():
        patch.setenv(name, value)
    client = S3Endpoint(url=url, path_style=True, timeout_seconds=1).open()
    return S3ObjectStore(client, store.bucket, retain_until=ObjectRetention(_YEARS))


@pytest.mark.parametrize("lost", [".parquet", ".manifest.json"])
def test_an_answer_that_is_lost_neither_doubles_a_part_nor_loses_it(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    day: date,
    s3_server: EmbeddedSeaweedFS,
    object_store: S3ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    days.append(day, 10)
    with s3_proxy(s3_server.port) as proxy:
        proxy.faults.append(Fault(Kind.UNANSWERED, "PUT", lost))
        store = through(proxy.url, object_store, s3_server.environment, monkeypatch)

        result = archive_day(replace(services, store=store), day)

    assert [(part.part, part.entry_count, part.verified_at is not None) for part in result.parts] == [(1, 10, True)]
    assert proxy.faults[0].times == 0
    assert [info.key.rpartition(".")[2] for info in object_store.list("audit-archives/")] == ["json", "parquet"]


def test_a_service_that_is_killed_in_the_middle_is_gone_on_with(
    services: Services, days: Days, day: date, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedSeaweedFS(tmp_path / "s3")
    with in_use(server, "s3", tmp_path / "users"):
        bucket = S3ObjectStore(S3Endpoint(region="us-east-1").open(), S3Bucket("killed", lock_mode="COMPLIANCE"))
        store = through(server.url, bucket, server.environment, monkeypatch)
        store.create()
        copy_objects(services.store, store)
        opened = replace(services, store=store)
        days.append(day, 10, sealed=False)
        seal_all(opened)

        def kill(step: ArchiveStep) -> None:
            if step is ArchiveStep.OBJECT_PUT and server.pid is not None:
                psutil.Process(server.pid).kill()

        with pytest.raises(ObjectStoreError):
            archive_day(opened, day, hook=kill)
        server.start()
        opened = replace(services, store=through(server.url, bucket, server.environment, monkeypatch))
        result = archive_day(opened, day)

        assert result.adopted
        assert [(part.part, part.entry_count, part.verified_at is not None) for part in result.parts] == [(1, 10, True)]


def test_what_was_put_without_its_lock_is_taken_over_by_no_later_run(
    services: Services, days: Days, day: date, object_store: S3ObjectStore, forgetful: S3Client
) -> None:
    days.append(day, 10)
    forget(forgetful, "PutObject", "ObjectLockMode", "ObjectLockRetainUntilDate")
    store = S3ObjectStore(forgetful, object_store.bucket, retain_until=ObjectRetention(_YEARS))

    for opened in (replace(services, store=store), services):
        with pytest.raises(BrokenPromiseError, match="its lock is none"):
            archive_day(opened, day)

    with services.engine.connect() as connection:
        assert parts_of_day(connection, day) == []


def copy_objects(source: ObjectStore, target: ObjectStore) -> None:
    """All objects of a store, which then is the same one in another place."""
    for info in source.list(""):
        target.put_bytes(info.key, source.get_bytes(info.key))


def test_a_part_is_locked_until_its_retention_ends(
    s3_client: S3Client, object_store: S3ObjectStore, part: ArchivedPart
) -> None:
    for key, version in ((part.object_key, part.object_version), (part.manifest_key, part.manifest_version)):
        head = s3_client.head_object(Bucket="locks", Key=object_store.object_key(key))
        assert head["VersionId"] == version
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert head["ObjectLockRetainUntilDate"] == retention_end(part.day, _YEARS)


@pytest.mark.parametrize("hidden", ["replaced", "deleted"])
def test_what_somebody_puts_over_an_archive_neither_loses_nor_stops_it(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    clock: MovableClock,
    s3_client: S3Client,
    object_store: S3ObjectStore,
    part: ArchivedPart,
    hidden: str,
) -> None:
    rows = days.hot_rows(part.day)
    for key in (part.object_key, part.manifest_key):
        if hidden == "replaced":
            s3_client.put_object(Bucket="locks", Key=object_store.object_key(key), Body=b"another")
        else:
            s3_client.delete_object(Bucket="locks", Key=object_store.object_key(key))

    assert verify(services, [part.day]).ok
    clock.advance(days=8)
    assert purge_day(services, part.day).entry_count == len(rows)
    restored = restore_day(services, part.day)

    assert days.table_rows(restored.table, part.day) == rows


def test_credentials_that_expire_in_the_middle_lose_nothing_and_the_next_run_finishes(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    day: date,
    s3_server: EmbeddedSeaweedFS,
    object_store: S3ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    days.append(day, 10)
    with s3_proxy(s3_server.port) as proxy:
        store = through(proxy.url, object_store, s3_server.environment, monkeypatch)

        def expire(step: ArchiveStep) -> None:
            if step is ArchiveStep.OBJECT_PUT:
                expired = [Fault(Kind.REFUSED, method, times=1_000, status=400, code="ExpiredToken") for method in _ALL]
                proxy.faults.extend(expired)

        with pytest.raises(ObjectStoreError, match="ExpiredToken"):
            archive_day(replace(services, store=store), day, hook=expire)
        proxy.faults.clear()
        result = archive_day(replace(services, store=store), day)

    assert result.adopted
    assert [(part.part, part.entry_count, part.verified_at is not None) for part in result.parts] == [(1, 10, True)]


def test_two_that_archive_a_day_at_the_same_time_make_one_part(
    services: Services, days: Days, day: date, object_store: S3ObjectStore
) -> None:
    days.append(day, 10)
    met = threading.Barrier(2, timeout=60)

    def archive() -> bool:
        met.wait()
        try:
            return bool(archive_day(services, day).new_parts)
        except LockBusyError:
            return False

    with ThreadPoolExecutor(2) as pool:
        made = [each.result() for each in [pool.submit(archive) for _ in range(2)]]

    assert sorted(made) == [False, True]
    assert len(list(object_store.list("audit-archives/"))) == 2
    assert verify(services, [day]).ok


def test_a_thousand_keys_in_a_bucket_are_rotated(
    services: Services, part: ArchivedPart, object_store: S3ObjectStore, tmp_path: Path
) -> None:
    del part
    opened = replace(services, settings=encrypted(services.settings, tmp_path))
    wraps = opened.data_keys.key_encryption_keys.current()
    for number in range(1, _KEYS + 1):
        object_key = f"audit-archives/2020/01/audit-logs-2020-01-01.{number}-0badcafe.0.parquet"
        # As the store puts them, without looking at each.
        object_store.client.put_object(
            Bucket=object_store.bucket.name,
            Key=object_store.object_key(record_key(object_key)),
            Body=WrappedKey.of(object_key, DataKey.new(), wraps).to_bytes(),
        )
    objects = list(object_store.list("audit-archives/"))
    done = rotate_keys(opened, progress=lambda *_: None)
    assert (done.keys, done.rewrapped) == (_KEYS, _KEYS)
    assert list(object_store.list("audit-archives/")) == objects
