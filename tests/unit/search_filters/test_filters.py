"""Filters find every value that was put in and few others, and are believed of nothing but what they were made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.search_filters.bloom import BITS_PER_VALUE, bytes_for, filter_of, may_contain
from compliance_pipelines.search_filters.filters import Filter, FilterMaker, PartCollector, size_of
from compliance_pipelines.search_filters.hashing import Hasher
from compliance_pipelines.search_filters.keys import COLUMNS, FilterKeys

KEY: Final = DataKey(bytes(range(32)))
OBJECT: Final = "audit-archives/2025/10/audit-logs-2025-10-01.1-00112233.0.parquet"
SHA256: Final = "ab" * 32
_TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
_COLUMN: Final = st.lists(st.none() | _TEXTS, min_size=1, max_size=40)


def batch(values: list[str | None], *, resource_ids: list[str | None] | None = None) -> pa.RecordBatch:
    """Rows that have these values in each column that has filters."""
    of_column: dict[str, Any] = dict.fromkeys(COLUMNS, values)
    of_column["resource_id"] = values if resource_ids is None else resource_ids
    return pa.RecordBatch.from_pydict({name: pa.array(each, pa.string()) for name, each in of_column.items()})


def made(*groups: list[pa.RecordBatch], key: DataKey | None = KEY, object_key: str = OBJECT) -> tuple[Filter, ...]:
    """The filters of an object with these row groups."""
    collector = PartCollector(FilterMaker.of(object_key, SHA256, key, len(groups)))
    for number, group in enumerate(groups):
        assert list(collector.passing(number, group)) == group
    return collector.filters()


def says(found: Filter, value: str, key: DataKey | None = KEY) -> bool:
    """Whether a filter says that its row group may have a value."""
    keys = FilterKeys.of(OBJECT, key)
    hashed = Hasher(keys.of_columns[found.column]).hashes(pa.array([value], pa.string()))
    return may_contain(found.bits, int(hashed[0]))


@given(_COLUMN, _COLUMN, st.integers(1, 39))
@settings(max_examples=50)
def test_every_value_that_was_put_in_is_found(first: list[str | None], second: list[str | None], cut: int) -> None:
    rows = batch(first)
    filters = made([rows.slice(0, cut), rows.slice(cut)] if cut < len(first) else [rows], [batch(second)])
    assert [(each.row_group, each.column) for each in filters] == [(n, column) for n in (0, 1) for column in COLUMNS]
    for each in filters:
        values = {value for value in (first, second)[each.row_group] if value is not None}
        assert each.distinct_values == len(values)
        assert all(says(each, value) for value in values)


@given(st.lists(_TEXTS, min_size=1, max_size=30), st.binary(min_size=32, max_size=32), st.integers(0, 3))
@settings(max_examples=50)
def test_hashes_are_those_of_the_library_one_by_one(values: list[str], key: bytes, left_out: int) -> None:
    def one(value: str) -> int:
        mac = CMAC(algorithms.AES(key))
        mac.update(value.encode())
        return int.from_bytes(mac.finalize()[:8], "little")

    array = pa.array(values, pa.string()).slice(left_out)
    assert Hasher(key).hashes(array).tolist() == [one(value) for value in values[left_out:]]


def test_one_value_in_a_hundred_at_most_is_believed_that_was_not_put_in() -> None:
    random = np.random.default_rng(65)
    for count in (1_000, 65_536):
        bits = filter_of(np.unique(random.integers(0, 2**64, count, dtype=np.uint64)))
        others = random.integers(0, 2**64, 10_000, dtype=np.uint64).tolist()
        share = sum(may_contain(bits, each) for each in others) / len(others)
        assert len(bits) == bytes_for(count) <= count * BITS_PER_VALUE / 8 + 32
        # None at all would be a filter that says nothing of what it was asked.
        assert 0 < share < 0.01


def test_the_bits_are_those_of_the_specification() -> None:
    """One block; the salts of the specification shifted down to five bits, one bit of each word."""
    assert filter_of(np.array([1], dtype=np.uint64)) == b"".join(
        (1 << (salt >> 27)).to_bytes(4, "little")
        for salt in (
            0x47B6137B,
            0x44974D91,
            0x8824AD5B,
            0xA2B7289D,
            0x705495C7,
            0x2DF1424B,
            0x9EFC4947,
            0x5C6BFB31,
        )
    )


def test_filters_are_the_same_whatever_order_and_batches_their_rows_come_in() -> None:
    values: list[str | None] = [f"user-{number % 50}" for number in range(200)]
    whole = made([batch(values)])
    assert made([batch(values[::-1]).slice(0, 70), batch(values[::-1]).slice(70)]) == whole
    assert size_of(whole) == 4 * bytes_for(50)


@pytest.mark.parametrize(
    "altered",
    [
        {"bits": bytes(32)},
        {"row_group": 1},
        {"row_groups": 2},
        {"column": "action"},
        {"distinct_values": 2},
    ],
)
def test_a_filter_that_was_altered_is_not_believed(altered: dict[str, Any]) -> None:
    found = made([batch(["alice"])])[0]
    keys = FilterKeys.of(OBJECT, KEY)
    assert found.is_of(keys, OBJECT, SHA256)
    assert not replace(found, **altered).is_of(keys, OBJECT, SHA256)


def test_a_filter_is_believed_of_its_own_object_under_its_own_key_alone() -> None:
    found = made([batch(["alice"])])[0]
    other = OBJECT.replace(".0.", ".1.")
    assert not found.is_of(FilterKeys.of(OBJECT, KEY), OBJECT, "cd" * 32)
    assert not found.is_of(FilterKeys.of(other, KEY), other, SHA256)
    assert not found.is_of(FilterKeys.of(OBJECT, DataKey.new()), OBJECT, SHA256)
    assert not found.is_of(FilterKeys.of(OBJECT, None), OBJECT, SHA256)
    # And without the key nobody can ask it: the bits of the same value are others.
    assert found.bits != made([batch(["alice"])], key=None)[0].bits
    assert found.bits != made([batch(["alice"])])[3].bits


@pytest.mark.parametrize(
    ("key", "bits", "mac"),
    [
        (
            KEY,
            "000002804400000004020000120000000000000a000400082000004080000400",
            "93537f4c85f25f4ecd48f7bf964be3c89e8fa36629a2720bc8dbbedfc382d4fc",
        ),
        (
            None,
            "0090000008000008008002000000000300101000400000040081000000880000",
            "c6df88a954cd67c1e2f78d203238ebbdc94f8da9efef3383223eb68adf0e9c9c",
        ),
    ],
)
def test_filters_stay_what_the_document_says(key: DataKey | None, bits: str, mac: str) -> None:
    """Other bytes for the same rows would make every filter on record one that is not believed."""
    found = made([batch(["alice", "bob", None])], key=key)[0]
    assert (found.column, found.distinct_values) == ("user_id", 2)
    assert (found.bits.hex(), found.mac.hex()) == (bits, mac)
    document = (Path(__file__).parents[3] / "docs" / "archive-format.md").read_text(encoding="utf-8")
    assert bits in document
    assert mac in document
