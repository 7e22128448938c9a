from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.audit_log.canonical import leaf_hash, private_bytes, public_bytes
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.ledger.hashing import HashedRows, SegmentHasher
from compliance_pipelines.ledger.merkle import EMPTY_ROOT, merkle_root

Row = dict[str, Any]


class Range(NamedTuple):
    tx_from: int
    tx_to: int


def row(number: int, tx_id: int) -> Row:
    moment = datetime(2025, 10, 1, tzinfo=UTC)
    return {
        "id": 100 + number,
        "log_entry_id": f"entry-{number}",
        "timestamp": moment,
        "user_id": "u" * (number % 7),
        "action": "a",
        "resource_type": None,
        "resource_id": None,
        "result": "r",
        "metadata": None,
        "created_at": moment,
        "tx_id": tx_id,
        "nonce": number.to_bytes(16),
        "commitment": None,
    }


def batch(rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=ENTRY_SCHEMA)


@st.composite
def disjoint_ranges(draw: st.DrawFn) -> list[Range]:
    bounds = sorted(draw(st.lists(st.integers(0, 40), max_size=8, unique=True)))
    return draw(st.permutations([Range(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=False)]))


@given(disjoint_ranges(), st.lists(st.integers(0, 40), max_size=40), st.data())
def test_each_row_counts_in_the_tree_of_its_range_in_whatever_batches_it_comes(
    ranges: list[Range], tx_ids: list[int], data: st.DataObject
) -> None:
    rows = [row(number, tx_id) for number, tx_id in enumerate(tx_ids)]
    hasher = SegmentHasher(ranges, most_waiting=data.draw(st.integers(1, 41)))
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=5).map(sorted))
    for start, end in pairwise([0, *cuts, len(rows)]):
        leaves = hasher.feed(batch(rows[start:end]))
        assert [leaf.tobytes() for leaf in leaves] == [leaf_hash(each) for each in rows[start:end]]

    for index, wanted in enumerate(ranges):
        inside = [each for each in rows if wanted.tx_from <= each["tx_id"] < wanted.tx_to]
        ids = [each["id"] for each in inside] or [0]
        assert hasher.result(index) == HashedRows(
            len(inside), merkle_root([leaf_hash(each) for each in inside]), ids[0], ids[-1]
        )
    strays = [each for each in rows if not any(wanted.tx_from <= each["tx_id"] < wanted.tx_to for wanted in ranges)]
    assert hasher.rows == len(rows)
    assert hasher.canonical_bytes == sum(len(public_bytes(each) + private_bytes(each)) for each in rows)
    assert hasher.stray_rows == len(strays)
    assert hasher.stray_entry_ids == [each["log_entry_id"] for each in strays][:20]


def test_a_range_without_rows_has_the_root_of_the_empty_tree() -> None:
    assert SegmentHasher([Range(0, 9)]).result(0) == HashedRows(0, EMPTY_ROOT, 0, 0)
