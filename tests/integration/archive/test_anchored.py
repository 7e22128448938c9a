"""Whatever an administrator writes into the ledger's and the catalogue's tables, archive and purge refuse it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text

from compliance_pipelines.archive.errors import ArchiveError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.ledger.anchored import SegmentNotAnchoredError, SegmentNotPublishedError, check_anchored
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.ledger.hashing import SegmentHasher
from compliance_pipelines.ledger.packed_records import packed_records
from compliance_pipelines.ledger.sealing import SealStep
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.store import records_between
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Stopped, overwrite, stop_after
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days


@pytest.fixture
def sealed(days: Days, day: date) -> None:
    """The day with two segments (10 and 3 entries), among segments of other days."""
    days.append(day - timedelta(days=1), 2)
    days.append(day, 10)
    days.append(day + timedelta(days=1), 2)
    days.append(day, 3)
    days.append(day + timedelta(days=40), 1)


def reseal(days: Days, day: date, seq: int) -> None:
    """Make a segment's record fit the rows that are there now, as whoever knows the format can."""
    with days.superuser.connect() as connection:
        (segment,) = records_between(connection, seq, seq + 1)
    assert isinstance(segment, Segment)
    hasher = SegmentHasher([segment])
    with read_rows(days.superuser, day=day, tx_from=segment.tx_from, tx_to=segment.tx_to) as batches:
        for batch in batches:
            hasher.feed(batch)
    hashed = hasher.result(0)
    days.execute(
        """UPDATE ledger_segments SET root = :root, entry_count = :count, first_id = :first, last_id = :last
           WHERE seq = :seq""",
        root=hashed.root,
        count=hashed.entry_count,
        first=hashed.first_id,
        last=hashed.last_id,
        seq=seq,
    )


def alter_a_row_and_the_root(days: Days, day: date) -> None:
    days.execute(
        "UPDATE audit_logs SET user_id = 'mallory' WHERE id = (SELECT first_id FROM ledger_segments WHERE seq = 1)"
    )
    reseal(days, day, 1)


def delete_a_row_and_fit_the_record(days: Days, day: date) -> None:
    days.execute("DELETE FROM audit_logs WHERE id = (SELECT first_id FROM ledger_segments WHERE seq = 1)")
    reseal(days, day, 1)


def delete_a_segment_and_its_rows(days: Days, day: date) -> None:
    days.execute(
        """DELETE FROM audit_logs AS entry USING ledger_segments AS segment
           WHERE segment.seq = 3 AND entry.tx_id >= segment.tx_from AND entry.tx_id < segment.tx_to"""
    )
    days.execute("DELETE FROM archived_segments WHERE segment_seq = 3")
    days.execute("DELETE FROM ledger_segments WHERE seq = 3")


def delete_a_segment_and_close_the_gap(days: Days, day: date) -> None:
    delete_a_segment_and_its_rows(days, day)
    days.execute("UPDATE ledger_segments SET seq = 3 WHERE seq = 4")
    days.execute("UPDATE ledger_checkpoints SET size = 400 WHERE size = 4")


def move_a_segment_to_another_day(days: Days, day: date) -> None:
    days.execute("UPDATE ledger_segments SET day = day - 2 WHERE seq = 3")
    days.execute(
        """DELETE FROM audit_logs AS entry USING ledger_segments AS segment
           WHERE segment.seq = 3 AND entry.tx_id >= segment.tx_from AND entry.tx_id < segment.tx_to"""
    )


def swap_two_segments(days: Days, day: date) -> None:
    days.execute("UPDATE ledger_segments SET seq = seq + 100 WHERE seq IN (1, 3)")
    days.execute("UPDATE ledger_segments SET seq = 104 - seq WHERE seq IN (101, 103)")


def insert_a_segment(days: Days, day: date) -> None:
    days.execute(
        """INSERT INTO ledger_segments SELECT 5, day, tx_to + 1000, tx_to + 1001, first_id, last_id, 1, root, sealed_at
           FROM ledger_segments WHERE seq = 3"""
    )


def backdate_a_checkpoint(days: Days, day: date) -> None:
    """So that the proof would begin after the segment that was removed."""
    delete_a_segment_and_its_rows(days, day)
    days.execute("UPDATE ledger_segments SET sealed_at = sealed_at - interval '300 days' WHERE seq = 4")


