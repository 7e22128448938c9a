from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.layout import PartKey
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.records import LedgerRecord, Statement, StatementKind
from compliance_pipelines.verification.segment_index import SegmentIndex, Source, Unheld, fits_index
from tests.unit.verification.ledgers import FIRST_DAY, record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def index() -> Iterator[SegmentIndex]:
    with SegmentIndex.open(None) as opened:
        yield opened


def test_records_come_back_as_they_were(index: SegmentIndex) -> None:
    records = [record(seq) for seq in range(10)]
    index.add(Source.LEDGER, records)
    assert list(index.between(Source.LEDGER, 0, 2**80)) == records
    assert list(index.between(Source.LEDGER, 3, 5)) == records[3:5]
    assert list(index.between(Source.DATABASE, 0, 10)) == []
    assert index.one(Source.LEDGER, 4) == records[4]
    assert index.one(Source.LEDGER, 2**70) is None
    assert index.of_day(Source.LEDGER, FIRST_DAY) == records[::3]
    assert index.days(Source.LEDGER) == [record(seq).day for seq in range(3)]


def test_filling_keeps_what_is_there_and_adopting_replaces_it(index: SegmentIndex) -> None:
    index.add(Source.LEDGER, [record(1)])
    index.add(Source.DATABASE, [record(seq, variant=1) for seq in range(4)])
    index.fill(Source.LEDGER, Source.DATABASE, 0, 3)
    assert list(index.between(Source.LEDGER, 0, 9)) == [record(0, variant=1), record(1), record(2, variant=1)]
    assert list(index.differing(Source.LEDGER, Source.DATABASE, 0, 9)) == [(1, record(1).day)]
    assert list(index.only_in(Source.DATABASE, Source.LEDGER, 0, 9)) == [(3, record(3).day)]
    index.adopt(Source.LEDGER, Source.DATABASE, 0, 9)
    assert list(index.differing(Source.LEDGER, Source.DATABASE, 0, 9)) == []


def statement(seq: int, *, body: bytes = b"") -> Statement:
    return Statement(seq, StatementKind.LOSS, tx_to=5, sealed_at=record(0).sealed_at, body=body)


def test_statements_stand_among_the_segments_and_belong_to_no_day(index: SegmentIndex) -> None:
    records: list[LedgerRecord] = [record(0), statement(1), record(2)]
    index.add(Source.LEDGER, records)
    index.add(Source.DATABASE, [record(0), statement(1, body=b"other"), statement(2), statement(3)])
    assert list(index.between(Source.LEDGER, 0, 9)) == records
    assert index.one(Source.LEDGER, 1) == records[1]
    assert index.count(Source.LEDGER, 0, 9) == 3
    assert index.days(Source.LEDGER) == sorted({record(0).day, record(2).day})
    assert [each.segments for each in index.unheld()] == [1, 1]
    assert list(index.differing(Source.LEDGER, Source.DATABASE, 0, 9)) == [(1, None), (2, record(2).day)]
    assert list(index.only_in(Source.DATABASE, Source.LEDGER, 0, 9)) == [(3, None)]
    index.adopt(Source.LEDGER, Source.DATABASE, 1, 3)
    assert list(index.between(Source.LEDGER, 0, 9)) == [record(0), statement(1, body=b"other"), statement(2)]


@pytest.mark.parametrize(
    "change",
    [
        {"day": FIRST_DAY},
        {"tx_from": 0},
        {"tx_to": 2**62},
        {"first_id": 0},
        {"last_id": 0},
        {"entry_count": 11},
        {"root": bytes(32)},
        {"sealed_at": record(0).sealed_at},
    ],
)
def test_a_difference_in_any_field_is_one(index: SegmentIndex, change: dict[str, object]) -> None:
    index.add(Source.LEDGER, [record(1)])
    index.add(Source.DATABASE, [replace(record(1), **change)])  # type: ignore[arg-type]
    assert list(index.differing(Source.LEDGER, Source.DATABASE, 0, 9)) == [(1, record(1).day)]


def test_what_no_part_holds_is_told_by_day(index: SegmentIndex) -> None:
    index.add(Source.LEDGER, [record(seq) for seq in range(9)])
    first, second = PartKey.of(FIRST_DAY, 1, bytes(32)), PartKey.of(FIRST_DAY, 2, bytes(32))
    index.add_part(first, [record(3)])
    index.add_part(second, [record(3), record(0)])
    assert list(index.held_twice()) == [(3, FIRST_DAY, f"{first.object_key} and {second.object_key}")]
    assert index.last_held() in {(3, FIRST_DAY, first.object_key), (3, FIRST_DAY, second.object_key)}
    assert index.last_day_held() == FIRST_DAY
    assert index.held_among([record(0), record(3), record(6)]) == {0, 3}
    assert list(index.unheld()) == [
        Unheld(FIRST_DAY, 6, 6, 1, 10, 3),
        Unheld(record(1).day, 1, 7, 3, 30, None),
        Unheld(record(2).day, 2, 8, 3, 30, None),
    ]


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"seq": 2**63}, False),
        ({"seq": -1}, False),
        ({"tx_to": 2**63}, False),
        ({"tx_from": -(2**64)}, False),
        ({"tx_from": 5000, "tx_to": 5000}, False),
        ({"entry_count": 0}, False),
        ({"entry_count": 2**50}, False),
    ],
)
def test_records_that_no_sealing_writes_are_told_apart(change: dict[str, object], fits: bool) -> None:
    assert fits_index(replace(record(1), **change)) is fits  # type: ignore[arg-type]


def test_the_file_is_gone_afterwards_and_a_broken_one_is_a_passing_failure(tmp_path: Path) -> None:
    with SegmentIndex.open(tmp_path) as index:
        (file,) = tmp_path.iterdir()
        index.add(Source.LEDGER, [record(0)])
    assert not file.exists()
    with pytest.raises(TransientError, match="cannot be used"), SegmentIndex.open(tmp_path) as index:
        index._connection.execute("nonsense")
