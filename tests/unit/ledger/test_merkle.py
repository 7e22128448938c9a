from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.merkle import (
    EMPTY_ROOT,
    CompactRange,
    FrontierError,
    ProofError,
    consistency_path,
    hash_children,
    hash_leaf,
    inclusion_path,
    merkle_root,
    verify_consistency,
    verify_inclusion,
)

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "rfc6962_vectors.json").read_text())
TREE = VECTORS["tree"]
LEAVES = [hash_leaf(bytes.fromhex(leaf)) for leaf in TREE["leaves"]]

sizes = st.integers(0, 70)


@cache
def leaf(number: int) -> bytes:
    return hash_leaf(b"%d" % number)


def leaves(count: int) -> list[bytes]:
    return [leaf(number) for number in range(count)]


def as_array(hashes: list[bytes]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)


def root_by_definition(hashes: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word by word."""
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + root_by_definition(hashes[:k]) + root_by_definition(hashes[k:])).digest()


def verify_inclusion_case(case: dict[str, Any]) -> None:
    verify_inclusion(
        bytes.fromhex(case["leaf"]),
        case["index"],
        case["size"],
        [bytes.fromhex(node) for node in case["path"]],
        bytes.fromhex(case["root"]),
    )


def verify_consistency_case(case: dict[str, Any]) -> None:
    verify_consistency(
        case["old_size"],
        case["new_size"],
        bytes.fromhex(case["old_root"]),
        bytes.fromhex(case["new_root"]),
        [bytes.fromhex(node) for node in case["path"]],
    )


def test_leaves_and_nodes_hash_to_the_known_values() -> None:
    known = VECTORS["hashes"]
    assert hash_leaf(bytes.fromhex(known["leaf"]["data"])).hex() == known["leaf"]["hash"]
    left, right = (bytes.fromhex(known["node"][side]) for side in ("left", "right"))
    assert hash_children(left, right).hex() == known["node"]["hash"]
    assert [each.hex() for each in LEAVES] == TREE["levels"][0]


@pytest.mark.parametrize("size", range(9))
def test_known_leaves_have_the_known_roots_and_frontiers(size: int) -> None:
    tree = CompactRange()
    for leaf_hash in LEAVES[:size]:
        tree.append(leaf_hash)

    assert tree.root().hex() == TREE["roots"][size]
    assert merkle_root(LEAVES[:size]).hex() == TREE["roots"][size]
    assert [node.hex() for node in tree.nodes] == [TREE["levels"][level][at] for level, at in TREE["frontiers"][size]]


def test_the_published_cases_are_all_there() -> None:
    for kind in ("inclusion", "consistency"):
        assert [len(VECTORS[kind]), sum(case["valid"] for case in VECTORS[kind])] == [98, 6]


@pytest.mark.parametrize("case", VECTORS["inclusion"], ids=lambda case: case["case"])
def test_published_inclusion_proofs_are_judged_as_published(case: dict[str, Any]) -> None:
    if case["valid"]:
        verify_inclusion_case(case)
    else:
        with pytest.raises(ProofError, match=r"^inclusion: "):
            verify_inclusion_case(case)


@pytest.mark.parametrize("case", VECTORS["consistency"], ids=lambda case: case["case"])
def test_published_consistency_proofs_are_judged_as_published(case: dict[str, Any]) -> None:
    if case["valid"]:
        verify_consistency_case(case)
    else:
        with pytest.raises(ProofError, match=r"^consistency: "):
            verify_consistency_case(case)


@given(sizes)
def test_the_root_is_that_of_the_definition(size: int) -> None:
    assert merkle_root(leaves(size)) == merkle_root(as_array(leaves(size))) == root_by_definition(leaves(size))


@given(st.lists(st.integers(0, 40), max_size=8), st.data())
def test_a_tree_grows_to_the_same_root_in_whatever_portions(portions: list[int], data: st.DataObject) -> None:
    tree, done = CompactRange(), 0
    for portion in portions:
        added = leaves(sum(portions))[done : done + portion]
        how = data.draw(st.sampled_from(["append", "extend", "reopen and extend"]))
        if how == "append":
            for leaf_hash in added:
                tree.append(leaf_hash)
        else:
            if how == "reopen and extend":
                tree = CompactRange.from_nodes(tree.size, tree.nodes)
            tree.extend(as_array(added))
        done += portion
        assert tree.size == done
        assert tree.root() == root_by_definition(leaves(done))


@pytest.mark.parametrize("portion", [1_000, 1_024, 2_500, 5_000])
def test_large_portions_make_the_same_tree(portion: int) -> None:
    many = leaves(5_000)
    tree = CompactRange()
    for start in range(0, len(many), portion):
        tree.extend(as_array(many[start : start + portion]))

    assert tree.root() == root_by_definition(many)


def test_every_leaf_of_every_small_tree_is_proved() -> None:
    for size in range(1, 34):
        root = merkle_root(leaves(size))
        for index in range(size):
            verify_inclusion(leaf(index), index, size, inclusion_path(leaves(size), index), root)


def test_every_small_tree_is_proved_to_extend_every_smaller_one() -> None:
    for new_size in range(1, 34):
        for old_size in range(1, new_size + 1):
            path = consistency_path(as_array(leaves(new_size)), old_size)
            verify_consistency(old_size, new_size, merkle_root(leaves(old_size)), merkle_root(leaves(new_size)), path)


def test_paths_of_large_trees_hold() -> None:
    size, index, old_size = 5_000, 4_321, 3_333
    many = as_array(leaves(size))
    root = merkle_root(many)

    verify_inclusion(leaf(index), index, size, inclusion_path(many, index), root)
    verify_consistency(old_size, size, merkle_root(many[:old_size]), root, consistency_path(many, old_size))


def flipped(data: st.DataObject, value: bytes) -> bytes:
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    return bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(value))


def damaged(data: st.DataObject, path: list[bytes]) -> list[bytes]:
    """The path with one thing wrong."""
    at = data.draw(st.integers(0, max(0, len(path) - 1)))
    how = data.draw(st.sampled_from(["more", "less", "altered"] if path else ["more"]))
    if how == "more":
        return [*path[:at], leaf(0), *path[at:]]
    return [*path[:at], *([flipped(data, path[at])] if how == "altered" else []), *path[at + 1 :]]


@given(st.integers(1, 70), st.data())
def test_no_other_leaf_index_root_or_path_passes_for_inclusion(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path, root = inclusion_path(leaves(size), index), merkle_root(leaves(size))
    other_index = data.draw(st.integers(-1, size + 1).filter(lambda other: other != index))
    bad = data.draw(
        st.sampled_from(
            [
                (flipped(data, leaf(index)), index, path, root),
                (leaf(index), other_index, path, root),
                (leaf(index), index, path, flipped(data, root)),
                (leaf(index), index, damaged(data, path), root),
            ]
        )
    )
    with pytest.raises(ProofError):
        verify_inclusion(bad[0], bad[1], size, bad[2], bad[3])


@given(st.integers(2, 70), st.data())
def test_no_other_root_or_path_passes_for_consistency(new_size: int, data: st.DataObject) -> None:
    old_size = data.draw(st.integers(1, new_size - 1))
    old_root, new_root = merkle_root(leaves(old_size)), merkle_root(leaves(new_size))
    path = consistency_path(leaves(new_size), old_size)
    bad = data.draw(
        st.sampled_from(
            [
                (flipped(data, old_root), new_root, path),
                (old_root, flipped(data, new_root), path),
                (old_root, new_root, damaged(data, path)),
            ]
        )
    )
    with pytest.raises(ProofError):
        verify_consistency(old_size, new_size, *bad)


@pytest.mark.parametrize(
    ("change", "reason"), [(lambda path: path[:-1], "too short"), (lambda path: [*path, leaf(0)], "too long")]
)
def test_a_path_of_another_length_is_named_so(change: Callable[[list[bytes]], list[bytes]], reason: str) -> None:
    root = merkle_root(leaves(7))
    with pytest.raises(ProofError, match=f"inclusion: .*{reason}"):
        verify_inclusion(leaf(2), 2, 7, change(inclusion_path(leaves(7), 2)), root)
    with pytest.raises(ProofError, match=f"consistency: .*{reason}"):
        verify_consistency(3, 7, merkle_root(leaves(3)), root, change(consistency_path(leaves(7), 3)))


def test_nothing_is_proved_from_the_empty_tree() -> None:
    with pytest.raises(ProofError, match="nothing can be proved from 0 to 3 leaves"):
        verify_consistency(0, 3, EMPTY_ROOT, merkle_root(leaves(3)), [])
    with pytest.raises(ProofError, match="nothing can be proved from 0 to 0 leaves"):
        verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    with pytest.raises(IndexError):
        consistency_path(leaves(3), 0)


def test_a_hash_of_another_length_is_refused_before_it_is_hashed() -> None:
    with pytest.raises(ProofError, match="a hash has 31 bytes"):
        verify_inclusion(leaf(0), 0, 2, [leaf(1)[:-1]], merkle_root(leaves(2)))
    with pytest.raises(ValueError, match="32 bytes"):
        merkle_root([leaf(0) + b"x", leaf(1)[:-1]])
    with pytest.raises(ValueError, match="not 31"):
        CompactRange().append(leaf(0)[:-1])
    with pytest.raises(ValueError, match="uint8 of shape"):
        CompactRange().extend(np.zeros((3, 31), dtype=np.uint8))


@pytest.mark.parametrize(("size", "lengths"), [(3, [32]), (2, [32, 32]), (1, [31]), (0, [32]), (-1, [32])])
def test_nodes_that_are_no_frontier_are_refused(size: int, lengths: list[int]) -> None:
    with pytest.raises(FrontierError, match=f"a tree of {size} leaves"):
        CompactRange.from_nodes(size, [bytes(length) for length in lengths])


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_path_of_a_leaf_that_is_not_there(index: int) -> None:
    with pytest.raises(IndexError, match="has no leaf"):
        inclusion_path(leaves(3), index)
