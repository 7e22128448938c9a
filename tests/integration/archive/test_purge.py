"""Rows leave PostgreSQL only when the cold store is known to have them, and then all at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.archive.catalogue import DayState, day_summary
from compliance_pipelines.archive.errors import PurgeRefusedError
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.archive.readback import PartDamagedError
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.object_store.port import ObjectStoreError
from tests.integration.archive.days import Stopped, entry, overwrite, remove, stop_after
from tests.integration.archive.faulty_store import Fault, FaultyStore
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days, Row


@pytest.fixture
def purgeable(services: Services, days: Days, day: date, clock: MovableClock) -> list[Row]:
    """The rows of the day, which is archived, verified, and out of its grace."""
    days.append(day, 10)
    days.append(day, 3)
    archive_day(services, day)
    clock.advance(days=8)
    return days.hot_rows(day)


def everything(days: Days, day: date) -> tuple[object, ...]:
    """What a purge changes, to compare before and after."""
    return (
        days.hot_rows(day),
        [path.read_bytes() for path in days.objects(day) + days.manifests(day)],
        days.audit_records(day),
        days.execute("SELECT * FROM archived_audit_logs ORDER BY day, part"),
        days.execute("SELECT * FROM audit_purges"),
        days.execute("SELECT to_regclass(:name)::text", name=f"audit_logs_{day:%Y_%m_%d}"),
    )


def refused(services: Services, days: Days, day: date) -> str:
    """Why the purge is refused; nothing has changed."""
    before = everything(days, day)
    with pytest.raises(PurgeRefusedError) as caught:
        purge_day(services, day)
    assert everything(days, day) == before
    assert str(caught.value).startswith(f"{day} was not purged: ")
    return str(caught.value)


def test_a_purged_day_is_in_the_cold_store_alone(
    services: Services, days: Days, day: date, purgeable: list[Row]
) -> None:
    result = purge_day(services, day)
    assert (result.day, result.parts, result.entry_count, result.months_dropped) == (day, (1,), 13, 1)
    assert result.hot_bytes > 8192
    assert days.hot_rows(day) == []
    assert days.cold_rows(day) == purgeable
    assert day_summary(services, day)[0] is DayState.PURGED
    assert days.execute("SELECT to_regclass(:name)", name=f"audit_logs_{day:%Y_%m_%d}") == [(None,)]


def test_a_purge_is_on_record_twice(services: Services, days: Days, day: date, purgeable: list[Row]) -> None:
    result = purge_day(services, day)
    ((purged_day, parts, count, hot_bytes),) = days.execute(
        "SELECT day, parts, entry_count, hot_bytes FROM audit_purges"
    )
    assert (purged_day, parts, count, hot_bytes) == (day, [1], len(purgeable), result.hot_bytes)
    (_, (action, metadata)) = days.audit_records(day)
    ((root,),) = days.execute("SELECT root FROM archived_audit_logs")
    assert (action, metadata) == (
        "audit.purge",
        {"parts": [1], "roots": [root.hex()], "entry_count": 13, "hot_bytes": hot_bytes},
    )


@pytest.mark.usefixtures("purgeable")
def test_a_second_purge_does_nothing(services: Services, days: Days, day: date) -> None:
    purge_day(services, day)
    before = everything(days, day)
    result = purge_day(services, day)
    assert (result.parts, result.entry_count, result.hot_bytes, result.months_dropped) == ((), 0, 0, 0)
    assert everything(days, day) == before


@pytest.mark.usefixtures("purgeable")
def test_the_entries_of_other_days_stay(services: Services, days: Days, day: date) -> None:
    next_day = day + timedelta(days=1)
    days.append(next_day, 4)
    purge_day(services, day)
    assert len(days.hot_rows(next_day)) == 4


@pytest.mark.parametrize("late", [timedelta(0), timedelta(microseconds=1)])
def test_a_day_stays_for_the_retention(services: Services, days: Days, clock: MovableClock, late: timedelta) -> None:
    young = clock.moment.date() - timedelta(days=50)
    days.append(young, 2)
    archive_day(services, young)
    clock.moment = datetime.combine(young + timedelta(days=91), time(), UTC) - late
    if late:
        assert "AUDIT_LOG_RETENTION_DAYS" in refused(services, days, young)
    else:
        assert purge_day(services, young).entry_count == 2


def test_a_day_stays_for_the_grace(services: Services, days: Days, day: date, clock: MovableClock) -> None:
    days.append(day, 2)
    (part,) = archive_day(services, day).parts
    assert part.verified_at is not None
    clock.moment = part.verified_at + timedelta(days=7) - timedelta(microseconds=1)
    assert "AUDIT_LOG_PURGE_GRACE_DAYS" in refused(services, days, day)
    clock.advance(microseconds=1)
    assert purge_day(services, day).entry_count == 2


def test_a_part_that_was_never_read_back_stays(services: Services, days: Days, day: date, clock: MovableClock) -> None:
    days.append(day, 2)
    with pytest.raises(Stopped):
        archive_day(services, day, hook=stop_after(ArchiveStep.RECORDED))
    clock.advance(days=8)
    assert f"part 1 was never verified; run `compliance archive {day}`" in refused(services, days, day)


def test_nothing_known_is_nothing_to_purge(services: Services, days: Days, day: date) -> None:
    assert "it has neither entries nor archives" in refused(services, days, day)


def test_rows_that_no_archive_holds_stay(services: Services, days: Days, day: date) -> None:
    days.append(day, 2)
    assert "it has rows in PostgreSQL that no archive holds" in refused(services, days, day)


@pytest.mark.usefixtures("purgeable")
@pytest.mark.parametrize(
    ("sealed", "reason"),
    [(False, "1 late entries of that day are not sealed yet"), (True, "segment 2 is sealed but not archived")],
)
def test_a_late_entry_keeps_the_whole_day(
    services: Services, days: Days, day: date, *, sealed: bool, reason: str
) -> None:
    days.append(day, 1, sealed=sealed)
    assert reason in refused(services, days, day)


@pytest.mark.usefixtures("purgeable")
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("UPDATE audit_logs SET result = 'denied' WHERE id = :id", "at least one of the 10 entries of segment 0"),
        ("DELETE FROM audit_logs WHERE id = :id", "1 entry was deleted from segment 0"),
        (
            """INSERT INTO audit_logs SELECT id + 1000, 'forged', "timestamp", user_id, action, resource_type,
               resource_id, result, metadata, created_at, tx_id FROM audit_logs WHERE id = :id""",
            "1 entry was inserted into segment 0",
        ),
    ],
)
def test_rows_that_differ_from_what_was_sealed_stay(
    services: Services, days: Days, day: date, damage: str, reason: str
) -> None:
    days.execute(damage, id=days.hot_rows(day)[4][0])
    message = refused(services, days, day)
    assert reason in message
    assert f"compliance verify {day}" in message


def forge_checksum(days: Days, _day: date) -> None:
    days.execute("UPDATE archived_audit_logs SET object_sha256 = repeat('0', 64)")


@pytest.mark.usefixtures("purgeable")
@pytest.mark.parametrize(
    "damage",
    [
        lambda days, day: remove(days.objects(day)[0]),
        lambda days, day: overwrite(days.objects(day)[0], days.objects(day)[0].read_bytes()[:-1]),
        lambda days, day: remove(days.manifests(day)[0]),
        forge_checksum,
    ],
    ids=["object missing", "object truncated", "manifest missing", "catalogue altered"],
)
def test_a_day_whose_archive_is_damaged_stays(
    services: Services, days: Days, day: date, damage: Callable[[Days, date], Any]
) -> None:
    damage(days, day)
    before = everything(days, day)
    with pytest.raises(PartDamagedError):
        purge_day(services, day)
    assert everything(days, day) == before


def test_a_part_that_somebody_invented_in_the_catalogue_drops_nothing(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    days.append(day, 2)
    ((root,),) = days.execute("SELECT root FROM ledger_segments")
    days.execute(
        """INSERT INTO archived_audit_logs (day, part, archive_location, object_key, object_sha256, object_bytes,
               manifest_key, manifest_sha256, entry_count, canonical_bytes, first_id, last_id, root, verified_at,
               verified_store)
           VALUES (:day, 1, 'x', 'x', 'x', 1, 'y', 'y', 2, 1, 1, 2, :root, now() - interval '30 days',
                   (SELECT store_id FROM audit_store))""",
        day=day,
        root=root,
    )
    days.execute("INSERT INTO archived_segments (segment_seq, day, part) VALUES (0, :day, 1)", day=day)
    before = everything(days, day)
    with pytest.raises(PartDamagedError, match="missing from the cold store"):
        purge_day(services, day)
    assert everything(days, day) == before


@pytest.mark.usefixtures("purgeable")
def test_a_part_with_another_count_than_the_ledger_drops_nothing(services: Services, days: Days, day: date) -> None:
    days.execute("UPDATE archived_audit_logs SET entry_count = 12")
    assert "part 1 has 12 entries in the catalogue and 13 in the ledger" in refused(services, days, day)


@pytest.mark.usefixtures("purgeable")
def test_a_store_that_does_not_answer_means_that_it_cannot_be_told(services: Services, days: Days, day: date) -> None:
    before = everything(days, day)
    for method in ("stat", "open"):
        store = FaultyStore(services.store, Fault(method))
        with pytest.raises(ObjectStoreError, match="does not answer"):
            purge_day(replace(services, store=store), day)
        assert everything(days, day) == before


@pytest.mark.usefixtures("purgeable")
def test_a_purge_that_is_stopped_before_its_commit_has_done_nothing(services: Services, days: Days, day: date) -> None:
    before = everything(days, day)
    for step in [step for step in PurgeStep if step is not PurgeStep.COMMITTED]:
        with pytest.raises(Stopped):
            purge_day(services, day, hook=stop_after(step))
        assert everything(days, day) == before
    assert purge_day(services, day).entry_count == 13
    assert days.audit_actions(day) == ["audit.archive", "audit.purge"]


@pytest.mark.usefixtures("purgeable")
def test_a_purge_that_is_stopped_after_its_commit_is_done(services: Services, days: Days, day: date) -> None:
    with pytest.raises(Stopped):
        purge_day(services, day, hook=stop_after(PurgeStep.COMMITTED))
    assert days.hot_rows(day) == []
    assert purge_day(services, day).parts == ()


@pytest.mark.usefixtures("purgeable")
@pytest.mark.usefixtures("purgeable")
def test_a_purge_that_loses_its_connection_has_done_nothing(services: Services, days: Days, day: date) -> None:
    before = everything(days, day)

    def lose_connection(done: PurgeStep) -> None:
        if done is PurgeStep.DROPPED:
            days.end_sessions_with_advisory_locks()

    with pytest.raises(TransientError, match=f"the purge of {day} had to stop"):
        purge_day(services, day, hook=lose_connection)
    assert everything(days, day) == before


@pytest.mark.usefixtures("purgeable")
def test_a_day_that_changes_while_its_archive_is_read_is_not_dropped(services: Services, days: Days, day: date) -> None:
    def archive_more(step: PurgeStep) -> None:
        if step is PurgeStep.ARCHIVES_READ:
            days.append(day, 2)
            archive_day(services, day)

    with pytest.raises(TransientError, match="it changed while it was checked; run it again"):
        purge_day(services, day, hook=archive_more)
    assert len(days.hot_rows(day)) == 15


@pytest.mark.usefixtures("purgeable")
def test_a_late_entry_that_is_sealed_while_the_archive_is_read_is_not_taken_for_a_forgery(
    services: Services, days: Days, day: date
) -> None:
    def seal_more(step: PurgeStep) -> None:
        if step is PurgeStep.ARCHIVES_READ:
            days.append(day, 1)

    with pytest.raises(PurgeRefusedError, match="segment 2 is sealed but not archived"):
        purge_day(services, day, hook=seal_more)
    assert len(days.hot_rows(day)) == 14


def test_an_entry_that_comes_after_the_purge_makes_another_part_and_is_purged_too(
    services: Services, days: Days, day: date, purgeable: list[Row], clock: MovableClock
) -> None:
    purge_day(services, day)
    days.append(day, 2, partition=False)
    late = days.hot_rows(day)
    assert day_summary(services, day)[0] is DayState.SEALED
    result = archive_day(services, day)
    assert [(part.part, part.entry_count) for part in result.parts] == [(1, 13), (2, 2)]
    clock.advance(days=8)
    assert purge_day(services, day).parts == (2,)
    assert days.hot_rows(day) == []
    assert days.cold_rows(day) == purgeable + late
    assert days.audit_actions(day) == ["audit.archive", "audit.purge"] * 2


@pytest.mark.parametrize("month_exists", [True, False], ids=["of its month", "of the table"])
def test_entries_in_a_default_partition_are_purged_too(
    services: Services, days: Days, day: date, clock: MovableClock, *, month_exists: bool
) -> None:
    if month_exists:
        with services.engine.begin() as connection:
            ensure_days(connection, [day.replace(day=2 if day.day == 1 else 1)])
    days.append(day, 3, partition=False)
    other = day + timedelta(days=1)
    days.append(other, 1, partition=False)
    archive_day(services, day)
    clock.advance(days=8)
    rows = days.hot_rows(day)
    assert purge_day(services, day).entry_count == 3
    assert (days.hot_rows(day), days.cold_rows(day), len(days.hot_rows(other))) == ([], rows, 1)


def test_entries_of_days_before_the_first_one_are_purged_too(
    services: Services, days: Days, clock: MovableClock
) -> None:
    before = services.settings.audit_log_first_day - timedelta(days=1)
    old = entry(before, 1)
    days.execute(
        """INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result)
           VALUES (:id, :timestamp, 'u', 'a', 'r')""",
        id=old.log_entry_id,
        timestamp=old.timestamp,
    )
    seal_all(services)
    archive_day(services, before)
    clock.advance(days=8)
    assert purge_day(services, before).entry_count == 1
