"""Rows of PostgreSQL, brought into the private directory of a search.

Here: what is wanted of each day, written as a part is, under a key that this process alone has and forgets. Not here:
the query (audit_log/reading.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.archive.parquet import PartLabel, PartWriter
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.search.fetching import StagedFile
from compliance_pipelines.search.folder import new_file
from compliance_pipelines.search.wanted import selection_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    import pyarrow as pa

    from compliance_pipelines.audit_log.reading import SnapshotReader
    from compliance_pipelines.search.holdings import HotDay
    from compliance_pipelines.search.plan import Plan

# Of entries of about 350 bytes as text.
_BYTES_A_ROW: Final = 150
HOT: Final = "hot"
"""What the relation calls PostgreSQL, where it names the source of an entry."""


@dataclass(frozen=True)
class HotRows:
    """What came of PostgreSQL.

    Attributes:
        files: one for each day that has any.
        rows: in them.
        strangers: what stands there in segments that were purged, and is left out, in words.
    """

    files: tuple[StagedFile, ...]
    rows: int
    strangers: tuple[str, ...]


def hot_bytes(plan: Plan) -> int:
    """About how much room the rows of a plan will take, where all of them are wanted; 0 where that is not known."""
    return 0 if plan.wanted.by_column else plan.hot_rows * _BYTES_A_ROW


def stage_hot_rows(snapshot: SnapshotReader, plan: Plan, folder: Path) -> HotRows:
    """Write what is wanted of each day of the plan, in memory that does not grow with it.

    Raises:
        ReadingError: the connection was lost.
        UnreadableRowsError: PostgreSQL refuses.
        OSError: the disk is full.
    """
    key = DataKey.new()
    files: list[StagedFile] = []
    strangers: list[str] = []
    rows = 0
    for day in plan.hot_days:
        part_of_day = plan.period.part_of(day.day)
        whole = not plan.wanted.by_column and part_of_day is None
        path = new_file(folder, f"hot-{day.day}.parquet")
        written = left_out = 0
        reading = (
            snapshot.rows(day=day.day, about=day.rows)
            if whole
            else snapshot.selected(day.day, selection_of(plan.wanted, part_of_day))
        )
        with PartWriter(path, PartLabel.of(day.day, 0, b""), day.rows, key) as writer, reading as batches:
            for batch in batches:
                kept = _without_purged(batch, day)
                writer.write(kept)
                written += kept.num_rows
                left_out += batch.num_rows - kept.num_rows
            writer.finish()
        if written:
            files.append(StagedFile(path, day.day, HOT, key))
            rows += written
        else:
            path.unlink()
        if left_out:
            strangers.append(
                f"{day.day}: in PostgreSQL, {'1 row' if left_out == 1 else f'{left_out:,} rows'} in segments whose "
                f"entries were purged, and left out; run `compliance verify {day.day}`"
            )
    return HotRows(tuple(files), rows, tuple(strangers))


def _without_purged(batch: pa.RecordBatch, day: HotDay) -> pa.RecordBatch:
    """The rows of a batch that are in no segment whose rows left PostgreSQL."""
    if not day.purged:
        return batch
    starts, ends = _bounds(day.purged)
    tx_ids = batch.column("tx_id").to_numpy()
    place = np.searchsorted(starts, tx_ids, side="right") - 1
    gone = (place >= 0) & (tx_ids < ends[np.maximum(place, 0)])
    return batch.filter(~gone)


def _bounds(purged: Sequence[tuple[int, int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Beginnings and ends of ranges that do not overlap, in order."""
    both = np.array(purged, dtype=np.int64)
    return both[:, 0], both[:, 1]
