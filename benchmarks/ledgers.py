"""A made ledger of ten years, a pass a minute: how many objects it has, and how long verifying a copy of it takes.

Here: making it, vectorised, and the measurement. Not here: sealing itself (ours.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.measure import Result, Stopwatch, peak_memory_mb
from compliance_pipelines.base.hashing import sha256_of_rows
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, day_key
from compliance_pipelines.ledger.segments import RECORD_BYTES
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tiles import ENTRIES, WIDTH, Tile
from compliance_pipelines.verification.offline import verify_copy

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from rich.console import Console

SEGMENTS: Final = 5_000_000
OBJECTS_AT_MOST: Final = 60_000
PEAK_MB_AT_MOST: Final = 600.0
KEY: Final = SigningKey("bench.example/ledger", bytes(range(32)))
_FIRST: Final = datetime(2016, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_A_DAY: Final = 24 * 60
_MINUTE: Final = 60_000_000
_PREFIX_BYTES: Final = 1
_RECORD: Final = np.dtype(
    [
        ("length", ">u2"),
        ("kind", "u1"),
        ("seq", ">i8"),
        ("day", ">i4"),
        *((name, ">i8") for name in ("tx_from", "tx_to", "first_id", "last_id", "entry_count")),
        ("root", "u1", 32),
        ("sealed_at", ">i8"),
    ]
)


def make(root: Path, segments: int, key: SigningKey) -> int:
    """Make the cold store of such a ledger in a directory that is not there; returns how many objects it has."""
    edge, bundles, chance = TileEdge(), b"", np.random.default_rng(0)
    objects = 0

    def put(path: str, content: bytes) -> None:
        nonlocal objects
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        objects += 1

    def note() -> bytes:
        return sign_checkpoint(Checkpoint(key.name, edge.size, edge.tree.root()), key).encode()

    for first in range(0, segments, _A_DAY):
        if first:
            put(day_key((_FIRST + timedelta(minutes=first - 1)).date()), note())
        rows = _records(first, min(_A_DAY, segments - first), chance)
        for tile, content in edge.extend(_leaves(rows)):
            put(tile.key, content)
        bundles += rows.tobytes()
        bundle_bytes = WIDTH * _RECORD.itemsize
        while len(bundles) >= bundle_bytes:
            put(
                Tile(ENTRIES, (edge.size * _RECORD.itemsize - len(bundles)) // bundle_bytes).key, bundles[:bundle_bytes]
            )
            bundles = bundles[bundle_bytes:]
    for tile, content in edge.partial_tiles():
        put(tile.key, content)
    if bundles:
        put(Tile(ENTRIES, edge.size // WIDTH, len(bundles) // _RECORD.itemsize).key, bundles)
    put(CHECKPOINT_KEY, note())
    return objects


def _records(first: int, count: int, chance: np.random.Generator) -> npt.NDArray[np.void]:
    rows = np.zeros(count, dtype=_RECORD)
    seq = np.arange(first, first + count)
    rows["length"], rows["kind"], rows["seq"] = RECORD_BYTES, 1, seq
    rows["day"] = (_FIRST - _EPOCH).days + first // _A_DAY
    rows["tx_from"], rows["tx_to"] = 10 * seq, 10 * seq + 10
    rows["first_id"], rows["last_id"], rows["entry_count"] = 100 * seq + 1, 100 * seq + 100, 100
    rows["root"] = chance.integers(0, 256, (count, 32), dtype=np.uint8)
    rows["sealed_at"] = (_FIRST - _EPOCH) // timedelta(microseconds=1) + _MINUTE * seq
    return rows


def _leaves(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
    raw = rows.view(np.uint8).reshape(len(rows), _RECORD.itemsize)
    hashed = np.zeros((len(rows), _PREFIX_BYTES + RECORD_BYTES), dtype=np.uint8)
    hashed[:, _PREFIX_BYTES:] = raw[:, -RECORD_BYTES:]
    return sha256_of_rows(hashed)


def verify(root: Path, segments: int) -> None:
    """Verify it as a copy.

    Raises:
        AssertionError: there is a finding, or not all was looked at.
    """
    report = verify_copy(root, KEY.verifier_key())
    if not report.ok or report.checked.segments != segments:
        raise AssertionError(f"the made ledger is not in order: {report.findings[:3]}")


def measure(console: Console, work: Path, segments: int) -> list[Result]:
    """Make such a ledger, and verify it in a process of its own."""
    root = work / "ledger"
    console.print(f"making a ledger of {segments:,} segments")
    objects = make(root, segments, KEY)
    console.print(f"verifying its {objects:,} objects")
    watch = Stopwatch()
    with watch.lap("verify"):
        peak = peak_memory_mb(verify, root, segments)
    missed = "" if objects < OBJECTS_AT_MOST and peak <= PEAK_MB_AT_MOST else "; above a limit"
    remark = f"{objects:,} objects{missed}"
    return [Result(f"verify a copy of {segments:,} segments", watch.median("verify"), peak_mb=peak, remark=remark)]
