from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.archive.layout import (
    PartKey,
    day_prefix,
    manifest_key,
    object_key,
    parse_key,
    part_root,
)
from compliance_pipelines.ledger.merkle import hash_children
from tests.unit.archive.examples import segment

if TYPE_CHECKING:
    from compliance_pipelines.ledger.segments import Segment

DAYS = st.dates(min_value=date(1000, 1, 1))
ROOTS = st.binary(min_size=32, max_size=32)


def test_keys_are_those_of_the_documented_layout() -> None:
    root = bytes.fromhex("0a1b2c3d" + "00" * 28)
    assert object_key(date(2025, 10, 1), 2, root) == "audit-archives/2025/10/audit-logs-2025-10-01.2-0a1b2c3d.0.parquet"
    assert (
        manifest_key(date(2025, 10, 1), 2, root)
        == "audit-archives/2025/10/audit-logs-2025-10-01.2-0a1b2c3d.0.manifest.json"
    )


@given(DAYS, st.integers(min_value=1, max_value=10**9), ROOTS, st.integers(min_value=0, max_value=9_999))
def test_a_key_says_again_what_it_was_made_from(day: date, part: int, root: bytes, revision: int) -> None:
    expected = PartKey(day, part, root.hex()[:8], is_manifest=False, revision=revision)
    assert parse_key(object_key(day, part, root, revision)) == expected
    parsed = parse_key(manifest_key(day, part, root, revision))
    assert parsed is not None
    assert parsed.is_manifest
    assert (parsed.object_key, parsed.manifest_key) == (expected.object_key, expected.manifest_key)
    assert object_key(day, part, root).startswith(day_prefix(day))


@pytest.mark.parametrize(
    "key",
    [
        "audit-archives/2025/11/audit-logs-2025-10-01.1-0a1b2c3d.0.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-32.1-0a1b2c3d.0.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-01.0-0a1b2c3d.0.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-01.01-0a1b2c3d.0.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-01.1-0A1B2C3D.0.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-01.1-0a1b2c3d.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-01.1-0a1b2c3d.01.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-01.1-0a1b2c3d.-1.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-01.1-0a1b2c3d.00.parquet",
        "audit-archives/2025/10/audit-logs-2025-10-01.1-0a1b2c3d.0.parquet.tmp",
        "audit-archives/2025/10/audit-logs-2025-10-01.1-0a1b2c3d.0.parquet\n",
        "audit-ledger/checkpoints/00000000000000000001.json",
    ],
)
def test_other_keys_are_not_taken_for_parts(key: str) -> None:
    assert parse_key(key) is None


def test_the_root_of_a_part_is_the_tree_over_its_records_in_order_of_their_seq() -> None:
    first, second, third = segments = [segment(seq) for seq in (3, 4, 9)]
    expected = hash_children(hash_children(first.leaf_hash(), second.leaf_hash()), third.leaf_hash())
    assert part_root(segments) == expected
    assert part_root([third, first, second]) == expected


def test_a_part_of_one_segment_has_that_record_as_its_root() -> None:
    only: Segment = segment(0)
    assert part_root([only]) == only.leaf_hash()
