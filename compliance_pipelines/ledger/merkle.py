"""Merkle trees as certificate transparency defines them, over SHA-256.

Here: roots, inclusion and consistency proofs, and their verification (RFC 6962 section 2.1, RFC 9162 section 2.1). Not
here: what the leaves mean, and how leaves that are entries are hashed.

Trees are built from leaf hashes. A long sequence of them is a uint8 array of shape (n, 32), hashed level by level.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.hashing import DIGEST_BYTES, sha256_of_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Hashes: TypeAlias = npt.NDArray[np.uint8]
"""Leaf hashes or nodes: uint8, shape (n, 32)."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of the tree without leaves."""

_LEAF_PREFIX: Final = b"\x00"
_NODE_PREFIX: Final = b"\x01"


class ProofError(ComplianceError):
    """A proof does not prove what it claims."""


class FrontierError(ComplianceError):
    """Recorded nodes cannot be the frontier of a tree of the recorded size."""


def hash_leaf(data: bytes) -> bytes:
    """The leaf hash of `data` (RFC 6962 section 2.1)."""
    return hashlib.sha256(_LEAF_PREFIX + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962 section 2.1)."""
    return hashlib.sha256(_NODE_PREFIX + left + right).digest()


class CompactRange:
    """A growing tree of which only the frontier is kept: the roots of its perfect subtrees, at most one a level.

    Attributes:
        size: how many leaves the tree has.
    """

    def __init__(self) -> None:
        self.size = 0
        # By level, leaves first. Level i is occupied exactly where bit i of the size is set.
        self._roots: list[bytes | None] = []

    @classmethod
    def from_nodes(cls, size: int, nodes: Sequence[bytes]) -> CompactRange:
        """The tree that :attr:`nodes` was taken from when it had `size` leaves.

        Raises:
            FrontierError: that many leaves have another number of nodes, or a node is not 32 bytes long.
        """
        if size < 0 or len(nodes) != size.bit_count() or any(len(node) != DIGEST_BYTES for node in nodes):
            lengths = sorted({len(node) for node in nodes})
            raise FrontierError(
                f"a tree of {size} leaves has {max(size, 0).bit_count()} frontier nodes of {DIGEST_BYTES} bytes, "
                f"but {len(nodes)} are recorded, of {lengths} bytes"
            )
        tree = cls()
        tree.size = size
        smallest_first = reversed(nodes)
        tree._roots = [next(smallest_first) if size >> level & 1 else None for level in range(size.bit_length())]
        return tree

    def copy(self) -> CompactRange:
        """Another one that grows by itself."""
        tree = CompactRange()
        tree.size = self.size
        tree._roots = self._roots.copy()
        return tree

    @property
    def nodes(self) -> list[bytes]:
        """The frontier: roots of the perfect subtrees from left to right, which is from large to small."""
        return [root for root in reversed(self._roots) if root is not None]

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf, given as its hash.

        Raises:
            ValueError: the hash is not 32 bytes long.
        """
        if len(leaf_hash) != DIGEST_BYTES:
            raise ValueError(f"a leaf hash has {DIGEST_BYTES} bytes, not {len(leaf_hash)}")
        node, level = leaf_hash, 0
        while (root := self._take(level)) is not None:
            node, level = hash_children(root, node), level + 1
        self._roots[level] = node
        self.size += 1

    def extend(self, leaf_hashes: Hashes) -> None:
        """Add leaves in order, given as their hashes.

        Args:
            leaf_hashes: uint8, shape (n, 32).

        Raises:
            ValueError: the array has another shape or type.
        """
        row, level = _checked(leaf_hashes), 0
        while len(row):
            if (root := self._take(level)) is not None:
                row = np.concatenate([np.frombuffer(root, dtype=np.uint8)[None], row])
            if len(row) % 2:
                self._roots[level] = row[-1].tobytes()
            row, level = _parents(row), level + 1
        self.size += len(leaf_hashes)

    def root(self) -> bytes:
        """The root of the whole tree; :data:`EMPTY_ROOT` where there are no leaves."""
        right_first = iter([root for root in self._roots if root is not None])
        tree = next(right_first, EMPTY_ROOT)
        for left in right_first:
            tree = hash_children(left, tree)
        return tree

    def _take(self, level: int) -> bytes | None:
        """The root at a level, which is free afterwards."""
        if level == len(self._roots):
            self._roots.append(None)
        root, self._roots[level] = self._roots[level], None
        return root


