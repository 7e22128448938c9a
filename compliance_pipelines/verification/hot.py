"""The rows of a day in PostgreSQL against the segments that they were sealed in.

Here: reading and comparing them, and naming what differs. Not here: which segments are expected to be there (days.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.archive.sealed_rows import Change, SealedRows
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.verification.findings import Finding, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    import pyarrow as pa
    import sqlalchemy

    from compliance_pipelines.ledger.segments import Segment

_BATCHES_AHEAD: Final = 2
_SHOWN_IDS: Final = 5
_KINDS: Final = {
    Change.ALTERED: Kind.ENTRY_ALTERED,
    Change.DELETED: Kind.ENTRY_DELETED,
    Change.INSERTED: Kind.ENTRY_INSERTED,
}


@dataclass(frozen=True)
class HotRows:
    """What was found in PostgreSQL: how many rows, and what is wrong with them."""

    rows: int
    findings: tuple[Finding, ...]


@dataclass
class _Returned:
    """Rows of segments whose rows had left PostgreSQL."""

    segments: Sequence[Segment]
    rows: int = 0
    ids: list[str] = field(default_factory=list)

    def split_off(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch without such rows, which are counted."""
        if not self.segments:
            return batch
        tx_ids = batch.column("tx_id").to_numpy()
        returned = np.zeros(len(tx_ids), dtype=bool)
        for segment in self.segments:
            returned |= (tx_ids >= segment.tx_from) & (tx_ids < segment.tx_to)
        if not returned.any():
            return batch
        self.rows += int(returned.sum())
        room = max(0, _SHOWN_IDS - len(self.ids))
        self.ids += batch.column("log_entry_id").take(np.flatnonzero(returned)[:room]).to_pylist()
        return batch.filter(~returned)


def check_hot_rows(  # noqa: PLR0913 - a day, what is expected of it, and who is told
    engine: sqlalchemy.Engine,
    day: date,
    *,
    expected: Sequence[Segment],
    gone: Sequence[Segment],
    tx_horizon: int,
    on_rows: Callable[[int], None],
) -> HotRows:
    """Compare every row of a day below the horizon with the ledger, in memory that does not grow with the day.

    Args:
        engine: of the database.
        day: the UTC day.
        expected: the day's segments whose rows must be there.
        gone: its segments whose rows left PostgreSQL.
        tx_horizon: rows with this transaction id or a larger one are not sealed yet and not looked at.
        on_rows: told how many rows were read, piece by piece.

    Raises:
        ReadingError: the rows could not be read to their end.
    """
    sealed, returned = SealedRows(expected), _Returned(gone)
    about = sum(segment.entry_count for segment in expected)
    rows = 0
    with (
        read_rows(engine, day=day, tx_to=tx_horizon, about=about) as source,
        run_ahead(source, depth=_BATCHES_AHEAD, name="verify-reader") as batches,
    ):
        for batch in batches:
            rows += batch.num_rows
            sealed.feed(returned.split_off(batch))
            on_rows(batch.num_rows)
    findings = [
        Finding(
            kind=_KINDS[difference.change],
            day=day,
            segment=None if difference.segment is None else difference.segment.seq,
            message=f"in PostgreSQL, {difference.message}",
        )
        for difference in sealed.differences()
    ]
    if returned.rows:
        ids = ", ".join(returned.ids) + (", ..." if returned.rows > len(returned.ids) else "")
        message = f"in PostgreSQL, {_entries(returned.rows)} inserted into segments whose entries were purged ({ids})"
        findings.append(Finding(kind=Kind.ENTRY_INSERTED, day=day, message=message))
    return HotRows(rows, tuple(findings))


def _entries(count: int) -> str:
    return "1 entry was" if count == 1 else f"{count:,} entries were"
