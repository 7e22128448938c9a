"""Whatever is done to the ledger's objects in a copy is found, is called by its name, and hides nothing else."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.errors import FormerFormatError
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, day_key, read_head
from compliance_pipelines.ledger.merkle import merkle_root
from compliance_pipelines.ledger.tiles import ENTRIES, Tile, bundle_of, hashes_of, records_of
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.verification.errors import VerificationError
from compliance_pipelines.verification.findings import Kind
from compliance_pipelines.verification.offline import verify_copy
from tests.unit.ledger.logs import BEGIN, KEY, extend, made_log, record, signed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.verification.findings import Report

PASSES: Final = (3, 200, 100, 1, 260, 2, 30, 1, 1)
SIZE: Final = sum(PASSES)
FIRST_DAY: Final = BEGIN.date()
KEPT: Final = (304, 597)
"""Sizes of the last checkpoints of the first two days; the third has not ended."""


@dataclass(frozen=True)
class Copy:
    """A copy of a log."""

    root: Path

    def verify(self, *remembered: str) -> Report:
        return verify_copy(self.root, KEY.verifier_key(), remembered=[note.encode() for note in remembered])

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    def remove(self, *keys: str) -> None:
        for key in keys:
            (self.root / key).unlink()

    def flip(self, tile: Tile, at: int) -> None:
        data = bytearray(self.read(tile.key))
        data[at] ^= 1
        self.write(tile.key, bytes(data))

    def change_record(self, tile: Tile, position: int, record: bytes) -> None:
        records = records_of(self.read(tile.key), tile.width)
        records[position] = record
        self.write(tile.key, bundle_of(records))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three days."""
    root = tmp_path_factory.mktemp("made") / "cold"
    store = LocalObjectStore(root)
    store.create()
    made_log(store, PASSES)
    return root


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Copy:
    shutil.copytree(made, tmp_path / "copy")
    return Copy(tmp_path / "copy")


def said(report: Report) -> list[tuple[str, str | None, int | None]]:
    """Kind, key and segment of each finding."""
    return [(str(finding.kind), finding.key, finding.segment) for finding in report.findings]


def records() -> list[Segment]:
    """The records of the made log."""
    sealed = [BEGIN + number * timedelta(hours=6) for number, count in enumerate(PASSES) for _ in range(count)]
    return [record(seq, moment) for seq, moment in enumerate(sealed)]


def note_of(size: int, *, variant: int = 0) -> str:
    """A validly signed checkpoint of a size; of another ledger with another variant."""
    return signed(LedgerHead().extended([replace(each, entry_count=1 + variant) for each in records()[:size]]))


def test_an_intact_log_is_verified_to_its_end(copy: Copy) -> None:
    report = copy.verify()
    assert report.findings == ()
    assert (report.checked.segments, report.checked.checkpoints) == (SIZE, 3)
    assert {str(note.kind) for note in report.notes} == {"store_identity_missing", "not_archived"}


TILES: Final = [
    Tile(ENTRIES, 0),
    Tile(ENTRIES, 1),
    Tile(ENTRIES, 2, SIZE % 256),
    Tile(0, 0),
    Tile(0, 1),
    Tile(0, 2, SIZE % 256),
    Tile(1, 0, 2),
]


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.key.removeprefix("audit-ledger/"))
def test_a_missing_tile_or_bundle_is_named_and_the_rest_is_verified(copy: Copy, tile: Tile) -> None:
    copy.remove(tile.key)
    report = copy.verify()
    kind = "bundle_missing" if tile.level == ENTRIES else "tile_missing"
    assert said(report) == [(kind, tile.key, None)]
    assert report.checked.segments == SIZE


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.key.removeprefix("audit-ledger/"))
@pytest.mark.parametrize("at", [10, 40])
def test_an_altered_tile_or_bundle_is_named_and_the_rest_is_verified(copy: Copy, tile: Tile, at: int) -> None:
    copy.flip(tile, at)
    report = copy.verify()
    (kind, key, segment), *others = said(report)
    assert (kind, key) == ("bundle_altered" if tile.level == ENTRIES else "tile_altered", tile.key)
    position = 0 if tile.level == ENTRIES else at // 32
    assert segment == (None if tile.level > 0 else tile.index * 256 + position)
    assert others == []
    assert report.checked.segments == SIZE


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.key.removeprefix("audit-ledger/"))
@pytest.mark.parametrize("change", [lambda _: b"", lambda data: data[:-1], lambda data: data + data[:95]])
def test_a_tile_or_bundle_of_another_length_is_named(copy: Copy, tile: Tile, change: Callable[[bytes], bytes]) -> None:
    copy.write(tile.key, change(copy.read(tile.key)))
    report = copy.verify()
    assert said(report) == [("bundle_altered" if tile.level == ENTRIES else "tile_altered", tile.key, None)]
    assert report.checked.segments == SIZE