def merkle_root(leaf_hashes: Sequence[bytes] | Hashes) -> bytes:
    """The root of the tree over these leaves, given as their hashes: MTH of RFC 6962 section 2.1.

    Raises:
        ValueError: a hash is not 32 bytes long.
    """
    tree = CompactRange()
    tree.extend(_as_hashes(leaf_hashes))
    return tree.root()


def inclusion_path(leaf_hashes: Sequence[bytes] | Hashes, index: int) -> list[bytes]:
    """The audit path of a leaf, from the leaf to the root: PATH of RFC 6962 section 2.1.1.

    Args:
        leaf_hashes: the hashes of all leaves of the tree.
        index: which leaf, counted from 0.

    Raises:
        IndexError: the tree has no such leaf.
        ValueError: a hash is not 32 bytes long.
    """
    leaves = _as_hashes(leaf_hashes)
    if not 0 <= index < len(leaves):
        raise IndexError(f"a tree of {len(leaves)} leaves has no leaf {index}")
    path: list[bytes] = []
    while len(leaves) > 1:
        split = _split(len(leaves))
        left, right = leaves[:split], leaves[split:]
        if index < split:
            path.append(merkle_root(right))
            leaves = left
        else:
            path.append(merkle_root(left))
            leaves, index = right, index - split
    return path[::-1]


def consistency_path(leaf_hashes: Sequence[bytes] | Hashes, old_size: int) -> list[bytes]:
    """The proof that a tree extends the tree of its first leaves: PROOF of RFC 6962 section 2.1.2.

    Args:
        leaf_hashes: the hashes of all leaves of the larger tree.
        old_size: how many leaves the smaller tree had; at least 1.

    Returns:
        Node hashes in the order of the RFC; none where both sizes are equal.

    Raises:
        IndexError: the tree has fewer leaves than that, or `old_size` is not positive.
        ValueError: a hash is not 32 bytes long.
    """
    leaves = _as_hashes(leaf_hashes)
    if not 0 < old_size <= len(leaves):
        raise IndexError(f"there is no consistency proof from {old_size} to {len(leaves)} leaves")
    path: list[bytes] = []
    # A smaller tree that is a whole subtree of the larger one is left out: whoever verifies has its root.
    old_root_is_known = True
    while old_size < len(leaves):
        split = _split(len(leaves))
        left, right = leaves[:split], leaves[split:]
        if old_size <= split:
            path.append(merkle_root(right))
            leaves = left
        else:
            path.append(merkle_root(left))
            leaves, old_size = right, old_size - split
            old_root_is_known = False
    if not old_root_is_known:
        path.append(merkle_root(leaves))
    return path[::-1]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf stands at an index of the tree with this size and root (RFC 9162 section 2.1.3.2).

    Raises:
        ProofError: the path does not lead from the leaf to the root.
    """
    if not 0 <= index < size:
        raise ProofError(f"inclusion: a tree of {size} leaves has no leaf {index}")
    _check_lengths("inclusion", [leaf_hash, root, *path])
    position, last = index, size - 1
    computed = leaf_hash
    for sibling in path:
        if last == 0:
            raise ProofError(f"inclusion: the path of leaf {index} of {size} is too long ({len(path)} nodes)")
        if position & 1 or position == last:
            computed = hash_children(sibling, computed)
            # The last node of a level without a sibling moves up until it is a right child.
            climb = _trailing_zeros(position)
            position, last = position >> climb, last >> climb
        else:
            computed = hash_children(computed, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError(f"inclusion: the path of leaf {index} of {size} is too short ({len(path)} nodes)")
    _check_root("inclusion", computed, root, f"leaf {index} of {size}")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the larger tree begins with the leaves of the smaller one (RFC 9162 section 2.1.4.2).

    Trees of equal size are consistent if their roots are equal and the path is empty. From the empty tree there is no
    proof, as every tree extends it; the caller has to know that it started there.

    Raises:
        ProofError: the path does not lead to both roots.
    """
    what = f"from {old_size} to {new_size} leaves"
    if old_size < 0 or old_size > new_size:
        raise ProofError(f"consistency: a tree does not grow {what}")
    if old_size == 0:
        raise ProofError(f"consistency: nothing can be proved {what}")
    if old_size == new_size:
        if path:
            raise ProofError(f"consistency: {what} the path is empty, not {len(path)} nodes long")
        _check_root("consistency", old_root, new_root, what)
        return
    if not path:
        raise ProofError(f"consistency: {what} the path is not empty")
    _check_lengths("consistency", [old_root, new_root, *path])
    whole_path = [old_root, *path] if old_size.bit_count() == 1 else path
    old_computed, new_computed = _roots_of_consistency_path(old_size, new_size, whole_path)
    _check_root("consistency", old_computed, old_root, f"the old tree, {what}")
    _check_root("consistency", new_computed, new_root, f"the new tree, {what}")


