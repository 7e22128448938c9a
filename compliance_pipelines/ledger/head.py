"""The ledger up to one of its checkpoints, ready to grow.

Here: the frontier of its tree and the transaction id at which its last pass stopped. Not here: signatures, and whether
a head is the right one (anchor.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.merkle import CompactRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.ledger.records import LedgerRecord


@dataclass(frozen=True)
class LedgerHead:
    """Where the next record is appended; without arguments, the empty ledger.

    Attributes:
        size: records in the tree.
        frontier: roots of the tree's perfect subtrees from left to right, 32 bytes each, joined.
        tx_horizon: every entry with a smaller transaction id was sealed: `tx_to` of the last record.
    """

    size: int = 0
    frontier: bytes = b""
    tx_horizon: int = 0

    @property
    def root(self) -> bytes:
        """The tree's root, 32 bytes.

        Raises:
            FrontierError: the frontier does not fit the size.
        """
        return self.tree().root()

    def extended(self, records: Sequence[LedgerRecord]) -> LedgerHead:
        """The head after these records, of which there is at least one.

        Raises:
            FrontierError: the frontier does not fit the size.
        """
        tree = self.tree()
        for record in records:
            tree.append(record.leaf_hash())
        return LedgerHead(tree.size, b"".join(tree.nodes), records[-1].tx_to)

    def tree(self) -> CompactRange:
        """The tree, ready to grow.

        Raises:
            FrontierError: the frontier does not fit the size.
        """
        starts = range(0, len(self.frontier), DIGEST_BYTES)
        return CompactRange.from_nodes(self.size, [self.frontier[start : start + DIGEST_BYTES] for start in starts])