@pytest.mark.parametrize("length", [0, 92, 94, 65_535])
@pytest.mark.parametrize("tile", TILES[:3], ids=lambda tile: tile.key.removeprefix("audit-ledger/"))
def test_a_bundle_with_a_record_of_another_length_is_named(copy: Copy, tile: Tile, length: int) -> None:
    intact = records_of(copy.read(tile.key), tile.width)[7]
    copy.change_record(tile, 7, intact.ljust(length, b"\0")[:length])
    report = copy.verify()
    assert said(report) == [("bundle_altered", tile.key, tile.index * 256 + 7)]


def test_a_record_and_its_leaf_that_were_altered_together_are_found_by_the_next_checkpoint(copy: Copy) -> None:
    altered = replace(records()[5], entry_count=9)
    copy.change_record(Tile(ENTRIES, 0), 5, altered.record_bytes())
    tile = bytearray(copy.read(Tile(0, 0).key))
    tile[5 * 32 : 6 * 32] = altered.leaf_hash()
    copy.write(Tile(0, 0).key, bytes(tile))
    report = copy.verify()
    # Nobody else in this copy knows the record, so that from there on nothing leads to what is signed.
    assert [(kind, segment) for kind, _, segment in said(report)] == [
        ("segment_altered", 0),
        ("checkpoint_unverifiable", None),
    ]


def test_a_bundle_that_was_altered_with_the_tile_above_is_named_and_the_tile_between_is_not(copy: Copy) -> None:
    altered = replace(records()[5], entry_count=9)
    copy.change_record(Tile(ENTRIES, 0), 5, altered.record_bytes())
    leaves = bytearray(copy.read(Tile(0, 0).key))
    leaves[5 * 32 : 6 * 32] = altered.leaf_hash()
    above = Tile(1, 0, 2)
    copy.write(above.key, merkle_root(hashes_of(bytes(leaves), 256)) + copy.read(above.key)[32:])
    report = copy.verify()
    assert said(report) == [("bundle_altered", Tile(ENTRIES, 0).key, 5), ("tile_altered", above.key, None)]
    assert report.checked.segments == SIZE


def test_a_tile_that_was_altered_with_the_one_above_is_named_and_the_bundle_is_not(copy: Copy) -> None:
    copy.flip(Tile(0, 1), 40)
    above = Tile(1, 0, 2)
    changed = merkle_root(hashes_of(copy.read(Tile(0, 1).key), 256))
    copy.write(above.key, copy.read(above.key)[:32] + changed)
    report = copy.verify()
    assert said(report) == [("tile_altered", Tile(0, 1).key, 257), ("tile_altered", above.key, None)]
    assert report.checked.segments == SIZE


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.key.removeprefix("audit-ledger/"))
def test_a_tile_of_another_ledger_is_named(copy: Copy, tmp_path: Path, tile: Tile) -> None:
    other = LocalObjectStore(tmp_path / "other")
    other.create()
    made_log(other, PASSES, variant=1)
    copy.write(tile.key, other.get_bytes(tile.key))
    (finding,) = copy.verify().findings
    assert (finding.kind, finding.key) == ("bundle_altered" if tile.level == ENTRIES else "tile_altered", tile.key)


