"""A part that was written a moment ago is compared with what was written; in doubt its leaves are computed again."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance_pipelines.archive import parquet
from compliance_pipelines.archive.parquet import PartLabel, PartReader
from compliance_pipelines.archive.readback import Damage, ExpectedObject, check_object
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.archive.written_rows import WrittenRows
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.object_store.local import LocalObjectStore
from tests.unit.archive.examples import DAY, StoredPart, batch_of, row, stored_part, write_part

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.archive.progress import Phase
    from compliance_pipelines.archive.readback import ObjectCheck


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredPart:
    """A part of five row groups, the last of which is smaller."""
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 600)
    return stored_part(tmp_path)


@pytest.fixture
def recomputed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were hashed again, batch by batch."""
    seen: list[int] = []
    feed = SealedRows.feed

    def counted(self: SealedRows, batch: pa.RecordBatch) -> None:
        seen.append(batch.num_rows)
        feed(self, batch)

    monkeypatch.setattr(SealedRows, "feed", counted)
    return seen


def just_written(stored: StoredPart, tmp_path: Path, rows: list[dict[str, Any]] | None = None) -> WrittenRows:
    """What the process knows that has just written the part, or other rows in its place."""
    file = write_part(tmp_path / "again", rows or stored.rows, PartLabel.of(DAY, 1, stored.part.root))
    return WrittenRows(file, tuple(stored.segments), stored.manifest.canonical_bytes)


def check(stored: StoredPart, written: WrittenRows, told: list[int] | None = None) -> ObjectCheck:
    def progress(phase: Phase, rows: int, total_rows: int) -> None:
        del phase, total_rows
        if told is not None:
            told.append(rows)

    archive = replace(stored.archive, written={written.file.sha256: written})
    expected = replace(ExpectedObject.of_manifest(stored.manifest), object_sha256=written.file.sha256)
    return check_object(archive, expected, progress=progress)


def test_what_was_written_is_decoded_and_not_hashed_again(
    stored: StoredPart, tmp_path: Path, recomputed: list[int]
) -> None:
    told: list[int] = []
    found = check(stored, just_written(stored, tmp_path), told)
    assert not found.findings
    assert (found.entry_count, found.canonical_bytes) == (2500, stored.manifest.canonical_bytes)
    assert told == [600, 1200, 1800, 2400, 2500]
    assert recomputed == []


def test_the_bytes_in_the_store_must_be_those_that_were_written(stored: StoredPart, tmp_path: Path) -> None:
    written = just_written(stored, tmp_path)
    rows = [*stored.rows[:-1], {**stored.rows[-1], "result": "denied"}]
    write_part(tmp_path / "forged", rows, PartLabel.of(DAY, 1, stored.part.root))
    stored.overwrite(stored.part.object_key, (tmp_path / "forged").read_bytes())
    (finding,) = check(stored, written).findings
    assert finding.kind is Damage.OBJECT_ALTERED


@pytest.mark.parametrize("change", ["first", "middle", "last", "cut", "longer"])
def test_no_row_group_with_other_bytes_is_decoded(
    stored: StoredPart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    written = just_written(stored, tmp_path)
    data = bytearray((tmp_path / "again").read_bytes())
    middle = written.file.groups[2].end - 100
    places = {"first": 0, "middle": middle, "last": len(data) - 1}
    if change in places:
        data[places[change]] ^= 1
    stored.overwrite(stored.part.object_key, bytes({"cut": data[:-1], "longer": data + b"x"}.get(change, data)))
    decoded: list[int] = []
    batches = PartReader.batches

    def noted(self: PartReader, *, row_groups: list[int]) -> Iterator[pa.RecordBatch]:
        decoded.extend(row_groups)
        return batches(self, row_groups=row_groups)

    monkeypatch.setattr(PartReader, "batches", noted)
    (finding,) = check(stored, written).findings
    assert finding.kind in {Damage.OBJECT_ALTERED, Damage.OBJECT_TRUNCATED}
    assert decoded == {"first": [], "middle": [0, 1]}.get(change, [0, 1, 2, 3, 4])


def test_an_object_that_cannot_be_read_is_not_a_damaged_one(
    stored: StoredPart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = just_written(stored, tmp_path)
    data = (tmp_path / "again").read_bytes()

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > written.file.groups[1].end:
                raise OSError("reset by peer")
            return super().read(size)

    monkeypatch.setattr(LocalObjectStore, "open", lambda _self, _key: Broken(data))
    with pytest.raises(TransientError, match="reset by peer"):
        check(stored, written)


@pytest.mark.parametrize("number", [0, 700, 2499])
def test_an_encoder_that_changes_a_row_is_found(
    stored: StoredPart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recomputed: list[int], number: int
) -> None:
    write_table = pq.ParquetWriter.write_table

    def faulty(self: pq.ParquetWriter, table: pa.Table, **options: object) -> None:
        rows = table.to_pylist()
        changed = [{**each, "metadata": "{}"} if each["id"] == number + 1 else each for each in rows]
        write_table(self, pa.Table.from_batches([batch_of(changed)]), **options)

    with monkeypatch.context() as patched:
        patched.setattr(pq.ParquetWriter, "write_table", faulty)
        written = just_written(stored, tmp_path)
    stored.overwrite(stored.part.object_key, (tmp_path / "again").read_bytes())
    (finding,) = check(stored, written).findings
    assert finding.kind is Damage.OBJECT_ALTERED
    assert "does not hold what was sealed" in finding.message
    assert recomputed


@pytest.mark.parametrize("lost", [slice(1, None), slice(None, -1), slice(0)])
def test_a_file_with_other_row_groups_is_hashed_again(
    stored: StoredPart, tmp_path: Path, recomputed: list[int], lost: slice
) -> None:
    written = just_written(stored, tmp_path)
    other = replace(written, file=replace(written.file, groups=written.file.groups[lost]))
    assert not check(stored, other).findings
    assert sum(recomputed) == 2500


def test_rows_that_were_compared_with_other_segments_are_hashed_again(
    stored: StoredPart, tmp_path: Path, recomputed: list[int]
) -> None:
    written = just_written(stored, tmp_path)
    assert not check(stored, replace(written, segments=written.segments[:-1])).findings
    assert not check(stored, replace(written, canonical_bytes=written.canonical_bytes + 1)).findings
    assert sum(recomputed) == 2 * 2500


def test_a_row_that_was_written_beside_the_sealed_ones_is_found(stored: StoredPart, tmp_path: Path) -> None:
    written = just_written(stored, tmp_path, [*stored.rows, row(2501)])
    stored.overwrite(stored.part.object_key, (tmp_path / "again").read_bytes())
    assert check(stored, written).findings
