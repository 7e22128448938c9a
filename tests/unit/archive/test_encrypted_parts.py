"""Encrypted parts: other people's readers read every column in full; without the key nobody reads anything."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from compliance_pipelines.archive.parquet import (
    PartLabel,
    PartWriter,
    UnreadableParquetError,
    has_no_end,
    is_encrypted,
    open_part,
)
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.encryption.data_key import DataKey
from tests.unit.archive.examples import DAY, batch_of, row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = DataKey(b"k" * 32)
LABEL = PartLabel.of(DAY, 1, b"r" * 32)
# More than the smallest row group that DuckDB and polars read in one piece, and a second, small one.
ROWS = 70_000


def written(path: Path, rows: list[dict[str, Any]], key: DataKey | None = KEY) -> Path:
    with PartWriter(path, LABEL, len(rows), key) as writer:
        for start in range(0, len(rows), 10_000):
            writer.write(batch_of(rows[start : start + 10_000]))
        writer.finish()
    return path


def distinct_users(number: int) -> dict[str, Any]:
    """A dictionary of two and a half megabytes, more than a writer keeps one for by default."""
    return row(number, user_id=f"user-{number:032d}", resource_id=str(uuid.UUID(int=number * 2**64)))


def large_metadata(number: int) -> dict[str, Any]:
    """Row groups that end by their bytes, of more bytes than a page has by default."""
    return row(number, metadata=f'{{"number": {number}, "text": "{number:05000d}"}}')


@pytest.fixture(
    scope="module",
    params=[(distinct_users, ROWS), (large_metadata, 15_000), (row, 10)],
    ids=["many users", "much metadata", "few rows"],
)
def part(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    make: Callable[[int], dict[str, Any]]
    make, count = request.param
    rows = [make(number) for number in range(1, count + 1)]
    return written(tmp_path_factory.mktemp("part") / "it.parquet", rows), pa.Table.from_batches([batch_of(rows)])


@pytest.mark.parametrize("column", ENTRY_SCHEMA.names)
def test_duckdb_reads_every_column_in_full(part: tuple[Path, pa.Table], column: str) -> None:
    path, rows = part
    with duckdb.connect() as connection:
        connection.execute(f"PRAGMA add_parquet_key('archive', '{base64.b64encode(KEY.secret).decode()}')")
        found = connection.execute(
            f'SELECT count(DISTINCT "{column}"), count("{column}") FROM read_parquet(?, encryption_config = '
            "{footer_key: 'archive'})",
            [str(path)],
        ).fetchone()
    values = rows.column(column).to_pylist()
    there = [value for value in values if value is not None]
    assert found == (len(set(there)), len(there))


def test_polars_reads_every_column_in_full(part: tuple[Path, pa.Table]) -> None:
    path, rows = part
    found = pl.read_parquet(path, decryption=pl.ParquetDecryptionProperties(footer_key=KEY.secret))
    for column in ENTRY_SCHEMA.names:
        assert found.get_column(column).n_unique() == len(set(rows.column(column).to_pylist()))


def test_pyarrow_reads_every_row(part: tuple[Path, pa.Table]) -> None:
    path, rows = part
    properties = pe.create_decryption_properties(KEY.secret)
    assert pq.read_table(path, decryption_properties=properties).cast(ENTRY_SCHEMA) == rows.cast(ENTRY_SCHEMA)


def test_nothing_of_it_is_readable_without_the_key(tmp_path: Path) -> None:
    path = written(tmp_path / "part.parquet", [row(number) for number in range(1, 1000)])
    data = path.read_bytes()
    assert is_encrypted(path)
    assert data[:4] == data[-4:] == b"PARE"
    assert not any(word in data for word in (b"message.send", b"user-1", b"log_entry_id", b"compliance_pipelines"))
    with pytest.raises(UnreadableParquetError), open_part(path, name="it"):
        pass
    with pytest.raises(UnreadableParquetError), open_part(path, name="it", key=DataKey(b"o" * 32)):
        pass


def test_a_plain_file_is_not_taken_for_an_encrypted_one(tmp_path: Path) -> None:
    path = written(tmp_path / "part.parquet", [row(1)], None)
    assert not is_encrypted(path)
    with pytest.raises(UnreadableParquetError), open_part(path, name="it", key=KEY):
        pass


def test_one_that_was_cut_off_is_known_by_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "part.parquet", [row(number) for number in range(1, 1000)])
    data = path.read_bytes()
    assert not has_no_end(path)
    for kept in (2, 4, 8, 100, len(data) - 1):
        path.write_bytes(data[:kept])
        assert has_no_end(path)
    path.write_bytes(b"PARE" + data[4:-4] + b"PAR1")
    assert has_no_end(path)


def test_two_files_of_the_same_rows_have_nothing_in_common(tmp_path: Path) -> None:
    rows = [row(number) for number in range(1, 1000)]
    first, second = (written(tmp_path / name, rows).read_bytes() for name in ("a", "b"))
    assert sum(a == b for a, b in zip(first, second, strict=False)) < len(first) // 50