def test_a_partial_tile_of_before_that_lies_is_named(copy: Copy) -> None:
    old = [Tile(0, 2, 85), Tile(ENTRIES, 2, 85), Tile(0, 0, 3), Tile(ENTRIES, 1, 48)]
    copy.flip(old[0], 40)
    copy.flip(old[1], 40)
    copy.write(old[2].key, bytes(96))
    copy.write(old[3].key, b"odd")
    assert sorted(said(copy.verify())) == sorted(
        ("bundle_altered" if tile.level == ENTRIES else "tile_altered", tile.key, None) for tile in old
    )


def test_a_covered_partial_tile_that_is_right_and_tiles_beyond_the_end_are_no_findings(copy: Copy) -> None:
    copy.write(Tile(0, 0, 3).key, copy.read(Tile(0, 0).key)[:96])
    beyond = [Tile(0, 3, 5), Tile(0, 2), Tile(ENTRIES, 2, SIZE % 256 + 1), Tile(2, 0, 1)]
    for tile in beyond:
        copy.write(tile.key, b"x")
    report = copy.verify()
    assert report.findings == ()
    assert {note.key for note in report.notes if note.kind == "object_uncommitted"} == {tile.key for tile in beyond}


def test_where_a_partial_tile_is_gone_the_full_one_is_read(copy: Copy) -> None:
    log = read_head(LocalObjectStore(copy.root), KEY.verifier_key())

    def stop(step: str) -> None:
        if step == "partial tiles removed":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        extend(LocalObjectStore(copy.root), log, [record(seq, BEGIN) for seq in range(SIZE, SIZE + 300)], stop)
    report = copy.verify()
    assert (report.findings, report.checked.segments) == ((), SIZE)


def test_the_checkpoint_is_missing(copy: Copy) -> None:
    copy.remove(CHECKPOINT_KEY)
    assert said(copy.verify()) == [("checkpoint_missing", CHECKPOINT_KEY, None)]


OTHER_KEY: Final = SigningKey("tests.example/other", bytes(32))


@pytest.mark.parametrize(
    ("note", "kind"),
    [
        (b"", "checkpoint_altered"),
        (b"\xff\n", "checkpoint_altered"),
        (b"x" * 100_000, "checkpoint_altered"),
        (note_of(SIZE).replace(f"\n{SIZE}\n", "\n597\n").encode(), "checkpoint_altered"),
        (signed(LedgerHead()).encode(), "checkpoint_altered"),
        (signed(LedgerHead().extended(records()), OTHER_KEY).encode(), "checkpoint_of_another_key"),
    ],
)
@pytest.mark.parametrize("key", [CHECKPOINT_KEY, day_key(FIRST_DAY)])
def test_an_altered_checkpoint_is_named(copy: Copy, note: bytes, kind: str, key: str) -> None:
    copy.write(key, note)
    assert said(copy.verify()) == [(kind, key, None)]


def test_the_last_checkpoint_of_a_day_is_missing(copy: Copy) -> None:
    copy.remove(day_key(FIRST_DAY))
    (finding,) = copy.verify().findings
    assert (finding.kind, finding.key, finding.checkpoint) == (
        Kind.DAILY_CHECKPOINT_MISSING,
        day_key(FIRST_DAY),
        KEPT[0],
    )


def test_another_checkpoint_stands_for_the_last_of_a_day(copy: Copy) -> None:
    copy.write(day_key(FIRST_DAY), note_of(203).encode())
    (finding,) = copy.verify().findings
    assert (finding.kind, finding.key) == (Kind.CHECKPOINT_ALTERED, day_key(FIRST_DAY))
    assert "it is of 203 records" in finding.message


def test_a_fork_on_a_day_is_named(copy: Copy) -> None:
    copy.write(day_key(FIRST_DAY), note_of(KEPT[0], variant=1).encode())
    (finding,) = copy.verify().findings
    assert (finding.kind, finding.checkpoint) == (Kind.CHECKPOINT_FORKED, KEPT[0])


