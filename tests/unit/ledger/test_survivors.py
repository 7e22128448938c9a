"""However passes, failovers and losses follow each other, each row that survived is in exactly one segment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from hypothesis import example, given
from hypothesis import strategies as st

from compliance_pipelines.ledger.hashing import HashedRows
from compliance_pipelines.ledger.losses import Loss, Voids, ranges_of
from compliance_pipelines.ledger.records import Statement, StatementKind
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.survivors import Span, judged, new_segments, span_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compliance_pipelines.ledger.records import LedgerRecord

NOW: Final = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAYS: Final = tuple(date(2026, 11, 1) + timedelta(days=number) for number in range(3))
IDS_OF_A_PASS: Final = 10


@dataclass(frozen=True, order=True)
class Row:
    id: int
    tx_id: int
    day: date


@dataclass
class Database:
    """Rows, and the records that it knows of the ledger, the first so many."""

    rows: set[Row] = field(default_factory=set)
    known: int = 0
    looked_up_by: dict[int, Segment] = field(default_factory=dict)


@dataclass
class System:
    """A ledger, and the database that seals into it now."""

    ledger: list[LedgerRecord] = field(default_factory=list)
    database: Database = field(default_factory=Database)
    last_id: int = 0

    @property
    def horizon(self) -> int:
        return self.ledger[-1].tx_to if self.ledger else 0

    def write(self, days: Iterable[int], tx_from: int) -> None:
        for number, day in enumerate(days):
            self.last_id += 1
            self.database.rows.add(Row(self.last_id, tx_from + number % IDS_OF_A_PASS, DAYS[day]))

    def seal(self, days: Iterable[int]) -> None:
        span = Span(self.horizon, self.horizon + IDS_OF_A_PASS)
        self.write(days, span.tx_from)
        for day in DAYS:
            rows = hashed(row for row in self.database.rows if row.day == day and span[0] <= row.tx_id < span[1])
            if rows is not None:
                self._append(segment(len(self.ledger), span, day, rows))

    def _append(self, record: LedgerRecord) -> None:
        self.ledger.append(record)
        self.database.known = len(self.ledger)
        if isinstance(record, Segment):
            self.database.looked_up_by[record.seq] = record

    def copy(self) -> Database:
        return Database(set(self.database.rows), self.database.known, dict(self.database.looked_up_by))

    def recover(self, database: Database) -> None:
        """As the recovery does it, with what it judges by."""
        missing = self.ledger[database.known :]
        voids = Voids.of(missing)
        withdrawn = [each for each in database.looked_up_by.values() if voids.covers(each.seq)]
        segments = [record for record in missing if isinstance(record, Segment)]
        spans = sorted({span_of(each) for each in [*segments, *withdrawn]})
        by_place = {
            (span, day): rows
            for span in spans
            for day in DAYS
            if (rows := hashed(row for row in database.rows if row.day == day and span[0] <= row.tx_id < span[1]))
        }
        others = [each for each in database.looked_up_by.values() if span_of(each) in spans]
        found = judged(missing, by_place, withdrawn=withdrawn, others=others)
        horizon = self.horizon
        self.database = database
        for each in withdrawn:
            del database.looked_up_by[each.seq]
        database.looked_up_by.update({each.seq: each for each in found.intact})
        lost = sorted(each.segment.seq for each in found.lost)
        for each in new_segments(found, len(self.ledger), NOW):
            self._append(each)
        loss = Loss(tuple(ranges_of(lost)), 0, 0, "a", "b")
        self._append(Statement(len(self.ledger), StatementKind.LOSS, horizon, NOW, loss.to_body()))

    def assert_each_row_is_in_one_segment(self) -> None:
        voids = Voids.of(self.ledger)
        standing = [each for each in self.ledger if isinstance(each, Segment) and not voids.covers(each.seq)]
        assert standing == [self.database.looked_up_by[seq] for seq in sorted(self.database.looked_up_by)]
        for row in self.database.rows:
            if row.tx_id < self.horizon:
                assert sum(each.day == row.day and each.covers(row.tx_id) for each in standing) == 1
        for each in standing:
            rows = hashed(row for row in self.database.rows if row.day == each.day and each.covers(row.tx_id))
            assert rows is not None
            assert (rows.root, rows.entry_count) == (each.root, each.entry_count)


def hashed(rows: Iterable[Row]) -> HashedRows | None:
    """A root that no other rows have."""
    found = sorted(rows)
    if not found:
        return None
    return HashedRows(len(found), sha256(repr(found).encode()).digest(), found[0].id, found[-1].id)


def segment(seq: int, span: Span, day: date, rows: HashedRows) -> Segment:
    return Segment(seq, day, *span, rows.first_id, rows.last_id, rows.entry_count, rows.root, NOW)


ROWS = st.lists(st.integers(0, 2), max_size=4)
STEP = st.one_of(
    st.tuples(st.just("seal"), ROWS, st.just(0)),
    st.tuples(st.just("remember"), ROWS, st.just(0)),
    # Rows that another database writes under ids that were used; which of the remembered ones is restored.
    st.tuples(st.just("restore"), ROWS, st.integers(0, 5)),
)


# The database that was lost comes back, and knows nothing of the loss.
COMES_BACK: Final = [
    ("remember", [], 0),
    ("seal", [0, 0], 0),
    ("remember", [], 0),
    ("restore", [], 0),
    ("seal", [0], 0),
]


@given(st.lists(STEP, min_size=1, max_size=14))
@example([("seal", [0], 0), *COMES_BACK, ("restore", [], 1)])
@example([("seal", [0], 0), *COMES_BACK, ("restore", [0, 1], 1), ("seal", [2], 0), ("restore", [1], 0)])
def test_each_surviving_row_is_in_exactly_one_standing_segment(steps: list[tuple[str, list[int], int]]) -> None:
    system, moments = System(), list[Database]()
    for step, days, which in steps:
        if step == "seal":
            system.seal(days)
        elif step == "remember":
            # Some rows are there that are sealed after this moment only.
            system.write(days, system.horizon)
            moments.append(system.copy())
        elif moments:
            moment = moments[which % len(moments)]
            restored = Database(set(moment.rows), moment.known, dict(moment.looked_up_by))
            for day in days:
                system.last_id += 1
                # Above all that it has used and sealed itself, as PostgreSQL counts.
                sealed = system.ledger[restored.known - 1].tx_to if restored.known else 0
                used = max(sealed, *(row.tx_id + 1 for row in restored.rows), 0)
                restored.rows.add(Row(system.last_id, used, DAYS[day]))
            if restored.known < len(system.ledger):
                system.recover(restored)
        system.assert_each_row_is_in_one_segment()
