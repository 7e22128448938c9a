"""A log in a store: whatever interrupts a pass, the next one finishes it; whatever was altered stops it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.errors import (
    CheckpointReplacedError,
    ForeignCheckpointError,
    FormerFormatError,
    LedgerError,
    LedgerForkError,
    MalformedCheckpointError,
    TilesAlteredError,
)
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, EMPTY_LOG, day_key, day_of_key, read_head
from compliance_pipelines.ledger.tiles import ENTRIES, Tile, last_tile, levels, tile_of_key
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectStoreError
from tests.integration.archive.faulty_store import Fault, FaultyStore
from tests.unit.ledger import stranger
from tests.unit.ledger.logs import BEGIN, KEY, extend, made_log, record, signed

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.ledger.log_reading import LogHead

PUBLIC: Final = stranger.read_public_key(KEY.verifier_key().to_note_string())
PASSES: Final = (3, 200, 100, 1, 260, 2)


class StoppedError(Exception):
    """The pass was stopped by the test."""


def objects(store: LocalObjectStore) -> dict[str, bytes]:
    return {info.key: store.get_bytes(info.key) for info in store.list("")}


def same(one: LogHead, other: LogHead) -> bool:
    return (one.head, one.records, one.last, one.note, one.version) == (
        other.head,
        other.records,
        other.last,
        other.note,
        other.version,
    )


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(passes=st.lists(st.sampled_from([1, 2, 40, 255, 256, 300]), min_size=1, max_size=6))
def test_what_was_published_is_read_again_and_a_stranger_rebuilds_it(
    tmp_path_factory: pytest.TempPathFactory, passes: list[int]
) -> None:
    store = LocalObjectStore(tmp_path_factory.mktemp("cold"))
    log = made_log(store, passes)
    assert same(read_head(store, KEY.verifier_key()), log)
    rebuilt = stranger.rebuild(objects(store), PUBLIC)
    assert [each["seq"] for each in rebuilt] == list(range(sum(passes)))


def test_partial_tiles_stay_until_the_full_one_is_there(object_store: LocalObjectStore) -> None:
    log = made_log(object_store, [3, 200])
    partial = {Tile(level, 0, width).key for level in (0, ENTRIES) for width in (3, 203)}
    assert partial < set(objects(object_store))
    extend(object_store, log, [record(seq) for seq in range(203, 258)])
    found = set(objects(object_store))
    assert not partial & found
    assert {Tile(0, 0).key, Tile(0, 1, 2).key, Tile(1, 0, 1).key, Tile(ENTRIES, 0).key} < found


def test_the_last_checkpoint_of_each_day_that_is_over_is_kept(object_store: LocalObjectStore) -> None:
    log = made_log(object_store, [1, 1, 1, 1, 2, 1, 1, 1, 5])
    found = objects(object_store)
    kept = {key: note for key, note in found.items() if day_of_key(key) is not None}
    sizes = [stranger.open_checkpoint(note.decode(), PUBLIC)[0] for note in kept.values()]
    assert sizes == [4, 9]
    assert list(kept) == [day_key(BEGIN.date()), day_key(BEGIN.date() + timedelta(days=1))]
    assert found[CHECKPOINT_KEY].decode() == log.note


STEPS: Final = ["tiles put", "partial tiles removed", "day kept", "checkpoint put"]


@pytest.mark.parametrize("stop", STEPS)
def test_a_pass_that_stops_after_any_step_is_finished_by_the_next(object_store: LocalObjectStore, stop: str) -> None:
    log = made_log(object_store, [3, 200])
    segments = [record(seq, BEGIN + timedelta(days=1)) for seq in range(203, 600)]
    before = objects(object_store)

    def step(name: str) -> None:
        if name == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        extend(object_store, log, segments, step)
    found = read_head(object_store, KEY.verifier_key())
    if stop == "checkpoint put":
        assert found.head.size == 600
    else:
        assert same(found, log)
        assert before[CHECKPOINT_KEY] == objects(object_store)[CHECKPOINT_KEY]
        extend(object_store, found, segments)
    assert len(stranger.rebuild(objects(object_store), PUBLIC)) == 600
    assert not any(tile.width == 203 for key in objects(object_store) if (tile := tile_of_key(key)) is not None)


@pytest.mark.parametrize("done", [False, True])
def test_a_store_that_fails_at_any_call_loses_nothing(tmp_path: Path, done: bool) -> None:
    segments = [record(seq, BEGIN + timedelta(days=1)) for seq in range(203, 600)]
    healthy = LocalObjectStore(tmp_path / "healthy")
    healthy.create()
    counted = FaultyStore(healthy)
    extend(counted, made_log(healthy, [3, 200]), segments)
    expected = objects(healthy)
    for number in range(1, len(counted.calls) + 1):
        store = LocalObjectStore(tmp_path / str(number))
        store.create()
        log = made_log(store, [3, 200])
        broken = FaultyStore(store, Fault(call=number, done=done))
        with pytest.raises(ObjectStoreError, match="does not answer"):
            extend(broken, log, segments)
        found = read_head(store, KEY.verifier_key())
        if found.head.size == 203:
            extend(store, found, segments)
        assert objects(store) == expected, counted.calls[number - 1]


def test_of_two_that_extend_one_log_the_second_is_refused(object_store: LocalObjectStore) -> None:
    log = made_log(object_store, [5])
    extend(object_store, log, [record(5), record(6)])
    before = objects(object_store)[CHECKPOINT_KEY]
    with pytest.raises(CheckpointReplacedError, match="replaced by somebody else since this pass read it"):
        extend(object_store, log, [record(5, variant=1)])
    assert objects(object_store)[CHECKPOINT_KEY] == before


def test_of_two_that_begin_one_log_the_second_is_refused(object_store: LocalObjectStore) -> None:
    extend(object_store, EMPTY_LOG, [record(0), record(1)])
    with pytest.raises(CheckpointReplacedError):
        extend(object_store, EMPTY_LOG, [record(0, variant=1)])


def test_a_tile_that_another_one_put_is_never_overwritten(object_store: LocalObjectStore) -> None:
    log = made_log(object_store, [5])
    other = object_store.put_bytes(Tile(0, 0, 6).key, bytes(6 * 32))
    with pytest.raises(LedgerForkError, match="holds something else than what is to be published"):
        extend(object_store, log, [record(5)])
    assert object_store.stat(other.key) == other
    assert same(read_head(object_store, KEY.verifier_key()), log)


def test_an_answer_that_was_lost_is_no_refusal(object_store: LocalObjectStore) -> None:
    log = made_log(object_store, [5])
    done = extend(object_store, log, [record(5)])
    assert same(extend(object_store, log, [record(5)]), done)


def change(store: LocalObjectStore, root: Path, key: str, data: bytes | None) -> None:
    """Do with an object as somebody with access to the disk would."""
    assert store.stat(key) is not None, key
    path = root / key
    path.unlink()
    if data is not None:
        path.write_bytes(data)


@pytest.mark.parametrize("passes", [PASSES, (512,), (3, 65_533), (65_600,)], ids=str)
def test_whatever_is_altered_at_the_end_of_the_log_is_refused(
    object_store: LocalObjectStore, tmp_path: Path, passes: tuple[int, ...]
) -> None:
    log = made_log(object_store, passes)
    size = log.head.size
    root = next(path.parent for path in tmp_path.rglob("audit-ledger"))
    index, width = (size - 1) // 256, (size - 1) % 256 + 1
    read = [Tile(ENTRIES, index, width), Tile(0, index, width)]
    read += [tile for level in levels(size) if level and (tile := last_tile(level, size)) is not None]
    for tile in read:
        intact = object_store.get_bytes(tile.key)
        longer = intact + (intact[:32] if tile.level >= 0 else b"\x00\x01x")
        for data in (None, b"", intact[:-1], intact[:-9] + bytes([intact[-9] ^ 1]) + intact[-8:], longer):
            change(object_store, root, tile.key, data)
            with pytest.raises(TilesAlteredError):
                read_head(object_store, KEY.verifier_key())
            (root / tile.key).write_bytes(intact)
    assert same(read_head(object_store, KEY.verifier_key()), log)


def test_an_altered_checkpoint_is_refused(object_store: LocalObjectStore, tmp_path: Path) -> None:
    log = made_log(object_store, PASSES)
    root = next(path.parent for path in tmp_path.rglob("audit-ledger"))
    other = SigningKey("tests.example/other", bytes(32))
    cases: list[tuple[bytes, type[LedgerError]]] = [
        (b"", MalformedCheckpointError),
        (b"\xff", MalformedCheckpointError),
        (b"x" * 100_000, MalformedCheckpointError),
        (log.note.replace("\n566\n", "\n567\n").encode(), ForeignCheckpointError),
        (signed(log.head, other).encode(), ForeignCheckpointError),
        (signed(log.head, SigningKey(KEY.name, bytes(32))).encode(), ForeignCheckpointError),
        (signed(EMPTY_LOG.head).encode(), MalformedCheckpointError),
        (signed(log.head.extended([record(566)])).encode(), TilesAlteredError),
    ]
    for data, kind in cases:
        change(object_store, root, CHECKPOINT_KEY, data)
        with pytest.raises(kind):
            read_head(object_store, KEY.verifier_key())


def test_a_ledger_of_format_1_is_refused(object_store: LocalObjectStore) -> None:
    object_store.put_bytes(f"audit-ledger/checkpoints/{7:020d}.json", b"{}")
    with pytest.raises(FormerFormatError, match="is of format 1, which this version does not read"):
        read_head(object_store, KEY.verifier_key())


@pytest.mark.parametrize(
    "key", ["2026/07/2026-08-01", "2026/07/2026-07-32", "2026/7/2026-07-01", "2026/07/2026-07-01x", "2026/07/"]
)
def test_another_way_to_write_a_day_is_none(key: str) -> None:
    assert day_of_key(f"audit-ledger/checkpoints/{key}") is None
