"""Records that are packed column by column are the records that are read one by one."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger import sql
from compliance_pipelines.ledger.packed_records import packed_records
from compliance_pipelines.ledger.records import MalformedRecordError, Statement, StatementKind
from compliance_pipelines.ledger.segments import Segment
from tests.unit.ledger.test_segments import segments as any_segment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from compliance_pipelines.ledger.records import LedgerRecord

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
NUMBERS: Final = ("seq", "tx_from", "tx_to", "first_id", "last_id", "entry_count")

any_statement = st.builds(
    Statement,
    seq=st.just(0),
    kind=st.sampled_from(StatementKind),
    tx_to=st.integers(-(2**63), 2**63 - 1),
    sealed_at=st.datetimes(timezones=st.just(UTC)),
    body=st.binary(max_size=40),
)


class Database:
    """Answers as PostgreSQL does; of what is void it has the record alone."""

    def __init__(self, records: Sequence[LedgerRecord], void: Sequence[Segment] = ()) -> None:
        self._segments = [record for record in records if isinstance(record, Segment) and record not in void]
        self._statements = [record for record in records if not isinstance(record, Segment) or record in void]
        self.days: list[int] | None = None

    def execute(self, statement: object, bounds: dict[str, int]) -> Any:  # noqa: ANN401 - stands for a connection
        if statement is sql.STATEMENTS_BETWEEN:
            return self._rows(bounds)
        assert statement is sql.SEGMENT_COLUMNS_BETWEEN
        asked = [each for each in self._segments if bounds["first"] <= each.seq < bounds["after"]]
        days = [(each.day - EPOCH.date()).days for each in asked] if self.days is None else self.days
        columns = {name: _sent("q", [getattr(each, name) for each in asked]) for name in NUMBERS}
        columns |= {"day": _sent("i", days), "root": b"".join(each.root for each in asked)}
        columns["sealed_at"] = _sent("q", [(each.sealed_at - EPOCH) // timedelta(microseconds=1) for each in asked])
        row = SimpleNamespace(segments=len(asked), **columns)
        return SimpleNamespace(one=lambda: row)

    def _rows(self, bounds: dict[str, int]) -> Iterator[SimpleNamespace]:
        for each in self._statements:
            if bounds["first"] <= each.seq < bounds["after"]:
                yield SimpleNamespace(seq=each.seq, record=each.record_bytes())


def _sent(form: str, values: Sequence[int]) -> bytes:
    return struct.pack(f">{len(values)}{form}", *values)


def read(database: Database, first: int, after: int) -> Any:  # noqa: ANN401 - one batch
    (packed,) = packed_records(database, first, after)  # type: ignore[arg-type]
    return packed


@given(st.lists(any_segment | any_statement, min_size=1, max_size=6), st.integers(0, 2**62), st.data())
def test_whatever_the_records_are_their_leaves_are_those_of_each(
    given_records: list[LedgerRecord], first: int, data: st.DataObject
) -> None:
    records: list[LedgerRecord] = [replace(each, seq=first + place) for place, each in enumerate(given_records)]
    segments = [each for each in records if isinstance(each, Segment)]
    void = data.draw(st.lists(st.sampled_from(segments), unique=True)) if segments else []
    packed = read(Database(records, void), first, first + len(records))

    assert [leaf.tobytes() for leaf in packed.leaves] == [record.leaf_hash() for record in records]
    assert packed.first_sealed_at() == records[0].sealed_at
    assert packed.last_tx_to() == records[-1].tx_to
    assert list(packed.statements) == [each for each in records if not isinstance(each, Segment) or each in void]
    days = {each.day for each in segments[::2]}
    assert packed.of_days(days) == [each for each in segments if each.day in days]


def _ledger() -> list[LedgerRecord]:
    at = datetime(2025, 10, 2, tzinfo=UTC)
    return [Segment(seq, date(2025, 10, 1), 10, 20, 1, 2, 2, bytes(32), at) for seq in range(3)]


def test_no_place_is_passed_over_and_none_is_taken_twice() -> None:
    records = _ledger()
    with pytest.raises(MalformedRecordError, match="record 1 is missing"):
        read(Database([records[0], records[2]]), 0, 3)
    with pytest.raises(MalformedRecordError, match="record 3 is missing"):
        read(Database(records), 0, 4)
    statement = Statement(2, StatementKind.LOSS, 20, records[2].sealed_at, b"")
    with pytest.raises(MalformedRecordError, match="record 2 is there twice"):
        read(Database([*records, statement]), 0, 3)


@pytest.mark.parametrize("day", [2**31 - 1, -(2**31), (date.max - EPOCH.date()).days + 1])
def test_a_day_that_is_none_is_never_taken_for_another_one(day: int) -> None:
    database = Database(_ledger())
    database.days = [day, 0, 0]
    with pytest.raises(MalformedRecordError, match="outside the years 1 to 9999"):
        read(database, 0, 3)
