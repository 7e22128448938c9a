"""The walk along the ledger: leaves of the cold store on one side, signed checkpoints of all stores on the other.

Here: feeding both to the chain in the order of sizes. Not here: what contradicts what (chain.py, tiled_log.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.ledger.tiles import WIDTH
from compliance_pipelines.verification.chain import Chain
from compliance_pipelines.verification.findings import Finding, Kind
from compliance_pipelines.verification.tiled_log import TiledLog, listed_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from compliance_pipelines.ledger.merkle import CompactRange, Hashes
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.checkpoints import ColdHeads, Store
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex, Source


_NOTHING: Final = np.zeros((0, DIGEST_BYTES), dtype=np.uint8)


class Walk:
    """Rebuilds the ledger of the cold store; the index gets its records.

    Args:
        store: the cold store.
        heads: its checkpoints.
        index: holds what the witness says.
        witness: the source that is asked where an object is missing or altered.
        journal: is told what is wrong.
        progress: told of records read.

    Attributes:
        log_size: records of the log in the cold store, by its checkpoint; where it has none, by its keys.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """

    def __init__(  # noqa: PLR0913 - what one walk needs
        self,
        store: ObjectStore,
        heads: ColdHeads,
        *,
        index: SegmentIndex,
        witness: Source,
        journal: Journal,
        progress: Progress,
    ) -> None:
        others = (*heads.days.values(), *([] if heads.cosigned is None else [heads.cosigned]))
        kept = max((checkpoint.size for checkpoint in others), default=0)
        newest = heads.newest
        listed = listed_size(store)
        self._chain = Chain(index, witness, journal, max(kept, 0 if newest is None else newest.size))
        self.log_size = max(kept, listed if newest is None else newest.size)
        _look_at_newest(heads, kept, self.log_size, journal)
        root = newest.root if newest is not None and newest.size == self.log_size else None
        self._log = TiledLog(
            store, self.log_size, listed, root, heads, index=index, witness=witness, journal=journal, progress=progress
        )
        self._leaves: Iterator[Hashes | None] = self._log.leaves()
        self._rest: Hashes | None = None
        self._at = 0
        self._until = 0

    @property
    def size(self) -> int:
        """Segments of the ledger, as far as any checkpoint or record spoke of them."""
        return self._chain.size

    @property
    def settled_size(self) -> int:
        """Segments whose records are known to be those that were signed."""
        return self._chain.settled_size

    @property
    def roots_before_keys(self) -> Mapping[int, bytes]:
        """The root of the records before each record about a key, by its place."""
        return self._log.roots_before_keys

    def head(self, size: int, signed: Mapping[Store, bytes], frontier: Sequence[bytes] | None = None) -> None:
        """Go on to a size, and compare what is signed for it; see :meth:`Chain.head`."""
        self._go_to(size)
        self._chain.head(size, signed, frontier)

    def undoubted(self, size: int) -> CompactRange | None:
        """Go on to a size; see :meth:`Chain.undoubted`."""
        self._go_to(size)
        return self._chain.undoubted(size)

    def settle(self, tree: CompactRange) -> None:
        """See :meth:`Chain.settle`."""
        self._chain.settle(tree)

    def finish(self) -> None:
        """Go on to the end, say what remained open, and look at tiles that are not needed."""
        if self._at < self.log_size or self._chain.size < self.log_size:
            self.head(self.log_size, {})
        for _ in self._leaves:
            pass
        self._chain.finish()
        if not self._chain.contradicted:
            self._log.find_upper_tiles()
        self._log.check_others(confirmed=self._chain.settled_size >= self.log_size)

    def _go_to(self, size: int) -> None:
        while self._at < size:
            if self._at == self._until:
                self._rest = next(self._leaves, _NOTHING)
                if self._rest is _NOTHING:
                    self._at = self._until = size
                    self._chain.grow(size, None)
                    return
                self._until = min(self._until + WIDTH, self.log_size)
            after = min(size, self._until)
            taken, self._rest = _divided(self._rest, after - self._at)
            self._at = after
            self._chain.grow(after, taken)


def _divided(leaves: Hashes | None, count: int) -> tuple[Hashes | None, Hashes | None]:
    return (None, None) if leaves is None else (leaves[:count], leaves[count:])


def _look_at_newest(heads: ColdHeads, kept: int, size: int, journal: Journal) -> None:
    """Say that the newest checkpoint is not there, or older than one that was kept for its day."""
    if not heads.present and size:
        message = f"{CHECKPOINT_KEY} is missing from the cold store, which holds tiles or checkpoints of {size} records"
        journal.find(Finding(kind=Kind.CHECKPOINT_MISSING, key=CHECKPOINT_KEY, checkpoint=size, message=message))
    if heads.newest is not None and heads.newest.size < kept:
        message = (
            f"{CHECKPOINT_KEY} is of {heads.newest.size} records, and one beside it is of {kept}: the cold store "
            "was put back to an older state"
        )
        journal.find(
            Finding(kind=Kind.LEDGER_ROLLED_BACK, key=CHECKPOINT_KEY, checkpoint=heads.newest.size, message=message)
        )
