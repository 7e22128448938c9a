"""What the catalogue derives is what the stores hold."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import event, text

from compliance_pipelines.archive.catalogue import (
    DayState,
    Due,
    NextDue,
    archive_due_at,
    day_summary,
    days_counted_short,
    days_with_parts,
    due,
    facts_of_days,
    finished_days,
    parts_of_day,
    snapshot,
    states_of_days,
    unfinished_days,
)
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.figures import take_figures
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from tests.integration.archive.days import Stopped, stop_after
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days


def test_a_day_goes_from_open_to_purged_and_back_when_a_late_entry_comes(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    def state() -> DayState:
        assert states_of_days(services)[day] is day_summary(services, day)[0]
        return states_of_days(services)[day]

    assert day_summary(services, day)[1].total_entries == 0
    assert day not in states_of_days(services)
    days.append(day, 3, sealed=False)
    assert state() is DayState.OPEN
    assert due(services) == Due((), ())
    seal_all(services)
    assert state() is DayState.SEALED
    assert due(services) == Due((day,), ())
    with pytest.raises(Stopped):
        archive_day(services, day, hook=stop_after(ArchiveStep.RECORDED))
    assert state() is DayState.ARCHIVED
    assert due(services) == Due((day,), ())
    (part,) = archive_day(services, day).parts
    assert state() is DayState.VERIFIED
    assert due(services) == Due((), ())
    assert part.verified_at is not None
    assert take_figures(services).next_due == NextDue("purge", day, part.verified_at + timedelta(days=7))
    clock.advance(days=8)
    assert due(services) == Due((), (day,))
    purge_day(services, day)
    assert state() is DayState.PURGED
    assert due(services) == Due((), ())
    days.append(day, 1, sealed=False)
    assert state() is DayState.OPEN
    seal_all(services)
    assert state() is DayState.SEALED
    assert take_figures(services).next_due == NextDue("archive", day, archive_due_at(services, day))


def test_counts_and_bytes_are_those_of_the_stores(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    purged, verified, sealed, mixed = (day + timedelta(days=number) for number in range(4))
    for this_day, count in ((purged, 6), (verified, 5), (sealed, 4), (mixed, 3)):
        days.append(this_day, count)
    for this_day in (purged, verified, mixed):
        archive_day(services, this_day)
    clock.advance(days=8)
    for this_day in (purged, mixed):
        purge_day(services, this_day)
    days.append(mixed, 2, partition=False)
    archive_day(services, mixed)
    days.append(mixed, 1, sealed=False, partition=False)
    with services.engine.connect() as connection:
        facts = facts_of_days(connection)
        parts = {this_day: parts_of_day(connection, this_day) for this_day in facts}
    assert list(facts) == sorted(facts)
    for this_day in (purged, verified, sealed, mixed):
        found, hot, cold = facts[this_day], days.hot_rows(this_day), days.cold_rows(this_day)
        assert (found.hot_entries, found.cold_entries) == (len(hot), len(cold))
        assert found.total_entries == len({*hot, *cold})
        assert found.object_bytes == sum(path.stat().st_size for path in days.objects(this_day))
        assert found.canonical_bytes == sum(part.canonical_bytes for part in parts[this_day])
        assert (found.hot_bytes > 0) == (this_day in {verified, sealed})
    figures = take_figures(services)
    every = days.execute("SELECT count(*) FROM audit_logs")[0][0]
    assert figures.totals.hot_entries == every
    assert figures.totals.total_entries == every + len(days.cold_rows(purged)) + 3
    assert figures.totals.cold_bytes == sum(
        path.stat().st_size for this_day in facts for path in days.objects(this_day)
    )


def test_the_figures_are_of_one_moment(services: Services, days: Days, day: date) -> None:
    """Between two queries entries of the day are sealed: they must not be counted twice, nor left out."""
    days.append(day, 5)
    days.append(day, 4, sealed=False)
    before = take_figures(services)
    statements: list[str] = []

    def seal_after_the_first(*arguments: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        if "archive_backlog" in arguments[2] and not statements:
            statements.append(arguments[2])
            seal_all(services)

    event.listen(services.engine, "after_cursor_execute", seal_after_the_first)
    try:
        assert take_figures(services) == before
    finally:
        event.remove(services.engine, "after_cursor_execute", seal_after_the_first)
    assert len(statements) == 1
    after = take_figures(services)
    assert after.totals.total_entries == before.totals.total_entries == 9
    assert (before.ledger_size, after.ledger_size) == (1, 2)


_SETTLED = """
    WITH settled AS (SELECT CAST(:first AS date) + number AS day, number FROM generate_series(0, :count - 1) AS number),
    segments AS (
        INSERT INTO ledger_segments (seq, day, tx_from, tx_to, first_id, last_id, entry_count, root, sealed_at)
        SELECT 1000 + number, day, number + 1, number + 2, 1, 1, 1, sha256('made'), now() FROM settled),
    parts AS (
        INSERT INTO archived_audit_logs (day, part, archive_location, object_key, object_sha256, object_bytes,
            manifest_key, manifest_sha256, entry_count, canonical_bytes, first_id, last_id, root, verified_at,
            purged_at)
        SELECT day, 1, 'made', day || '.parquet', '', 1, day || '.json', '', 1, 1, 1, 1, sha256('made'), now(), now()
        FROM settled)
    INSERT INTO archived_segments (segment_seq, day, part) SELECT 1000 + number, day, 1 FROM settled
