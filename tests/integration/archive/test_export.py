from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.archive import locking
from compliance_pipelines.archive.catalogue import DayState, day_summary
from compliance_pipelines.archive.errors import SealedRowsDifferError
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.manifest import parse_manifest
from compliance_pipelines.archive.readback import PartDamagedError
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.postgres.errors import LockBusyError
from tests.integration.archive.days import entry, overwrite

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.archive.progress import Phase
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days


def test_a_day_is_archived_committed_recorded_and_verified(services: Services, days: Days, day: date) -> None:
    days.append(day, 50)
    result = archive_day(services, day)
    (part,) = result.parts
    assert days.cold_rows(day) == days.hot_rows(day)
    assert (result.entry_count, part.entry_count, result.new_parts, result.adopted) == (50, 50, (1,), False)
    assert part.verified_at is not None
    assert part.archived_at <= part.verified_at
    (path,) = days.objects(day)
    assert result.uri == part.archive_location == path.as_uri()
    assert path.stat().st_size == part.object_bytes == result.object_bytes
    assert day_summary(services, day)[0] is DayState.VERIFIED
    assert days.audit_actions(day) == ["audit.archive"]


def test_the_manifest_says_what_the_catalogue_says(services: Services, days: Days, day: date) -> None:
    days.append(day, 20)
    (part,) = archive_day(services, day).parts
    (path,) = days.manifests(day)
    manifest = parse_manifest(path.read_bytes(), services.verifier_key, name=path.name)
    assert (manifest.object_key, manifest.object_sha256, manifest.root, manifest.canonical_bytes) == (
        part.object_key,
        part.object_sha256,
        part.root,
        part.canonical_bytes,
    )
    assert json.loads(path.read_bytes())["body"]["encryption"] is None


def test_a_day_with_nothing_to_archive_has_no_part(services: Services, days: Days, day: date) -> None:
    result = archive_day(services, day)
    assert (result.parts, result.uri, result.root, result.entry_count) == ((), None, None, 0)
    assert not days.objects(day)
    assert days.audit_actions(day) == []


def test_entries_that_are_not_sealed_are_left_for_another_part(services: Services, days: Days, day: date) -> None:
    days.append(day, 5)
    late = days.append(day, 3, sealed=False)
    assert archive_day(services, day).entry_count == 5
    assert {row[1] for row in days.cold_rows(day)}.isdisjoint(each.log_entry_id for each in late)


def test_late_entries_make_another_part_and_the_first_stays_as_it_is(services: Services, days: Days, day: date) -> None:
    days.append(day, 5)
    first = archive_day(services, day).parts
    before = days.objects(day)[0].read_bytes()
    days.append(day, 3)
    result = archive_day(services, day)
    assert [(part.part, part.entry_count) for part in result.parts] == [(1, 5), (2, 3)]
    assert result.parts[0] == first[0]
    assert result.new_parts == (2,)
    assert days.objects(day)[0].read_bytes() == before
    assert days.cold_rows(day) == days.hot_rows(day)


def test_archiving_again_changes_nothing(services: Services, days: Days, day: date) -> None:
    days.append(day, 5)
    first = archive_day(services, day)
    again = archive_day(services, day)
    assert again.parts == first.parts
    assert (again.new_parts, again.adopted) == ((), False)
    assert days.audit_actions(day) == ["audit.archive"]


def test_several_segments_make_one_part(services: Services, days: Days, day: date) -> None:
    for _ in range(3):
        days.append(day, 4)
        days.append(day + timedelta(days=1), 2)
    (part,) = archive_day(services, day).parts
    assert part.entry_count == 12
    assert days.cold_rows(day) == days.hot_rows(day)


def test_entries_outside_their_partition_are_archived_too(services: Services, days: Days, day: date) -> None:
    days.append(day, 5, partition=False)
    assert archive_day(services, day).entry_count == 5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            "UPDATE audit_logs SET result = 'denied' WHERE log_entry_id = :id",
            "at least one of the 9 entries of segment 0 was altered",
        ),
        (
            "UPDATE audit_logs SET metadata = '1.0' WHERE log_entry_id = :id",
            "at least one of the 9 entries of segment 0 was altered",
        ),
        ("DELETE FROM audit_logs WHERE log_entry_id = :id", "1 entry was deleted from segment 0, which had 9"),
        (
            """INSERT INTO audit_logs SELECT id + 1000, 'forged', "timestamp", user_id, action, resource_type,
               resource_id, result, metadata, created_at, tx_id FROM audit_logs WHERE log_entry_id = :id""",
            "1 entry was inserted into segment 0, which had 9",
        ),
    ],
)
def test_rows_that_are_not_as_they_were_sealed_stop_the_archive_before_anything_is_put(
    services: Services, days: Days, day: date, damage: str, message: str
) -> None:
    entries = days.append(day, 9)
    days.execute(damage, id=entries[4].log_entry_id)
    with pytest.raises(SealedRowsDifferError, match=message) as caught:
        archive_day(services, day)
    assert str(day) in str(caught.value)
    assert not days.objects(day)
    assert not days.manifests(day)
    assert days.audit_actions(day) == []


