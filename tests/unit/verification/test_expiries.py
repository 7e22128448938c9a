"""Expiries that the ledger states: which excuse that a part is gone, and which are findings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from compliance_pipelines.archive.layout import part_root
from compliance_pipelines.ledger.expiries import Expiry
from compliance_pipelines.ledger.records import Statement, StatementKind
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.verification.expiries import accept_expiries
from compliance_pipelines.verification.findings import Journal, Kind
from compliance_pipelines.verification.segment_index import SegmentIndex, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY: Final = date(2019, 11, 1)
NOW: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)
SEGMENTS: Final = [Segment(seq, DAY, seq, seq + 1, seq, seq, 1, bytes(32), NOW) for seq in range(5)]
EXPIRY: Final = Expiry(DAY, 1, 7, 3, 100, 0, 2, 3, part_root(SEGMENTS[:3]), bytes(32))


@pytest.fixture
def index() -> Iterator[SegmentIndex]:
    with SegmentIndex.open(None) as opened:
        opened.add(Source.LEDGER, SEGMENTS)
        yield opened


def stated(seq: int, expiry: Expiry, at: datetime = NOW) -> Statement:
    return Statement(seq, StatementKind.EXPIRY, 5, at, expiry.to_body())


def accepted(
    index: SegmentIndex, *statements: Statement, proven: int = 99, years: int = 7
) -> tuple[list[str], Journal]:
    index.add(Source.LEDGER, statements)
    journal = Journal()
    found = accept_expiries(index, proven, years, journal)
    return sorted(each.key.object_key for each in found.by_family.values()), journal


def test_an_expiry_after_the_retention_is_believed(index: SegmentIndex) -> None:
    keys, journal = accepted(index, stated(5, EXPIRY))
    assert keys == [f"audit-archives/2019/11/audit-logs-2019-11-01.1-{EXPIRY.root.hex()[:8]}.0.parquet"]
    assert journal.report().findings == ()


def test_what_no_signature_covers_excuses_nothing(index: SegmentIndex) -> None:
    keys, journal = accepted(index, stated(5, EXPIRY), proven=5)
    assert (keys, journal.report().findings) == ([], ())


@pytest.mark.parametrize(
    ("at", "years", "early"),
    [
        (datetime(2026, 11, 2, tzinfo=UTC), 7, False),
        (datetime(2026, 11, 1, 23, 59, tzinfo=UTC), 7, True),
        (NOW, 8, True),
        (NOW, 9_000, True),
    ],
)
def test_one_before_the_retention_is_over_is_a_finding(
    index: SegmentIndex, at: datetime, years: int, early: bool
) -> None:
    keys, journal = accepted(index, stated(5, EXPIRY, at), years=years)
    kinds = [finding.kind for finding in journal.report().findings]
    assert (keys == [], kinds) == (early, [Kind.EXPIRY_INVALID] * early)


@pytest.mark.parametrize(
    "wrong",
    [
        {"root": bytes(32)},
        {"first_seq": 1, "segments": 2},
        {"last_seq": 3},
        {"segments": 2},
        {"entries": 4},
        {"day": date(2019, 11, 2)},
    ],
    ids="-".join,
)
def test_one_that_names_other_segments_is_a_finding(index: SegmentIndex, wrong: dict[str, Any]) -> None:
    keys, journal = accepted(index, stated(5, replace(EXPIRY, **wrong)))
    assert keys == []
    (finding,) = journal.report().findings
    assert (finding.kind, finding.segment) == (Kind.EXPIRY_INVALID, 5)


def test_one_that_cannot_be_read_is_a_finding(index: SegmentIndex) -> None:
    keys, journal = accepted(index, Statement(5, StatementKind.EXPIRY, 5, NOW, b"nothing"))
    assert keys == []
    (finding,) = journal.report().findings
    assert "it excuses nothing" in finding.message


def test_void_segments_are_none_of_a_part(index: SegmentIndex) -> None:
    index.void([(1, 2)])
    keys, _ = accepted(index, stated(5, EXPIRY))
    assert keys == []