"""


_ROWS_READ: Final = text("""
    SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
    WHERE relname IN ('ledger_segments', 'archived_segments', 'archived_audit_logs')
""")


@contextmanager
def counting_rows(connection: sqlalchemy.Connection) -> Iterator[dict[str, int]]:
    """What is read of these tables, also of what is read again."""
    read: dict[str, int] = {}
    before: dict[str, int] = dict(connection.execute(_ROWS_READ).all())
    yield read
    read |= {name: count - before[name] for name, count in connection.execute(_ROWS_READ).all()}


def test_finished_days_are_left_out_of_what_is_asked_often(services: Services, days: Days, day: date) -> None:
    days.append(day, 2)
    first = day - timedelta(days=400)
    days.execute(_SETTLED, first=first, count=300)
    days.execute("ANALYZE archived_audit_logs")
    with snapshot(services) as connection:
        with counting_rows(connection) as read:
            unfinished = unfinished_days(connection)
        assert [facts.day for facts in unfinished] == [day]
        assert sum(read.values()) < 10, read
        with counting_rows(connection) as read:
            rest = finished_days(connection, unfinished)
            facts = facts_of_days(connection, days_with_parts(connection, first, day, 100))
        assert (rest.purged, rest.expired, rest.cold_entries) == (300, 0, 300)
        assert list(facts) == [first + timedelta(days=number) for number in range(1, 101)]
        assert read["ledger_segments"] == read["archived_segments"] == 0, read
    assert due(services) == Due((day,), ())
    assert len(states_of_days(services)) == 301


def counts_of_the_backlog(days: Days) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """What is counted, and what follows from the segments."""
    return days.execute("SELECT day, segments, entries FROM archive_backlog ORDER BY day"), days.execute(
        "SELECT day, count(*), sum(entry_count)::bigint FROM ledger_segments"
        " WHERE seq NOT IN (SELECT segment_seq FROM archived_segments) GROUP BY day ORDER BY day"
    )


def test_what_waits_is_counted_with_late_entries_of_archived_and_purged_days(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    other = day + timedelta(days=1)

    def waiting() -> list[tuple[object, ...]]:
        counted, found = counts_of_the_backlog(days)
        assert counted == found
        return [row for row in counted if row[0] in {day, other}]  # the work itself is put on record, too

    days.append(day, 3)
    days.append(other, 2)
    days.append(day, 1)
    assert waiting() == [(day, 2, 4), (other, 1, 2)]
    archive_day(services, day)
    assert waiting() == [(other, 1, 2)]
    clock.advance(days=8)
    purge_day(services, day)
    days.append(day, 5, partition=False)
    assert waiting() == [(day, 1, 5), (other, 1, 2)]
    with services.engine.connect() as connection:
        assert days_counted_short(connection, day, day) == []
        days.execute("UPDATE archive_backlog SET entries = entries - 1 WHERE day = :day", day=day)
        days.execute("DELETE FROM archive_backlog WHERE day = :day", day=other)
        connection.rollback()
        assert days_counted_short(connection, day, day) == [day, other]
        # Sealed long after the first of these days, whose own segment is of another time.
        assert days_counted_short(connection, day - timedelta(days=9), other) == [day, other]
    # The work itself asks the segments, whatever is counted, and does not fail over it.
    assert day_summary(services, other)[0] is DayState.SEALED
    archive_day(services, other)
    days.execute("SELECT audit_recount_backlog()")
    assert waiting() == [(day, 1, 5)]


def test_what_a_hold_keeps_from_the_purge_is_held_and_not_due(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    by_date, by_user, free = (day + timedelta(days=number) for number in range(3))
    for this_day, count in ((by_date, 1), (by_user, 2), (free, 1)):  # the second entry of a day is user-1's
        days.append(this_day, count)
        archive_day(services, this_day)
    first = add_hold(services, NewHold(HoldScope.DAYS, "case 7", "counsel", first_day=by_date, last_day=by_date)).hold
    second = add_hold(services, NewHold(HoldScope.USER, "case 8", "counsel", subject="user-1")).hold

    figures = take_figures(services)  # in their grace already: they will not be purged when it ends
    assert figures.held == {by_date: first, by_user: second}
    assert figures.days[DayState.VERIFIED] == 3
    assert figures.next_due is not None
    assert (figures.next_due.action, figures.next_due.day) == ("purge", free)

    clock.advance(days=8)
    assert due(services).purge == (free,)
    purge_day(services, free)
    figures = take_figures(services)
    assert figures.held == {by_date: first, by_user: second}
    assert figures.next_due is None or figures.next_due.day not in {by_date, by_user}

    release_hold(services, first.id, reason="over", author="judge")
    figures = take_figures(services)
    assert figures.held == {by_user: second}
    assert figures.next_due is not None
    assert (figures.next_due.action, figures.next_due.day) == ("purge", by_date)