def rewrite_the_checkpoints(days: Days, day: date) -> None:
    alter_a_row_and_the_root(days, day)
    days.execute(
        "UPDATE ledger_checkpoints SET frontier = (SELECT root FROM ledger_segments WHERE seq = 1) WHERE size > 1"
    )


def forget_the_newest_publications(days: Days, day: date) -> None:
    delete_a_segment_and_its_rows(days, day)
    days.execute("DELETE FROM ledger_publications WHERE size > 3")
    days.execute("DELETE FROM ledger_checkpoints WHERE size > 3")
    days.execute("DELETE FROM ledger_segments WHERE seq > 3")


FORGERIES: Final = [
    alter_a_row_and_the_root,
    delete_a_row_and_fit_the_record,
    delete_a_segment_and_its_rows,
    delete_a_segment_and_close_the_gap,
    move_a_segment_to_another_day,
    swap_two_segments,
    insert_a_segment,
    backdate_a_checkpoint,
    rewrite_the_checkpoints,
    forget_the_newest_publications,
]


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("forge", FORGERIES)
def test_the_archive_refuses_what_the_signed_ledger_does_not_say(
    services: Services, days: Days, day: date, forge: Callable[[Days, date], None]
) -> None:
    forge(days, day)
    assert verify(services, [day]).findings
    with pytest.raises(LedgerError):
        archive_day(services, day)
    assert days.objects(day) == days.manifests(day) == []
    assert days.execute("SELECT count(*) FROM archived_audit_logs") == [(0,)]


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("forge", FORGERIES)
def test_the_purge_refuses_what_the_signed_ledger_does_not_say(
    services: Services, days: Days, day: date, clock: MovableClock, forge: Callable[[Days, date], None]
) -> None:
    archive_day(services, day)
    clock.advance(days=8)
    forge(days, day)
    before = days.hot_rows(day)
    with pytest.raises((LedgerError, ArchiveError)):
        purge_day(services, day)
    assert days.hot_rows(day) == before
    assert days.execute("SELECT count(*) FROM audit_purges") == [(0,)]


@pytest.mark.usefixtures("sealed")
def test_an_altered_row_is_named_by_the_archive_itself(services: Services, days: Days, day: date) -> None:
    alter_a_row_and_the_root(days, day)
    with pytest.raises(SegmentNotAnchoredError, match="not those of the signed ledger in the cold store") as refused:
        archive_day(services, day)
    assert "compliance verify --all" in str(refused.value)
    assert not isinstance(refused.value, TransientError)


