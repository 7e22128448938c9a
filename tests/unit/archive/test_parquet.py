from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance_pipelines.archive import parquet
from compliance_pipelines.archive.parquet import PartLabel, PartWriter, UnreadableParquetError, open_part
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from tests.unit.archive.examples import ANY_ROW, DAY, batch_of, row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from compliance_pipelines.archive.parquet import WrittenFile

LABEL = PartLabel.of(DAY, 3, bytes(range(32)))


def write(path: Path, batches: Sequence[pa.RecordBatch]) -> WrittenFile:
    with PartWriter(path, LABEL, sum(batch.num_rows for batch in batches)) as writer:
        for batch in batches:
            writer.write(batch)
        return writer.finish()


@given(rows=st.lists(ANY_ROW, min_size=1, max_size=30), split=st.integers(min_value=0, max_value=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_rows_come_back_exactly_as_they_were_written(tmp_path: Path, rows: list[dict[str, object]], split: int) -> None:
    path = tmp_path / "part.parquet"
    whole = batch_of(rows)
    written = write(path, [whole.slice(0, split), whole.slice(split)])
    with open_part(path, name="part") as part:
        assert part.schema.equals(ENTRY_SCHEMA)
        assert part.num_rows == written.rows == len(rows)
        assert pa.Table.from_batches(list(part.batches())).equals(pa.Table.from_batches([whole]))


def test_size_and_hash_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    written = write(path, [batch_of([row(number) for number in range(1000)])])
    data = path.read_bytes()
    assert (written.size, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_the_file_says_which_part_it_is(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write(path, [batch_of([row(1)])])
    with open_part(path, name="part") as part:
        assert part.label == LABEL


def test_another_parquet_file_has_no_label(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pa.parquet.write_table(pa.table({"a": [1]}), path)
    with open_part(path, name="other") as part:
        assert part.label is None


def test_a_column_of_a_row_group_is_one_data_page(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write(path, [batch_of([row(number, metadata=f'"{number:0100}"') for number in range(25_000)])])
    column = pq.read_metadata(path).row_group(0).column(ENTRY_SCHEMA.get_field_index("metadata"))
    assert column.total_uncompressed_size > 2**21
    # The page's header begins with three numbers, of which the last is its compressed size.
    header = path.read_bytes()[column.data_page_offset :][:100]
    sizes = []
    for _ in range(3):
        assert header[0] == 0x15
        end = next(place for place in range(1, 11) if header[place] < 0x80)
        zigzag = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(header[1 : end + 1]))
        sizes.append(zigzag // 2)
        header = header[end + 1 :]
    assert 0 < column.total_compressed_size - sizes[-1] < 100


def test_row_groups_are_bounded_in_rows_and_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 100)
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 20_000)
    path = tmp_path / "part.parquet"
    small = [row(number) for number in range(250)]
    large = [row(number, metadata='"' + "x" * 9_000 + '"') for number in range(250, 260)]
    batches = [batch_of(small), *(batch_of([single]) for single in large)]
    write(path, batches)
    with open_part(path, name="part") as part:
        sizes = [part.metadata.row_group(group).num_rows for group in range(part.metadata.num_row_groups)]
        assert [value["id"] for batch in part.batches() for value in batch.to_pylist()] == list(range(260))
    assert sizes[:2] == [100, 100]
    assert max(sizes[2:]) < 100
    assert sum(sizes) == 260


def test_statistics_page_index_and_bloom_filters_are_there_for_readers_that_skip(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write(path, [batch_of([row(number) for number in range(2000)])])
    with open_part(path, name="part") as part:
        group = part.metadata.row_group(0)
        columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    assert all(column.has_offset_index for column in columns.values())
    assert {name for name, column in columns.items() if column.has_column_index} == set(ENTRY_SCHEMA.names) - {
        "metadata",
        "nonce",
        "commitment",
    }
    assert {name for name, column in columns.items() if column.bloom_filter_offset} == {
        "user_id",
        "log_entry_id",
        "resource_id",
    }
    assert {column.compression for column in columns.values()} == {"ZSTD"}


def test_duckdb_reads_a_part(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write(path, [batch_of([row(number) for number in range(2000)])])
    found = duckdb.sql(
        f"SELECT id, resource_type, metadata::JSON ->> 'number' FROM '{path}' WHERE log_entry_id = 'entry-00001234'"
    ).fetchall()
    assert found == [(1234, None, "1234")]


def test_a_flipped_bit_in_a_page_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    write(path, [batch_of([row(number) for number in range(2000)])])
    with open_part(path, name="part") as part:
        column = part.metadata.row_group(0).column(8)
        in_a_page = column.data_page_offset + column.total_compressed_size // 2
    data = bytearray(path.read_bytes())
    data[in_a_page] ^= 1
    path.write_bytes(data)
    with (
        pytest.raises(UnreadableParquetError, match="the damaged one"),
        open_part(path, name="the damaged one") as part,
    ):
        list(part.batches())


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not Parquet at all" * 100])
def test_what_is_no_parquet_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(content)
    with pytest.raises(UnreadableParquetError, match="the strange one"), open_part(path, name="the strange one"):
        pass