def test_a_row_slipped_in_between_two_segments_stops_the_archive(services: Services, days: Days, day: date) -> None:
    days.append(day, 2)
    days.append(day + timedelta(days=1), 2)
    days.append(day, 2)
    (between,) = {
        tx_from
        for tx_from, other in days.execute("SELECT tx_from, day FROM ledger_segments")
        if other == day + timedelta(days=1)
    }
    days.execute(
        """INSERT INTO audit_logs SELECT id + 1000, 'forged', "timestamp", user_id, action, resource_type, resource_id,
           result, metadata, created_at, :between FROM audit_logs WHERE "timestamp" < :next_day LIMIT 1""",
        between=between,
        next_day=day + timedelta(days=1),
    )
    with pytest.raises(SealedRowsDifferError, match=r"1 entry was outside every segment inserted \(forged\)"):
        archive_day(services, day)


def test_only_one_process_works_on_a_day(
    services: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "BRIEF", timedelta(milliseconds=50))
    days.append(day, 2)
    with (
        locking.lock_day(services.engine, day),
        pytest.raises(LockBusyError, match=rf"the archive of {day}: another process is at it \(session \d+ of test_p"),
    ):
        archive_day(services, day)
    assert archive_day(services, day).entry_count == 2


def test_the_lock_of_a_day_is_given_back_also_after_a_failure(services: Services, days: Days, day: date) -> None:
    entries = days.append(day, 2)
    days.execute("DELETE FROM audit_logs WHERE log_entry_id = :id", id=entries[0].log_entry_id)
    with pytest.raises(SealedRowsDifferError):
        archive_day(services, day)
    assert days.advisory_locks() == 0


def test_a_part_that_does_not_come_back_from_the_store_as_it_was_put_is_never_verified(
    services: Services, days: Days, day: date
) -> None:
    days.append(day, 5)
    intact: list[bytes] = []

    def damage(done: ArchiveStep) -> None:
        if done is ArchiveStep.RECORDED:
            (path,) = days.objects(day)
            intact.append(path.read_bytes())
            overwrite(path, intact[0][:-1])

    with pytest.raises(PartDamagedError, match="was truncated"):
        archive_day(services, day, hook=damage)
    with pytest.raises(PartDamagedError, match="was truncated"):
        archive_day(services, day)
    assert day_summary(services, day)[0] is DayState.ARCHIVED

    overwrite(days.objects(day)[0], intact[0])
    assert archive_day(services, day).parts[0].verified_at is not None


@pytest.mark.parametrize("step", [ArchiveStep.STAGED, ArchiveStep.OBJECT_PUT, ArchiveStep.MANIFEST_PUT])
def test_whoever_loses_the_connection_and_with_it_the_lock_goes_no_further(
    services: Services, days: Days, day: date, step: ArchiveStep
) -> None:
    days.append(day, 5)

    def lose_connection(done: ArchiveStep) -> None:
        if done is step:
            days.end_sessions_with_advisory_locks()

    with pytest.raises(TransientError, match=f"the archive of {day} had to stop"):
        archive_day(services, day, hook=lose_connection)
    assert len(days.objects(day)) == (step is not ArchiveStep.STAGED)
    assert len(days.manifests(day)) == (step is ArchiveStep.MANIFEST_PUT)
    assert days.audit_actions(day) == []
    archive_day(services, day)
    assert days.cold_rows(day) == days.hot_rows(day)


def test_the_lock_timeout_of_an_archive_does_not_stay_with_its_connection(
    services: Services, days: Days, day: date
) -> None:
    days.append(day, 1)
    archive_day(services, day)
    with ExitStack() as stack:
        pool = [stack.enter_context(services.engine.connect()) for _ in range(5)]
        assert {connection.execute(text("SHOW lock_timeout")).scalar_one() for connection in pool} == {"10s"}


def test_progress_reaches_the_number_of_entries_in_both_phases(services: Services, days: Days, day: date) -> None:
    days.append(day, 30)
    told: dict[str, tuple[int, int]] = {}

    def tell(phase: Phase, rows: int, total_rows: int) -> None:
        told[phase] = (rows, total_rows)

    archive_day(services, day, progress=tell)
    assert told == {"export": (30, 30), "verify": (30, 30)}


def test_an_entry_of_almost_a_mebibyte_survives(services: Services, days: Days, day: date) -> None:
    days.append_entries(day, [entry(day, 1, metadata={"text": "x" * 1_000_000}), entry(day, 2, metadata=None)])
    archive_day(services, day)
    assert days.cold_rows(day) == days.hot_rows(day)


def test_no_staging_file_is_left(
    services: Services, days: Days, day: date, tmp_path_factory: pytest.TempPathFactory
) -> None:
    staging = tmp_path_factory.mktemp("staging")
    configured = services.settings.model_copy(update={"archive_staging_path": staging})
    days.append(day, 5)
    archive_day(replace(services, settings=configured), day)
    assert list(staging.iterdir()) == []
