"""A made ledger of ten years, a pass a minute: how many objects it has, and how long verifying it takes.

Here: making it, vectorised, and the measurements: of a copy, and of a cold store with the database's row for each
checkpoint and each segment. Not here: sealing itself (ours.py).
"""

from __future__ import annotations

import resource
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks import ours
from benchmarks.measure import Result, Stopwatch, peak_memory_mb
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.base.hashing import sha256_of_rows
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, day_key
from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.ledger.segments import RECORD_BYTES, Segment
from compliance_pipelines.ledger.tile_edge import TileEdge
from compliance_pipelines.ledger.tiles import ENTRIES, WIDTH, Tile
from compliance_pipelines.verification.database_ledger import check_ledger
from compliance_pipelines.verification.findings import Journal
from compliance_pipelines.verification.key_records import known_keys
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.outside import Expected, OutsideView
from compliance_pipelines.verification.progress import silent
from compliance_pipelines.verification.segment_index import SegmentIndex

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt
    import psycopg
    from rich.console import Console

SEGMENTS: Final = 5_000_000
ONLINE_SEGMENTS: Final = 200_000
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


def make(
    root: Path,
    segments: int,
    key: SigningKey,
    also: Callable[[npt.NDArray[np.void], npt.NDArray[np.uint8]], None] | None = None,
) -> int:
    """Make the cold store of such a ledger in a directory; returns how many objects of it there are.

    Args:
        root: of the cold store.
        segments: how many.
        key: that signs.
        also: gets the records of each day and their leaves.
    """
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
        leaves = _leaves(rows)
        if also is not None:
            also(rows, leaves)
        for tile, content in edge.extend(leaves):
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


class _Database:
    """The rows of a database that sealed each segment by a pass of its own, put there against the tables' triggers."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]], key: SigningKey) -> None:
        self._connection = connection
        self._key = key
        self._tree = CompactRange()

    def make(self, root: Path, segments: int) -> None:
        """Make these rows, and the cold store with them."""
        self._connection.execute("SET session_replication_role = replica")
        make(root, segments, self._key, self._take)
        self._connection.execute("SET session_replication_role = origin")
        self._connection.commit()
        self._connection.autocommit = True
        self._connection.execute("ANALYZE")
        self._connection.autocommit = False

    def _take(self, rows: npt.NDArray[np.void], leaves: npt.NDArray[np.uint8]) -> None:
        raw = rows.view(np.uint8).reshape(len(rows), _RECORD.itemsize)[:, -RECORD_BYTES:]
        segments = [Segment.from_record(row.tobytes()) for row in raw]
        with self._connection.cursor() as cursor:
            with cursor.copy(f"COPY ledger_segments ({', '.join(vars(segments[0]))}) FROM STDIN") as copy:
                for segment in segments:
                    copy.write_row(tuple(vars(segment).values()))
            with cursor.copy(
                "COPY ledger_checkpoints (size, root, tx_horizon, frontier, note, signed_at) FROM STDIN"
            ) as copy:
                for segment, leaf in zip(segments, leaves, strict=True):
                    copy.write_row(self._checkpoint(segment, leaf.tobytes()))
            with cursor.copy("COPY ledger_publications (size, object_key) FROM STDIN") as copy:
                for segment in segments:
                    copy.write_row((segment.seq + 1, CHECKPOINT_KEY))
        self._connection.commit()

    def _checkpoint(self, segment: Segment, leaf: bytes) -> tuple[object, ...]:
        tree = self._tree
        tree.append(leaf)
        root = tree.root()
        note = sign_checkpoint(Checkpoint(self._key.name, tree.size, root), self._key)
        return tree.size, root, segment.tx_to, b"".join(tree.nodes), note, segment.sealed_at


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


def verify_online(url: str, root: Path, segments: int) -> None:
    """Compare the ledger of the database with that of the cold store.

    Raises:
        AssertionError: there is a finding, or not all was looked at.
    """
    services, journal = ours.open_services(url, KEY.to_note_string(), root), Journal()
    outside = OutsideView(Expected(), journal, system_clock())
    with SegmentIndex.open(services.settings.archive_staging_path) as index:
        keys = known_keys(services.store, services.verifier_key)
        check_ledger(services, keys, index, journal=journal, progress=silent, outside=outside)
    report = journal.report()
    if not report.ok or (report.checked.segments, report.checked.checkpoints) != (segments, segments):
        raise AssertionError(f"the made ledger is not in order: {report.findings[:3]}, {report.checked}")


def _processor_seconds() -> float:
    """Of all processes that this one waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_online(console: Console, new_database: Callable[[str], str], work: Path, segments: int) -> list[Result]:
    """Make such a ledger and the rows of its database, and compare them in a process of its own."""
    root, url = work / "ledger-online", new_database("bench_ledger")
    console.print(f"making a ledger of {segments:,} segments and the rows of its database")
    services = ours.open_services(url, KEY.to_note_string(), root)
    raw = services.engine.raw_connection()
    try:
        _Database(raw.driver_connection, KEY).make(root, segments)  # type: ignore[arg-type]
    finally:
        raw.close()
        services.engine.dispose()
    console.print("verifying them")
    watch, before = Stopwatch(), _processor_seconds()
    with watch.lap("verify"):
        peak = peak_memory_mb(verify_online, url, root, segments)
    seconds, used = watch.median("verify"), _processor_seconds() - before
    missed = "" if peak <= PEAK_MB_AT_MOST else "; above a limit"
    remark = f"{1_000_000 * used / segments:.0f} us of processors each{missed}"
    return [Result(f"verify {segments:,} segments with the database", seconds, peak_mb=peak, remark=remark)]