@pytest.mark.usefixtures("sealed")
def test_a_segment_whose_rows_were_removed_is_not_hidden_in_a_part_that_was_purged(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    """The late segment is booked to the part that is gone already, and its rows are removed."""
    archive_day(services, day)
    clock.advance(days=8)
    purge_day(services, day)
    days.append(day, 2)
    late = days.execute("SELECT seq FROM ledger_segments WHERE day = :day ORDER BY seq DESC LIMIT 1", day=day)[0][0]
    days.append(day, 2)
    days.execute("INSERT INTO archived_segments (segment_seq, day, part) VALUES (:seq, :day, 1)", seq=late, day=day)
    days.execute(
        """DELETE FROM audit_logs AS entry USING ledger_segments AS segment
           WHERE segment.seq = :seq AND entry.tx_id >= segment.tx_from AND entry.tx_id < segment.tx_to""",
        seq=late,
    )
    archive_day(services, day)
    clock.advance(days=8)
    before = days.hot_rows(day)
    with pytest.raises(ArchiveError, match="part 1, which was purged before, does not hold the segments"):
        purge_day(services, day)
    assert days.hot_rows(day) == before


@pytest.mark.usefixtures("sealed")
def test_a_segment_that_is_booked_to_a_part_that_the_day_does_not_have_stops_the_purge(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    archive_day(services, day)
    clock.advance(days=8)
    days.execute("UPDATE archived_segments SET part = 7 WHERE segment_seq = 3")
    with pytest.raises(ArchiveError, match="segment 3 is recorded in a part 7 that the day does not have"):
        purge_day(services, day)
    assert len(days.hot_rows(day)) == 13


@pytest.mark.usefixtures("sealed")
def test_what_is_altered_while_the_archive_is_read_is_not_dropped(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    archive_day(services, day)
    clock.advance(days=8)

    def forge(step: PurgeStep) -> None:
        if step is PurgeStep.ARCHIVES_READ:
            alter_a_row_and_the_root(days, day)

    with pytest.raises(ComplianceError, match="was not purged: "):
        purge_day(services, day, hook=forge)
    assert len(days.hot_rows(day)) == 13


@pytest.mark.usefixtures("sealed")
def test_a_checkpoint_that_was_altered_in_the_cold_store_stops_both(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    archive_day(services, day)
    clock.advance(days=8)
    path = days.objects(day)[0].parents[3] / "audit-ledger/checkpoint"
    overwrite(path, path.read_bytes().replace(b"\n5\n", b"\n6\n"))
    for refuses in (purge_day, archive_day):
        with pytest.raises(LedgerError):
            refuses(services, day)
    assert len(days.hot_rows(day)) == 13


def test_a_segment_that_is_not_published_yet_is_left_for_the_next_pass(
    services: Services, days: Days, day: date
) -> None:
    days.append(day, 2)
    days.append(day, 2, sealed=False)
    with pytest.raises(Stopped):
        seal_all(services, step=stop_after(SealStep.COMMITTED))
    with pytest.raises(SegmentNotPublishedError, match="segment 1 is in no checkpoint of the cold store") as refused:
        archive_day(services, day)
    assert isinstance(refused.value, TransientError)
    seal_all(services)
    assert archive_day(services, day).entry_count == 4


def test_the_proof_begins_before_the_day_and_not_at_the_beginning_of_the_ledger(
    services: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sealed more than a day before the day began cannot hold its entries, and is not read."""
    for number in range(5):
        days.append(day + timedelta(days=number), 1)
    today = services.clock().date()
    days.append(today, 1)
    read: list[int] = []

    def noted(connection: sqlalchemy.Connection, first: int, after: int) -> object:
        read.append(first)
        return packed_records(connection, first, after)

    monkeypatch.setattr("compliance_pipelines.ledger.proven_records.packed_records", noted)
    tomorrow = today + timedelta(days=3)
    with services.engine.connect() as connection:
        check_anchored(services, connection, tomorrow, [])
        assert read == [5]
        read.clear()
        (first,) = records_between(connection, 0, 1)
        assert isinstance(first, Segment)
        check_anchored(services, connection, day, [first])
        assert read == [0]
    days.execute("UPDATE ledger_segments SET entry_count = 2 WHERE seq = 1")
    report = verify(services, [tomorrow])
    assert (report.findings, report.checked.segments) == ((), 1)
    assert verify(services, [day]).findings


@pytest.mark.usefixtures("sealed")
def test_where_the_proof_begins_is_proved_itself(
    services: Services, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lets it begin too late, by what the database says for a moment, is refused."""
    monkeypatch.setattr("compliance_pipelines.ledger.store.sealed_before", lambda *_: True)
    monkeypatch.setattr("compliance_pipelines.ledger.store.first_segment_of", lambda *_: None)
    with services.engine.connect() as connection, pytest.raises(SegmentNotAnchoredError, match="than a moment ago"):
        check_anchored(services, connection, day, [])


def test_a_day_whose_segments_were_all_removed_is_not_taken_for_one_without_entries(
    services: Services, days: Days, day: date
) -> None:
    days.append(day, 2)
    days.execute("DELETE FROM audit_logs WHERE tx_id < (SELECT tx_to FROM ledger_segments)")
    days.execute("DELETE FROM ledger_segments")
    with pytest.raises(SegmentNotAnchoredError, match="record 0 is missing"):
        archive_day(replace(services), day)


def test_a_database_without_entries_archives_nothing(services: Services, day: date) -> None:
    assert archive_day(services, day).parts == ()
    with services.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM archived_audit_logs")).scalar_one() == 0


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize(
    "forge",
    [
        alter_a_row_and_the_root,
        delete_a_row_and_fit_the_record,
        delete_a_segment_and_its_rows,
        move_a_segment_to_another_day,
        backdate_a_checkpoint,
    ],
)
def test_the_purge_does_not_rely_on_the_archive_having_looked(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    day: date,
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
    forge: Callable[[Days, date], None],
) -> None:
    """What an archive that believed the database has signed and read back is refused when it is to be dropped."""
    forge(days, day)
    monkeypatch.setattr("compliance_pipelines.archive.export.check_anchored", lambda *_: None)
    archive_day(services, day)
    clock.advance(days=8)
    before = days.hot_rows(day)
    with pytest.raises(SegmentNotAnchoredError):
        purge_day(services, day)
    assert days.hot_rows(day) == before
