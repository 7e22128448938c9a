"""A day's whole life in a bucket of Google Cloud Storage that locks, whatever somebody with the right to write does.

The service is the tests' own (tests/support/gcs_rules.py says what that means); PostgreSQL is real.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.ledger.object_retention import ObjectRetention, retention_end
from compliance_pipelines.object_store.gcs import GcsBucket, GcsObjectStore
from compliance_pipelines.object_store.port import (
    BrokenPromiseError,
    ObjectMissingError,
    ObjectStoreError,
    RefusedByStoreError,
)
from compliance_pipelines.verification.online import verify
from tests.integration.object_store.gcs_stores import gcs, rules, service_at
from tests.support.fault_proxy import Fault, Kind, gcs_proxy

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days
    from tests.support.gcs_rules import GcsRules, StoredBucket
    from tests.support.gcs_server import GcsServer

__all__ = ["gcs", "rules"]  # fixtures

_YEARS = 7


@pytest.fixture
def object_store(gcs: GcsServer) -> GcsObjectStore:
    """In place of a directory."""
    bucket = GcsBucket("audit-archives", prefix="prod", lock_mode="Locked", location="EUROPE-WEST3")
    store = GcsObjectStore(service_at(gcs.url), bucket, retain_until=ObjectRetention(_YEARS))
    store.create()
    return store


@pytest.fixture
def bucket(rules: GcsRules, object_store: GcsObjectStore) -> StoredBucket:
    return rules.bucket(object_store.bucket.name)


@pytest.fixture
def part(services: Services, days: Days, day: date) -> ArchivedPart:
    """Of a day that is archived and verified."""
    days.append(day, 10)
    archive_day(services, day)
    with services.engine.connect() as connection:
        (part,) = parts_of_day(connection, day)
    return part


@pytest.mark.parametrize("lost", [1, 2], ids=["object", "manifest"])
@pytest.mark.parametrize("kind", [Kind.UNANSWERED, Kind.FAILED_AFTERWARDS])
def test_an_answer_that_is_lost_neither_doubles_a_part_nor_loses_it(  # noqa: PLR0917 - fixtures
    services: Services, days: Days, day: date, gcs: GcsServer, object_store: GcsObjectStore, kind: Kind, lost: int
) -> None:
    days.append(day, 10)
    with gcs_proxy(gcs.port) as proxy:
        proxy.faults += [Fault(Kind.PASSED, "POST", "upload", times=lost - 1), Fault(kind, "POST", "upload")]
        store = GcsObjectStore(service_at(proxy.url), object_store.bucket, retain_until=ObjectRetention(_YEARS))

        result = archive_day(replace(services, store=store), day)

    assert [(part.part, part.entry_count, part.verified_at is not None) for part in result.parts] == [(1, 10, True)]
    assert proxy.faults[1].times == 0
    assert [info.key.rpartition(".")[2] for info in object_store.list("audit-archives/")] == ["json", "parquet"]


def test_a_run_that_ends_between_object_and_manifest_is_gone_on_with(
    services: Services, days: Days, day: date, gcs: GcsServer, object_store: GcsObjectStore
) -> None:
    days.append(day, 10)
    with gcs_proxy(gcs.port) as proxy:
        proxy.faults += [
            Fault(Kind.PASSED, "POST", "upload"),
            Fault(Kind.REFUSED, "POST", "upload", times=10**6, code="backendError"),
        ]
        store = GcsObjectStore(service_at(proxy.url), object_store.bucket, retain_until=ObjectRetention(_YEARS))
        with pytest.raises(ObjectStoreError, match="backendError"):
            archive_day(replace(services, store=store), day)
    assert [info.key.rpartition(".")[2] for info in object_store.list("audit-archives/")] == ["parquet"]

    result = archive_day(services, day)

    assert result.adopted
    assert [(part.part, part.entry_count, part.verified_at is not None) for part in result.parts] == [(1, 10, True)]
    assert [info.key.rpartition(".")[2] for info in object_store.list("audit-archives/")] == ["json", "parquet"]


def test_what_was_put_without_its_lock_is_taken_over_by_no_later_run(
    services: Services, days: Days, day: date, rules: GcsRules
) -> None:
    days.append(day, 10)
    rules.ignored.add("retention")
    with pytest.raises(BrokenPromiseError, match="its lock is none"):
        archive_day(services, day)
    rules.ignored.clear()
    with pytest.raises(BrokenPromiseError, match="its lock is none"):
        archive_day(services, day)

    with services.engine.connect() as connection:
        assert parts_of_day(connection, day) == []


def test_a_part_is_locked_until_its_retention_ends(
    object_store: GcsObjectStore, bucket: StoredBucket, part: ArchivedPart
) -> None:
    for key, version in ((part.object_key, part.object_version), (part.manifest_key, part.manifest_version)):
        (found,) = bucket.objects[object_store.object_key(key)]
        assert str(found.generation) == version
        assert found.retention is not None
        assert found.retention["mode"] == "Locked"
        assert datetime.fromisoformat(found.retention["retainUntilTime"]) == retention_end(part.day, _YEARS)


def test_without_versions_an_archive_is_neither_deleted_nor_put_over(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    clock: MovableClock,
    rules: GcsRules,
    object_store: GcsObjectStore,
    part: ArchivedPart,
) -> None:
    rows = days.hot_rows(part.day)
    for key in (part.object_key, part.manifest_key):
        name = object_store.object_key(key)
        with pytest.raises(Exception, match="retain until time"):
            rules.put(object_store.bucket.name, {"name": name}, {}, b"another")
        with pytest.raises(RefusedByStoreError):
            object_store.delete(key)

    assert verify(services, [part.day]).ok
    clock.advance(days=8)
    assert purge_day(services, part.day).entry_count == len(rows)
    restored = restore_day(services, part.day)

    assert days.table_rows(restored.table, part.day) == rows


@pytest.mark.parametrize("hidden", ["replaced", "deleted"])
def test_with_versions_what_somebody_puts_over_an_archive_neither_loses_nor_stops_it(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    clock: MovableClock,
    rules: GcsRules,
    object_store: GcsObjectStore,
    bucket: StoredBucket,
    part: ArchivedPart,
    hidden: str,
) -> None:
    bucket.settings["versioning"] = {"enabled": True}
    rows = days.hot_rows(part.day)
    for key in (part.object_key, part.manifest_key):
        if hidden == "replaced":
            rules.put(bucket.name, {"name": object_store.object_key(key)}, {}, b"another")
        else:
            rules.delete(bucket, object_store.object_key(key), {})
        assert object_store.stat(key) is None or object_store.get_bytes(key) == b"another"

    assert verify(services, [part.day]).ok
    clock.advance(days=8)
    assert purge_day(services, part.day).entry_count == len(rows)
    restored = restore_day(services, part.day)

    assert days.table_rows(restored.table, part.day) == rows


def test_a_refused_look_at_an_archive_purges_nothing(
    services: Services, days: Days, clock: MovableClock, bucket: StoredBucket, part: ArchivedPart
) -> None:
    rows = days.hot_rows(part.day)
    bucket.rights.remove("storage.objects.get")
    clock.advance(days=8)

    with pytest.raises(RefusedByStoreError) as caught:
        purge_day(services, part.day)

    assert not isinstance(caught.value, ObjectMissingError)
    assert days.hot_rows(part.day) == rows
