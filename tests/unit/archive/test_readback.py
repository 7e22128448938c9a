"""Each damage to a part is found, and named for what it is."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance_pipelines.archive.errors import ManifestError
from compliance_pipelines.archive.parquet import PartLabel
from compliance_pipelines.archive.readback import (
    Damage,
    ExpectedObject,
    PartDamagedError,
    check_object,
    check_part,
    read_manifest,
)
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.object_store.port import ObjectStoreError
from tests.unit.archive.examples import DAY, StoredPart, stored_part, write_part

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.archive.progress import Phase
    from compliance_pipelines.archive.readback import PartCheck, PartFinding

BEFORE = DAY.replace(month=6)


@pytest.fixture
def stored(tmp_path: Path) -> StoredPart:
    return stored_part(tmp_path)


def check(stored: StoredPart) -> PartCheck:
    return check_part(stored.archive, stored.part, stored.segments)


def only_finding(found: PartCheck) -> PartFinding:
    assert not found.ok
    (finding,) = found.findings
    assert (finding.day, finding.part) == (DAY, 1)
    return finding


def changed(stored: StoredPart, tmp_path: Path, rows: list[dict[str, object]], label: PartLabel | None = None) -> str:
    """Put other rows into the object, and give the SHA-256 of its new bytes."""
    path = tmp_path / "changed"
    written = write_part(path, rows, label or PartLabel.of(DAY, 1, stored.part.root))
    stored.overwrite(stored.part.object_key, path.read_bytes())
    return written.sha256


def findings_whatever_the_hash(stored: StoredPart, sha256: str) -> tuple[PartFinding, ...]:
    """What is found where somebody with the signing key committed the changed bytes as well."""
    expected = replace(ExpectedObject.of_manifest(stored.manifest), object_sha256=sha256)
    return check_object(stored.archive, expected).findings


def test_a_whole_part_has_no_finding(stored: StoredPart) -> None:
    found = check(stored)
    assert found.ok
    assert (found.entry_count, found.object_bytes) == (len(stored.rows), stored.part.object_bytes)
    found.raise_if_damaged()


def test_rows_and_progress_are_told_while_it_is_read(stored: StoredPart) -> None:
    seen: list[pa.RecordBatch] = []
    told: list[tuple[Phase, int, int]] = []
    check_part(
        stored.archive,
        stored.part,
        stored.segments,
        on_batch=seen.append,
        progress=lambda phase, rows, total: told.append((phase, rows, total)),
    )
    assert pa.Table.from_batches(seen).column("id").to_pylist() == [row["id"] for row in stored.rows]
    assert told[-1] == ("verify", len(stored.rows), len(stored.rows))


def test_a_missing_object(stored: StoredPart) -> None:
    stored.path(stored.part.object_key).unlink()
    finding = only_finding(check(stored))
    assert finding.kind is Damage.OBJECT_MISSING
    assert finding.message == f"{stored.part.object_key} is missing from the cold store"


@pytest.mark.parametrize("left", [0, 1, 1000])
def test_a_truncated_object(stored: StoredPart, left: int) -> None:
    stored.overwrite(stored.part.object_key, stored.store.get_bytes(stored.part.object_key)[:left])
    finding = only_finding(check(stored))
    assert finding.kind is Damage.OBJECT_TRUNCATED
    assert f"{left} of {stored.part.object_bytes} bytes are left" in finding.message


@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_changed_bit_of_the_object_is_found(stored: StoredPart, data: st.DataObject) -> None:
    whole = stored.store.get_bytes(stored.part.object_key)
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        stored.overwrite(stored.part.object_key, bytes(damaged))
        assert only_finding(check(stored)).kind is Damage.OBJECT_ALTERED
    finally:
        stored.overwrite(stored.part.object_key, whole)


def test_an_object_to_which_something_was_added(stored: StoredPart) -> None:
    stored.overwrite(stored.part.object_key, stored.store.get_bytes(stored.part.object_key) + b"x")
    assert only_finding(check(stored)).kind is Damage.OBJECT_ALTERED


@pytest.mark.parametrize("entry", [0, 1234, 2499])
def test_an_altered_row_under_a_good_file(stored: StoredPart, tmp_path: Path, entry: int) -> None:
    rows = [dict(row) for row in stored.rows]
    rows[entry]["result"] = "denied"
    sha256 = changed(stored, tmp_path, rows)
    assert only_finding(check(stored)).kind is Damage.OBJECT_ALTERED
    (finding,) = findings_whatever_the_hash(stored, sha256)
    assert finding.kind is Damage.OBJECT_ALTERED
    assert "does not hold what was sealed: at least one of the" in finding.message


def test_rows_that_changed_places_under_a_good_file(stored: StoredPart, tmp_path: Path) -> None:
    rows = list(stored.rows)
    rows[7], rows[8] = rows[8], rows[7]
    (finding,) = findings_whatever_the_hash(stored, changed(stored, tmp_path, rows))
    assert "at least one of the" in finding.message


def test_a_missing_row_under_a_good_file(stored: StoredPart, tmp_path: Path) -> None:
    (finding,) = findings_whatever_the_hash(stored, changed(stored, tmp_path, stored.rows[:-1]))
    assert finding.kind is Damage.OBJECT_ALTERED
    assert "holds 2499 entries where 2500 were sealed" in finding.message


def test_a_row_of_no_segment_under_a_good_file(stored: StoredPart, tmp_path: Path) -> None:
    rows = [*stored.rows[:-1], {**stored.rows[-1], "tx_id": 999_999}]
    messages = "; ".join(
        finding.message for finding in findings_whatever_the_hash(stored, changed(stored, tmp_path, rows))
    )
    assert "1 entry was deleted from segment 2" in messages
    assert "1 entry was outside every segment inserted (entry-00002500)" in messages


def test_other_columns_under_a_good_file(stored: StoredPart) -> None:
    path = stored.path(stored.part.object_key)
    table = pq.read_table(path)
    label = PartLabel.of(DAY, 1, stored.part.root).to_metadata()
    path.chmod(0o600)
    with pq.ParquetWriter(path, table.drop_columns("metadata").schema, store_schema=False) as writer:
        writer.add_key_value_metadata(label)
        writer.write_table(table.drop_columns("metadata"))
    (finding,) = findings_whatever_the_hash(stored, hashlib.sha256(path.read_bytes()).hexdigest())
    assert (finding.kind, finding.message) == (
        Damage.OBJECT_ALTERED,
        f"{stored.part.object_key} has other columns than an audit archive",
    )


@pytest.mark.parametrize("label", [(BEFORE, 1), (DAY, 2)], ids=["another day", "another part"])
def test_an_object_with_the_label_of_another_part(stored: StoredPart, tmp_path: Path, label: tuple[Any, int]) -> None:
    day, number = label
    sha256 = changed(stored, tmp_path, stored.rows, PartLabel.of(day, number, bytes(32)))
    # What a file says about itself is not believed unless it was committed so.
    assert only_finding(check(stored)).kind is Damage.OBJECT_ALTERED
    (finding,) = findings_whatever_the_hash(stored, sha256)
    assert finding.kind is Damage.OBJECT_SWAPPED


def test_a_missing_manifest(stored: StoredPart) -> None:
    stored.path(stored.part.manifest_key).unlink()
    finding = only_finding(check(stored))
    assert finding.kind is Damage.MANIFEST_MISSING
    assert finding.message == f"{stored.part.manifest_key} is missing from the cold store"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"entry_count":2500', b'"entry_count":2501', "signature .* is for other content"),
        (b'"version":2', b'"version":1', "is no manifest of version 2"),
        (b'{"body"', b'{ "body"', "has another form"),
        (b"}\n", b"", "is no manifest"),
    ],
)
def test_an_altered_manifest(stored: StoredPart, old: bytes, new: bytes, message: str) -> None:
    data = stored.store.get_bytes(stored.part.manifest_key)
    assert data.count(old) == 1
    stored.overwrite(stored.part.manifest_key, data.replace(old, new))
    finding = only_finding(check(stored))
    assert finding.kind is Damage.MANIFEST_ALTERED
    with pytest.raises(ManifestError, match=message):
        read_manifest(stored.archive, stored.part.manifest_key)


def test_a_manifest_signed_by_another_key(stored: StoredPart) -> None:
    stored.overwrite(stored.part.manifest_key, stored.manifest.to_bytes(SigningKey.generate("tests.example/audit")))
    finding = only_finding(check(stored))
    assert finding.kind is Damage.MANIFEST_ALTERED
    assert "is not validly signed by tests.example/audit" in finding.message


def test_another_manifest_of_ours_in_its_place(stored: StoredPart) -> None:
    again = replace(stored.manifest, created_at=stored.part.archived_at.replace(hour=1))
    stored.overwrite(stored.part.manifest_key, again.to_bytes(stored.key))
    finding = only_finding(check(stored))
    assert finding.kind is Damage.MANIFEST_ALTERED
    assert "it is not the manifest that was committed" in finding.message


def test_the_manifest_of_another_part_in_its_place(stored: StoredPart, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = stored_part(tmp_path / "other", number=2)
    stored.overwrite(stored.part.manifest_key, other.manifest.to_bytes(stored.key))
    finding = only_finding(check(stored))
    assert finding.kind is Damage.MANIFEST_ALTERED
    assert f"it is the manifest of {other.part.object_key}" in finding.message


def test_a_segment_record_altered_in_the_database(stored: StoredPart) -> None:
    records = [stored.segments[0], replace(stored.segments[1], root=bytes(32)), stored.segments[2]]
    finding = only_finding(check_part(stored.archive, stored.part, records))
    assert finding.kind is Damage.SEGMENT_ALTERED
    assert f"ledger segment 1 of {DAY} in the database is not the one that was archived" in finding.message


@pytest.mark.parametrize("kept", [slice(0, 2), slice(1, 3)])
def test_a_segment_record_missing_in_the_database(stored: StoredPart, kept: slice) -> None:
    finding = only_finding(check_part(stored.archive, stored.part, stored.segments[kept]))
    assert finding.kind is Damage.SEGMENT_ALTERED


@pytest.mark.parametrize(
    "values",
    [
        {"object_sha256": "00" * 32},
        {"object_bytes": 1},
        {"object_key": "audit-archives/2026/07/audit-logs-2026-07-01.9-00000000.0.parquet"},
        {"entry_count": 2499},
        {"canonical_bytes": 1},
        {"first_id": 0},
        {"last_id": 0},
        {"root": bytes(32)},
        {"encryption": {"key": "none"}},
        {"day": BEFORE},
        {"part": 2},
    ],
    ids=lambda values: next(iter(values)),
)
def test_a_row_altered_in_the_catalogue(stored: StoredPart, values: dict[str, Any]) -> None:
    found = check_part(stored.archive, replace(stored.part, **values), stored.segments)
    assert [finding.kind for finding in found.findings] == [Damage.CATALOGUE_ALTERED]
    assert f"is not what {stored.part.manifest_key} says" in found.findings[0].message


def test_several_damages_are_all_named(stored: StoredPart) -> None:
    stored.path(stored.part.manifest_key).unlink()
    stored.overwrite(stored.part.object_key, b"x")
    found = check(stored)
    assert [finding.kind for finding in found.findings] == [Damage.MANIFEST_MISSING, Damage.OBJECT_ALTERED]
    with pytest.raises(PartDamagedError) as caught:
        found.raise_if_damaged()
    assert caught.value.findings == found.findings
    assert all(finding.message in str(caught.value) for finding in found.findings)
    assert f"part 1 of {DAY} is damaged" in str(caught.value)


class _BrokenFile:
    """A file of which the store gives the beginning."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, _size: int) -> bytes:
        if not self._data:
            raise OSError("connection reset")
        data, self._data = self._data, b""
        return data


def test_an_object_that_could_not_be_read_to_its_end_is_no_finding(
    stored: StoredPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    intact = stored.store.open

    def opened(key: str) -> object:
        return _BrokenFile(b"the beginning") if key == stored.part.object_key else intact(key)

    monkeypatch.setattr(stored.store, "open", opened)
    with pytest.raises(TransientError, match=r"could not be copied .* connection reset"):
        check(stored)


@pytest.mark.parametrize("method", ["stat", "open"])
def test_a_store_that_fails_is_no_finding(stored: StoredPart, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def fail(_key: str) -> None:
        raise ObjectStoreError("the store does not answer")

    monkeypatch.setattr(stored.store, method, fail)
    with pytest.raises(ObjectStoreError, match="does not answer"):
        check(stored)
