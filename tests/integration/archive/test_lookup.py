"""Single entries are found in the cold store: so that repeats stay repeats, and for proofs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from compliance_pipelines.archive import parquet
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchivedIds, ArchiveEntryFinder
from compliance_pipelines.archive.parquet import UnreadableParquetError
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.errors import EntryConflictError
from compliance_pipelines.audit_log.log import AppendResult, AuditLog
from compliance_pipelines.ledger.checkpoint import VerifierKey
from compliance_pipelines.ledger.proof_document import verify_proof
from compliance_pipelines.ledger.proofs import AmbiguousEntryError, prove
from compliance_pipelines.object_store.port import ObjectStoreError
from tests.integration.archive.days import entry, overwrite
from tests.integration.archive.faulty_store import Fault, FaultyStore

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days


@pytest.fixture
def purged(services: Services, days: Days, day: date, clock: MovableClock) -> list[AuditEntry]:
    """The entries of the day, which left PostgreSQL in two segments."""
    entries = [*days.append(day, 5), *days.append(day, 4)]
    archive_day(services, day)
    clock.advance(days=8)
    purge_day(services, day)
    return entries


def present(services: Services, day: date, log_entry_ids: list[str]) -> dict[str, datetime]:
    """Those of the ids that purged archives of the day hold."""
    with services.engine.connect() as connection:
        archived = ArchivedIds(services).of_day(connection, day)
    return archived.present(log_entry_ids)


def ids_of(entries: list[AuditEntry]) -> list[str]:
    return [each.log_entry_id for each in entries]


def test_ids_of_purged_entries_are_known_with_their_times(
    services: Services, day: date, purged: list[AuditEntry]
) -> None:
    asked = [*ids_of(purged)[2:7], "unknown", ""]
    assert present(services, day, asked) == {each.log_entry_id: each.timestamp for each in purged[2:7]}
    assert present(services, day, []) == {}
    assert present(services, day + timedelta(days=1), asked) == {}


def test_ids_of_entries_that_are_still_hot_are_left_to_the_hot_store(services: Services, days: Days, day: date) -> None:
    entries = days.append(day, 2)
    archive_day(services, day)
    assert present(services, day, ids_of(entries)) == {}


def test_a_repeat_of_a_purged_entry_stays_a_repeat(
    services: Services, days: Days, day: date, purged: list[AuditEntry]
) -> None:
    log = AuditLog(services.engine, archived_ids=ArchivedIds(services))
    fresh = entry(day, 100)
    assert log.append_many([*purged, fresh, purged[0], fresh]) == AppendResult(new=1, repeated=11)
    assert not log.append(purged[3])
    assert [row[1] for row in days.hot_rows(day)] == [fresh.log_entry_id]
    with pytest.raises(EntryConflictError):
        log.append(replace(purged[0], timestamp=purged[0].timestamp + timedelta(seconds=1)))


def test_a_damaged_archive_is_not_taken_for_an_empty_one(
    services: Services, days: Days, day: date, purged: list[AuditEntry]
) -> None:
    (path,) = days.objects(day)
    overwrite(path, path.read_bytes()[:-100])
    with pytest.raises(UnreadableParquetError):
        present(services, day, ids_of(purged))
    path.unlink()
    with pytest.raises(ObjectStoreError):
        present(services, day, ids_of(purged))


def test_row_groups_that_cannot_hold_an_id_are_not_read(
    services: Services, days: Days, day: date, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 10)
    days.append_entries(day, [entry(day, number, log_entry_id=f"entry-{number:03d}") for number in range(50)])
    archive_day(services, day)
    clock.advance(days=8)
    purge_day(services, day)
    read: list[list[int]] = []
    intact = parquet.PartReader.batches

    def batches(self: parquet.PartReader, *, row_groups: list[int], columns: list[str]) -> object:
        read.append(row_groups)
        return intact(self, row_groups=row_groups, columns=columns)

    monkeypatch.setattr(parquet.PartReader, "batches", batches)
    assert list(present(services, day, ["entry-012", "entry-041", "zzz"])) == ["entry-012", "entry-041"]
    assert read == [[1, 4]]


def test_a_purged_entry_is_found_with_the_rows_of_its_segment(
    services: Services, day: date, purged: list[AuditEntry]
) -> None:
    for given in (day, None):
        with ArchiveEntryFinder(services).find(purged[6].log_entry_id, given) as found:
            assert found is not None
            assert found.day == day
            rows = pa.Table.from_batches(list(found.batches))
        assert set(ids_of(purged[5:])) <= set(rows.column("log_entry_id").to_pylist())
    with ArchiveEntryFinder(services).find("unknown", None) as found:
        assert found is None


def test_an_entry_is_proved_after_its_rows_left_postgresql(
    services: Services, purged: list[AuditEntry], signing_key: object
) -> None:
    document = prove(services, purged[8].log_entry_id, finder=ArchiveEntryFinder(services))
    key = VerifierKey.from_note_string(services.verifier_key.to_note_string())
    assert verify_proof(document, key).entry["log_entry_id"] == purged[8].log_entry_id


def test_an_id_of_two_archived_days_needs_the_day(
    services: Services, days: Days, day: date, purged: list[AuditEntry], clock: MovableClock
) -> None:
    other = day + timedelta(days=10)
    same_id = purged[0].log_entry_id
    days.append_entries(other, [entry(other, 1, log_entry_id=same_id)])
    archive_day(services, other)
    with pytest.raises(AmbiguousEntryError, match=f"{day}, {other}"), ArchiveEntryFinder(services).find(same_id, None):
        pass
    with ArchiveEntryFinder(services).find(same_id, other) as found:
        assert found is not None
        assert found.day == other


def test_an_archive_that_cannot_be_read_matters_only_if_the_entry_is_in_no_other(
    services: Services, days: Days, day: date, purged: list[AuditEntry]
) -> None:
    other = day - timedelta(days=10)
    days.append(other, 1)
    archive_day(services, other)
    (path,) = days.objects(other)
    overwrite(path, b"damaged")
    with ArchiveEntryFinder(services).find(purged[0].log_entry_id, None) as found:
        assert found is not None
    with pytest.raises(UnreadableParquetError), ArchiveEntryFinder(services).find("unknown", None):
        pass
    down = replace(services, store=FaultyStore(services.store, Fault("open", 2)))
    with pytest.raises((ObjectStoreError, UnreadableParquetError)), ArchiveEntryFinder(down).find("unknown", None):
        pass


def test_entries_of_the_first_and_the_last_moment_of_a_day_belong_to_it(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    moments = [midnight, midnight + timedelta(days=1) - timedelta(microseconds=1)]
    entries = [entry(day, number, timestamp=moment) for number, moment in enumerate(moments)]
    days.append_entries(day, entries)
    days.append_entries(day + timedelta(days=1), [entry(day, 2, timestamp=midnight + timedelta(days=1))])
    assert archive_day(services, day).entry_count == 2
    clock.advance(days=8)
    assert purge_day(services, day).entry_count == 2
    assert present(services, day, ids_of(entries)) == {each.log_entry_id: each.timestamp for each in entries}
