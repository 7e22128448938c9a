"""What is in a file that nobody vouches for, compared with what was sealed.

Here: looking into it, and the result as JSON, which a process of its own hands over (examiner.py). Not here: what
follows from the result. Nothing that the file says about itself is believed: its rows are hashed and compared.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from compliance_pipelines.archive.parquet import PartLabel, UnreadableParquetError, is_encrypted, open_part
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.archive.parquet import PartReader
    from compliance_pipelines.encryption.data_key import DataKey
    from compliance_pipelines.ledger.segments import Segment

_MOST_DIFFERENCES: Final = 20
_MOST_CHARACTERS: Final = 500
_MOST_NUMBER: Final = 2**62
_TYPES: Final = {"str": str, "int": int, "bool": bool}


class MalformedExaminationError(ValueError):
    """What should be the result of an examination is none."""


@dataclass(frozen=True)
class Examination:
    """What a file holds.

    Attributes:
        unreadable: why it cannot be read; empty where it can.
        columns_fit: whether its columns are those of an audit archive; if not, no row was read.
        label_fits: whether it bears the label of the part in whose place it is.
        num_rows: how many rows its footer says there are.
        rows: how many were read and hashed.
        canonical_bytes: length of their canonical encodings.
        outside_day: how many of them have a timestamp of another day.
        differences: how they differ from what was sealed, in words; empty where every row is as it was sealed.
    """

    unreadable: str = ""
    columns_fit: bool = True
    label_fits: bool = True
    num_rows: int = 0
    rows: int = 0
    canonical_bytes: int = 0
    outside_day: int = 0
    differences: tuple[str, ...] = ()

    @property
    def is_as_sealed(self) -> bool:
        """Whether it holds exactly the entries that were sealed."""
        return self.columns_fit and not self.unreadable and not self.differences

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: object) -> Examination:
        """The examination of these values, which come from a process that may have been at a stranger's mercy.

        Raises:
            MalformedExaminationError: they are of another form.
        """
        names = {field.name: str(field.type) for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != set(names):
            raise MalformedExaminationError("it has other fields")
        differences = values["differences"]
        if not isinstance(differences, list) or len(differences) > _MOST_DIFFERENCES + 1:
            raise MalformedExaminationError("it does not list differences")
        for name, value in values.items():
            if name != "differences" and type(value) is not _TYPES[names[name]]:
                raise MalformedExaminationError(f"its {name} is of another type")
            if type(value) is int and not 0 <= value < _MOST_NUMBER:
                raise MalformedExaminationError(f"its {name} is no count")
        if not all(isinstance(difference, str) for difference in differences):
            raise MalformedExaminationError("its differences are no texts")
        texts = tuple(printable(difference, _MOST_CHARACTERS) for difference in differences)
        return cls(**{**values, "unreadable": printable(values["unreadable"], _MOST_CHARACTERS), "differences": texts})


class DayBounds:
    """Counts entries of another day than the part's, which no honest sealing puts there."""

    def __init__(self, day: date) -> None:
        start = datetime.combine(day, time(), UTC)
        kind = pa.timestamp("us", tz="UTC")
        self._first, self._after = pa.scalar(start, kind), pa.scalar(start + timedelta(days=1), kind)
        self.outside = 0

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        times = batch.column("timestamp")
        outside = pc.or_(pc.less(times, self._first), pc.greater_equal(times, self._after))
        self.outside += pc.sum(outside).as_py() or 0


def examine(
    path: Path, *, label: PartLabel, day: date, segments: Sequence[Segment], key: DataKey | None = None
) -> Examination:
    """Look into a file, whatever it is.

    Args:
        path: the file.
        label: what it would say about itself if it were the part in whose place it is.
        day: of the part.
        segments: which it should hold.
        key: what it should be encrypted with; a plain file is looked into as well.
    """
    rows, bounds = SealedRows(segments), DayBounds(day)
    try:
        with open_part(path, name="it", key=key if is_encrypted(path) else None) as part:
            seen = Examination(
                columns_fit=part.schema.equals(ENTRY_SCHEMA), label_fits=part.label == label, num_rows=part.num_rows
            )
            if seen.columns_fit:
                _feed(part, rows, bounds)
    except UnreadableParquetError as error:
        return Examination(unreadable=printable(str(error), _MOST_CHARACTERS))
    if not seen.columns_fit:
        return seen
    found = [printable(each.message, _MOST_CHARACTERS) for each in rows.differences()]
    if len(found) > _MOST_DIFFERENCES:
        found[_MOST_DIFFERENCES:] = [f"{len(found) - _MOST_DIFFERENCES} more segments differ"]
    return Examination(
        label_fits=seen.label_fits,
        num_rows=seen.num_rows,
        rows=rows.rows,
        canonical_bytes=rows.canonical_bytes,
        outside_day=bounds.outside,
        differences=tuple(found),
    )


def _feed(part: PartReader, rows: SealedRows, bounds: DayBounds) -> None:
    for batch in part.batches():
        rows.feed(batch)
        bounds.feed(batch)
