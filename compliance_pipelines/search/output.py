"""The rows of a search as CSV, JSON lines or Parquet, as they come.

Here: the forms, written in bounded memory. Not here: tables for a person (cli/searching.py).
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from compliance_pipelines.search.errors import SearchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_GROUP_ROWS: Final = 65_536
_METADATA: Final = "metadata"


def rows_of(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """The rows of a batch, in the order of its columns, which may have the same name."""
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def as_text(value: object) -> str:
    """A value as people read it: nothing for NULL, times in ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, default=_as_json, ensure_ascii=False)
    return str(value)


def _as_json(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, (datetime, date, time, bytes, timedelta, UUID)):
        return as_text(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def write_csv(schema: pa.Schema, batches: Iterable[pa.RecordBatch], write: Callable[[str], object]) -> None:
    """A line with the names of the columns, and one for each row (RFC 4180, with LF)."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(schema.names)
    for batch in batches:
        writer.writerows([as_text(value) for value in row] for row in rows_of(batch))
        write(buffer.getvalue())
        buffer.seek(0)
        buffer.truncate()
    write(buffer.getvalue())


def write_json_lines(schema: pa.Schema, batches: Iterable[pa.RecordBatch], write: Callable[[str], object]) -> None:
    """An object for each row, one on a line.

    Raises:
        SearchError: two columns have the same name.
    """
    _require_distinct(schema)
    for batch in batches:
        lines = (_line(schema.names, row) for row in rows_of(batch))
        write("".join(f"{line}\n" for line in lines))


def write_entries_as_json_lines(batches: Iterable[pa.RecordBatch], write: Callable[[str], object]) -> None:
    """An object for each entry, with its metadata as the very JSON that it is."""
    for batch in batches:
        names = [name for name in batch.schema.names if name != _METADATA]
        metadata = batch.column(_METADATA).to_pylist()
        rest = rows_of(batch.select(names))
        write(
            "".join(
                f'{_line(names, row)[:-1]}, "{_METADATA}": {"null" if each is None else each}}}\n'
                for row, each in zip(rest, metadata, strict=True)
            )
        )


def _line(names: list[str], row: tuple[Any, ...]) -> str:
    return json.dumps(
        dict(zip(names, (_finite(value) for value in row), strict=True)), default=_as_json, ensure_ascii=False
    )


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float) and (value != value or value in {float("inf"), float("-inf")}):  # noqa: PLR0124
        return str(value)
    return value


def write_parquet(schema: pa.Schema, batches: Iterable[pa.RecordBatch], target: BinaryIO) -> None:
    """A Parquet file, zstd; not encrypted.

    Raises:
        SearchError: two columns have the same name.
    """
    _require_distinct(schema)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in batches:
            waiting.append(batch)
            rows += batch.num_rows
            if rows >= _GROUP_ROWS:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema))


def _require_distinct(schema: pa.Schema) -> None:
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise SearchError(f"several columns are called {twice[0]!r}: give them names of their own (AS ...)")


@contextmanager
def new_file(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], None]]]:
    """A file that its owner alone can read, and a function that gives it its name, unless there is a file of that name.

    Without a call of the function nothing is left when the block ends.

    Raises:
        SearchError: there is such a file, or none can be written.
    """
    if path.exists() or path.is_symlink():
        raise SearchError(f"{path} is there already, and is left as it is: give another name")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    except OSError as error:
        raise SearchError(f"{path} cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:

            def publish() -> None:
                file.flush()
                os.fsync(file.fileno())
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    raise SearchError(f"{path} is there already, and is left as it is: give another name") from None

            yield file, publish
    except OSError as error:
        raise SearchError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
