"""Losses that the ledger states: each is a note, and what cannot be read voids nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.ledger.losses import Loss
from compliance_pipelines.ledger.records import Statement, StatementKind
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.verification.findings import Journal, Kind, NoteKind
from compliance_pipelines.verification.losses import accept_losses
from compliance_pipelines.verification.segment_index import SegmentIndex, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY: Final = date(2026, 11, 1)
NOW: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def index() -> Iterator[SegmentIndex]:
    with SegmentIndex.open(None) as opened:
        opened.add(Source.LEDGER, [Segment(seq, DAY, seq, seq + 1, seq, seq, 1, bytes(32), NOW) for seq in range(5)])
        yield opened


def stated(seq: int, *ranges: tuple[int, int]) -> Statement:
    body = Loss(ranges, 2, 1, "Ada\u202eAdmin", "INC-7").to_body()
    return Statement(seq, StatementKind.LOSS, 5, NOW, body)


def test_what_is_void_is_no_segment_of_its_day(index: SegmentIndex) -> None:
    index.add(Source.LEDGER, [stated(5, (1, 3))])
    journal = Journal()
    voids = accept_losses(index, 6, journal)
    assert voids.ranges == ((1, 3),)
    assert [segment.seq for segment in index.of_day(Source.LEDGER, DAY)] == [0, 3, 4]
    assert [unheld.segments for unheld in index.unheld()] == [3]
    (note,) = journal.report().notes
    assert (note.kind, note.day, note.segment) == (NoteKind.LOSS_ACCEPTED, DAY, 1)
    assert note.message == (
        "record 5: 2 segments of 2026-11-01 lost (from segment 1 on, 2 entries, ids 1 to 2, sealed 2026-11-29 12:00:00 "
        "to 2026-11-29 12:00:00 UTC), of whose entries 1 stood in their place; accepted 2026-11-29 12:00 UTC by "
        "Ada\\u202eAdmin: INC-7"
    )


def test_what_no_signature_covers_voids_nothing(index: SegmentIndex) -> None:
    index.add(Source.LEDGER, [stated(5, (1, 3))])
    journal = Journal()
    assert accept_losses(index, 5, journal).ranges == ()
    assert len(index.of_day(Source.LEDGER, DAY)) == 5
    assert journal.report().notes == ()


@pytest.mark.parametrize(
    "statement", [Statement(5, StatementKind.LOSS, 5, NOW, b"nothing"), stated(5, (3, 6))], ids=["body", "later"]
)
def test_a_loss_that_cannot_be_read_is_a_finding_and_voids_nothing(index: SegmentIndex, statement: Statement) -> None:
    index.add(Source.LEDGER, [statement])
    journal = Journal()
    assert accept_losses(index, 6, journal).ranges == ()
    (finding,) = journal.report().findings
    assert (finding.kind, finding.segment) == (Kind.SEGMENT_ALTERED, 5)
    assert len(index.of_day(Source.LEDGER, DAY)) == 5


def test_a_day_of_which_everything_is_void_is_no_day(index: SegmentIndex) -> None:
    index.add(Source.LEDGER, [stated(5, (0, 5))])
    accept_losses(index, 6, Journal())
    assert index.days(Source.LEDGER) == []
    assert list(index.unheld()) == []