def _roots_of_consistency_path(old_size: int, new_size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of both trees that a path leads to; it begins with the old tree's last perfect subtree."""
    climb = _trailing_zeros(old_size)
    position, last = (old_size - 1) >> climb, (new_size - 1) >> climb
    old_root = new_root = path[0]
    for node in path[1:]:
        if last == 0:
            raise ProofError(f"consistency: the path from {old_size} to {new_size} leaves is too long")
        if position & 1 or position == last:
            old_root = hash_children(node, old_root)
            new_root = hash_children(node, new_root)
            climb = _trailing_zeros(position)
            position, last = position >> climb, last >> climb
        else:
            new_root = hash_children(new_root, node)
        position, last = position >> 1, last >> 1
    if last:
        raise ProofError(f"consistency: the path from {old_size} to {new_size} leaves is too short")
    return old_root, new_root


def _split(count: int) -> int:
    """The largest power of two below `count`: where RFC 6962 divides that many leaves."""
    return 1 << (count - 1).bit_length() - 1


def _trailing_zeros(number: int) -> int:
    """How many times `number` can be halved; 0 has none to spare."""
    return (number & -number).bit_length() - 1 if number else 0


def _parents(row: Hashes) -> Hashes:
    """The level above; a last node without a sibling is left out."""
    pairs = len(row) // 2
    hashed = np.empty((pairs, 1 + 2 * DIGEST_BYTES), dtype=np.uint8)
    hashed[:, :1] = np.frombuffer(_NODE_PREFIX, dtype=np.uint8)
    hashed[:, 1:] = row[: 2 * pairs].reshape(pairs, 2 * DIGEST_BYTES)
    return sha256_of_rows(hashed)


def _as_hashes(leaf_hashes: Sequence[bytes] | Hashes) -> Hashes:
    if isinstance(leaf_hashes, np.ndarray):
        return _checked(leaf_hashes)
    if any(len(leaf_hash) != DIGEST_BYTES for leaf_hash in leaf_hashes):
        raise ValueError(f"a leaf hash has {DIGEST_BYTES} bytes")
    return np.frombuffer(b"".join(leaf_hashes), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def _checked(hashes: Hashes) -> Hashes:
    if hashes.dtype != np.uint8 or hashes.ndim != 2 or hashes.shape[1] != DIGEST_BYTES:  # noqa: PLR2004 - rows and bytes
        raise ValueError(f"leaf hashes are uint8 of shape (n, {DIGEST_BYTES}), not {hashes.dtype} of {hashes.shape}")
    return hashes


def _check_lengths(kind: str, hashes: Iterable[bytes]) -> None:
    for given in hashes:
        if len(given) != DIGEST_BYTES:
            raise ProofError(f"{kind}: a hash has {len(given)} bytes, and SHA-256 has {DIGEST_BYTES}")


def _check_root(kind: str, computed: bytes, expected: bytes, what: str) -> None:
    if computed != expected:
        raise ProofError(f"{kind}: the root is {expected.hex()}, but the proof leads to {computed.hex()} ({what})")
