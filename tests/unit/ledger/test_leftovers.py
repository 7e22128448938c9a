"""What a killed pass left beyond the checkpoint is found and taken away, and nothing that the checkpoint needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.ledger.leftovers import leftovers, remove_leftovers
from compliance_pipelines.ledger.log_reading import read_head, read_records
from compliance_pipelines.ledger.publication import objects_of
from compliance_pipelines.ledger.tiles import PREFIX
from tests.unit.ledger.logs import KEY, extend, made_log, record

if TYPE_CHECKING:
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.object_store.local import LocalObjectStore


class StoppedError(Exception):
    """The pass was stopped by the test."""


def records(first: int, count: int, *, variant: int = 0) -> list[Segment]:
    return [record(seq, variant=variant) for seq in range(first, first + count)]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 513])
@pytest.mark.parametrize("left", [1, 3, 255, 256, 600])
@pytest.mark.parametrize("step", ["tiles put", "partial tiles removed"])
def test_leftovers_go_and_another_pass_takes_their_place(
    object_store: LocalObjectStore, size: int, left: int, step: str
) -> None:
    log = made_log(object_store, [size])
    before = {info.key for info in object_store.list(PREFIX)}

    def stop(done: str) -> None:
        if done == step:
            raise StoppedError

    with pytest.raises(StoppedError):
        extend(object_store, log, records(size, left, variant=1), stop)

    found = leftovers(object_store, size, {})
    assert {tile.key for tile in found} == {info.key for info in object_store.list(PREFIX)} - before
    remove_leftovers(object_store, size, found)

    assert {info.key for info in object_store.list(PREFIX)} == before
    assert read_head(object_store, KEY.verifier_key()).head == log.head
    grown = extend(object_store, read_head(object_store, KEY.verifier_key()), records(size, left))
    assert read_head(object_store, KEY.verifier_key()).head == grown.head
    expected = [each.record_bytes() for each in (*records(0, size), *records(size, left))]
    assert list(read_records(object_store, 0, size + left)) == expected
    assert list(read_records(object_store, size, size + left)) == expected[size:]


def test_what_is_about_to_be_published_is_no_leftover(object_store: LocalObjectStore) -> None:
    log = made_log(object_store, [200])
    passes = [records(200, 30), records(230, 60)]

    def stop(done: str) -> None:
        if done == "tiles put":
            raise StoppedError

    with pytest.raises(StoppedError):
        extend(object_store, log, passes[0], stop)
    expected = objects_of(log, passes)
    assert leftovers(object_store, 200, expected) == []
    assert len(leftovers(object_store, 200, objects_of(log, [records(200, 30, variant=1)]))) == 2

    extend(object_store, extend(object_store, log, passes[0]), passes[1])
    put = {info.key: object_store.get_bytes(info.key) for info in object_store.list(PREFIX)}
    # Partial tiles that were covered are gone by now.
    assert {key: data for key, data in expected.items() if key in put}.items() <= put.items()
    assert {key for key in expected if ".p/" not in key or "001" in key} <= set(put)