def test_a_fork_at_the_end_is_found(copy: Copy) -> None:
    copy.write(CHECKPOINT_KEY, note_of(SIZE, variant=1).encode())
    (finding,) = copy.verify().findings
    assert (finding.kind, finding.checkpoint) == (Kind.SEGMENT_ALTERED, SIZE)
    assert "or (with the signing key) another ledger was signed" in finding.message


def test_a_checkpoint_that_was_put_back_is_found_by_the_days_that_were_kept(copy: Copy) -> None:
    copy.write(CHECKPOINT_KEY, note_of(304).encode())
    (finding,) = copy.verify().findings
    assert (finding.kind, finding.checkpoint) == (Kind.LEDGER_ROLLED_BACK, 304)


def cut_back(copy: Copy, tmp_path: Path, passes: int) -> Copy:
    """The log as it was after so many passes, in the place of the copy."""
    store = LocalObjectStore(tmp_path / "older")
    store.create()
    made_log(store, PASSES[:passes])
    return Copy(tmp_path / "older")


def test_a_bucket_that_was_cut_back_is_found_by_a_remembered_checkpoint_alone(copy: Copy, tmp_path: Path) -> None:
    older = cut_back(copy, tmp_path, 4)
    assert older.verify().ok
    assert older.verify(note_of(304), note_of(203)).ok
    (finding,) = older.verify(note_of(305)).findings
    assert (finding.kind, finding.checkpoint) == (Kind.LEDGER_ROLLED_BACK, 305)
    assert "put aside is of 305 records, and the ledger in the cold store ends at 304" in finding.message


@pytest.mark.parametrize("size", [1, 256, 300, 304, SIZE])
def test_a_remembered_checkpoint_that_the_ledger_extends_is_none_and_another_is_a_fork(copy: Copy, size: int) -> None:
    assert copy.verify(note_of(size)).ok
    (finding,) = copy.verify(note_of(size, variant=1)).findings
    assert (finding.kind, finding.checkpoint) == (Kind.CHECKPOINT_FORKED, size)


@pytest.mark.parametrize("note", ["", "x", note_of(5)[:-9] + "\n", signed(LedgerHead().extended(records()), OTHER_KEY)])
def test_a_remembered_checkpoint_that_is_none_of_the_key_is_an_error(copy: Copy, note: str) -> None:
    with pytest.raises(VerificationError, match="the checkpoint that was put aside"):
        copy.verify(note)


def test_several_damages_are_all_named(copy: Copy) -> None:
    copy.flip(Tile(ENTRIES, 0), 40)
    copy.flip(Tile(0, 1), 40)
    copy.remove(Tile(ENTRIES, 2, SIZE % 256).key, day_key(FIRST_DAY + timedelta(days=1)))
    assert {kind for kind, _, _ in said(copy.verify())} == {"bundle_altered", "tile_altered", "bundle_missing"}


def test_a_signed_size_out_of_the_blue_costs_nothing(copy: Copy) -> None:
    head = replace(LedgerHead().extended(records()), size=2**62, frontier=bytes(32))
    copy.write(CHECKPOINT_KEY, signed(head).encode())
    report = copy.verify()
    assert {finding.kind for finding in report.findings} > {Kind.BUNDLE_MISSING, Kind.CHECKPOINT_UNVERIFIABLE}


def test_a_copy_of_format_1_is_refused(copy: Copy) -> None:
    shutil.rmtree(copy.root / "audit-ledger")
    copy.write(f"audit-ledger/checkpoints/{9:020d}.json", b"{}")
    with pytest.raises(FormerFormatError, match="is of format 1"):
        copy.verify()


def test_other_keys_are_noted(copy: Copy) -> None:
    odd = ["audit-ledger/x", "audit-ledger/tile/0/0", "audit-ledger/tile/a", "audit-ledger/checkpoints/2026/x"]
    for key in odd:
        copy.write(key, b"x")
    report = copy.verify()
    assert report.findings == ()
    assert {note.key for note in report.notes if note.kind == "object_unknown"} == set(odd)
