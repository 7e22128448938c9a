"""The ledger rebuilt from its leaves, and the signed checkpoints that contradict it.

Here: growing the tree, comparing it with every signed root, and naming what does not fit: records that were altered, a
checkpoint that forks. Not here: reading tiles (tiled_log.py), judging a checkpoint by itself (checkpoints.py).

A checkpoint settles what lies before it when one root alone is signed for its size and some source's records lead to
it: no other records do (SHA-256). Where nothing settles, the records of each source are carried on apart, and the next
checkpoint that one of them leads to tells which was right and which checkpoints on the way were not. So one damage does
not hide the next. The database's frontier can settle a size, too, if it leads to the signed root: then it is known that
the records before are wrong, and those after can be judged. But what the database alone signed settles nothing for the
database's records while the cold store has a checkpoint of that size or a later one: that one decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.verification.checkpoints import Store
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.segment_index import SegmentIndex

_MOST_REMEMBERED: Final = 1_000
_FEW: Final = 8
NAMES: Final = {
    Source.LEDGER: "the entry bundles hold",
    Source.DATABASE: "the database holds",
    Source.MANIFESTS: "the archive's manifests hold",
}


@dataclass(frozen=True)
class _Passed:
    """A checkpoint that settled nothing: what is signed for its size, and what each source's records lead to."""

    size: int
    signed: Mapping[Store, bytes]
    computed: Mapping[Source, bytes | None]


@dataclass
class _Doubt:
    """What is open since the last size that was settled.

    Attributes:
        witness: its tree; None where the witness does not have all records.
        passed: the first signed checkpoints that settled nothing.
        passed_more: how many more there were.
        passed_last: size of the last of all.
    """

    witness: CompactRange | None
    passed: list[_Passed] = field(default_factory=list)
    passed_more: int = 0
    passed_last: int = 0

    def remember(self, passed: _Passed) -> None:
        """A checkpoint settled nothing."""
        self.passed_last = passed.size
        if len(self.passed) < _MOST_REMEMBERED:
            self.passed.append(passed)
        else:
            self.passed_more += 1


class Chain:
    """Feeds on leaves, and on checkpoints in ascending order of size.

    Args:
        index: holds the records of the ledger under Source.LEDGER, as far as they are known, and those of the witness.
        witness: the source that is asked where the cold store's records are not there or not right.
        journal: is told what does not fit.
        last_cold: size of the last checkpoint of the cold store.

    Attributes:
        contradicted: whether a signed root remained at the end that nothing leads to.
    """

    def __init__(self, index: SegmentIndex, witness: Source, journal: Journal, last_cold: int = 0) -> None:
        self._index = index
        self._witness = witness
        self._journal = journal
        self._last_cold = last_cold
        self.contradicted = False
        self._settled = CompactRange()
        self._tree: CompactRange | None = CompactRange()
        self._grown = 0
        self._doubt: _Doubt | None = None
        self._last_size = 0

    @property
    def size(self) -> int:
        """Segments of the ledger, as far as any checkpoint spoke of them."""
        return self._last_size

    @property
    def settled_size(self) -> int:
        """Segments whose records are known to be those that were signed."""
        return self._settled.size

    def grow(self, after: int, leaves: Hashes | None) -> None:
        """Take the leaves of the next records.

        Args:
            after: how many records there are with them.
            leaves: theirs; None where the cold store does not say them, so that the witness is asked.
        """
        if leaves is None:
            self._index.fill(Source.LEDGER, self._witness, self._grown, after)
            if self._tree is not None and not self._extended(self._tree, Source.LEDGER, after):
                self._tree = None
        elif self._tree is not None and len(leaves) <= _FEW:
            for leaf in leaves:
                self._tree.append(leaf.tobytes())
        elif self._tree is not None:
            self._tree.extend(leaves)
        self._grown = after

    def head(self, size: int, signed: Mapping[Store, bytes], frontier: Sequence[bytes] | None = None) -> None:
        """Take the checkpoints of one size, to which the tree was grown.

        Args:
            size: larger than any before.
            signed: the root, 32 bytes, that the key signed for this size, by store; none where there is none.
            frontier: nodes of the tree that lead to the root signed in the database.
        """
        self._last_size = size
        roots = set(signed.values())
        if self._doubt is None and self._tree is not None and len(roots) == 1 and self._tree.root() in roots:
            self._settle(self._tree)
            return
        if self._doubt is None:
            self._doubt = _Doubt(self._settled.copy())
        doubt = self._doubt
        if doubt.witness is not None and not self._extended(doubt.witness, self._witness, size):
            doubt.witness = None
        self._judge(doubt, size, signed, frontier)

    def undoubted(self, size: int) -> CompactRange | None:
        """The tree of the cold store's records, if it has this size and every signed root before followed from it."""
        tree = self._tree
        return tree if self._doubt is None and tree is not None and tree.size == size else None

    def settle(self, tree: CompactRange) -> None:
        """All that is signed for the size of the undoubted tree is its root."""
        self._last_size = tree.size
        self._settle(tree)

    def _settle(self, tree: CompactRange) -> None:
        self._journal.checked.segments += tree.size - self._settled.size
        self._settled = tree.copy()
        self._doubt = None

    def _extended(self, tree: CompactRange, source: Source, size: int) -> bool:
        """Append a source's records up to `size`; False where it does not have them all."""
        for record in self._index.between(source, tree.size, size):
            if record.seq != tree.size:
                return False
            tree.append(record.leaf_hash())
        return tree.size == size

    def _judge(self, doubt: _Doubt, size: int, signed: Mapping[Store, bytes], frontier: Sequence[bytes] | None) -> None:
        roots = set(signed.values())
        trees = {Source.LEDGER: self._tree, self._witness: doubt.witness}
        computed = {source: None if tree is None else tree.root() for source, tree in trees.items()}
        if len(roots) == 1:
            decides = size > self._last_cold or set(signed) != {Store.DATABASE}
            for source, root in computed.items():
                if root in roots and (decides or source is Source.LEDGER):
                    self._resolve(doubt, source, size)
                    return
            if frontier is not None and decides:
                self._resume(doubt, size, CompactRange.from_nodes(size, frontier))
                return
        if roots:
            doubt.remember(_Passed(size, dict(signed), computed))

    def _resolve(self, doubt: _Doubt, source: Source, size: int) -> None:
        """The records of `source` lead to what is signed: say what was wrong on the way."""
        first = self._settled.size
        if source is not Source.LEDGER:
            for seq, day in list(self._index.differing(source, Source.LEDGER, first, size)):
                self._journal.find(
                    Finding(
                        kind=Kind.SEGMENT_ALTERED,
                        day=day,
                        segment=seq,
                        message=f"{name_of(seq, day)} was altered in the cold store's tiles and "
                        f"entry bundle: its signature is for the record that {NAMES[source]}",
                    )
                )
            self._index.adopt(Source.LEDGER, source, first, size)
        for passed in doubt.passed:
            root = passed.computed[source]
            for store, other in passed.signed.items():
                if root is not None and other != root:
                    self._find_fork(
                        passed.size,
                        f"checkpoint {passed.size} in the {store} is signed over root {other.hex()}, but the ledger "
                        f"that later checkpoints extend has root {root.hex()} at this size: two ledgers were signed "
                        "with this key",
                    )
        tree = self._tree if source is Source.LEDGER else doubt.witness
        if tree is not None:
            self._tree = tree
            self._settle(tree)

    def _resume(self, doubt: _Doubt, size: int, tree: CompactRange) -> None:
        """No source has the records that were signed, but the tree over them is known: go on from there."""
        self._find_contradictions(doubt.passed)
        first = self._settled.size
        self._journal.find(
            Finding(
                kind=Kind.SEGMENT_ALTERED,
                segment=first,
                checkpoint=size,
                message=f"{_segments(first, size)} in neither store as checkpoint {size} was signed over them: at "
                "least one record was altered in both, or is gone",
            )
        )
        self._tree = tree
        self._settle(tree)

    def finish(self) -> None:
        """Say what remained open when there are no more checkpoints."""
        doubt = self._doubt
        if doubt is None:
            return
        if not doubt.passed:
            self._journal.note(
                Note(
                    kind=NoteKind.SEGMENTS_UNCONFIRMED,
                    segment=self._settled.size,
                    message=f"{_segments(self._settled.size, self._last_size)} known, but under no valid signature",
                )
            )
            return
        open_ones = self._find_contradictions(doubt.passed)
        if open_ones:
            self._find_unsettled(doubt, open_ones)

    def _find_contradictions(self, passed: Iterable[_Passed]) -> list[_Passed]:
        """Name the sizes for which two roots are signed; return the other checkpoints."""
        contradicting: list[_Passed] = []
        others: list[_Passed] = []
        for each in passed:
            (contradicting if len(set(each.signed.values())) > 1 else others).append(each)
        if contradicting:
            # What the database alone signed, over its own records, belongs to the same other ledger.
            others = [each for each in others if not self._is_of_the_database(each)]
            first, last = contradicting[0], contradicting[-1]
            roots = " and ".join(f"{root.hex()} in the {store}" for store, root in first.signed.items())
            more = "" if first is last else f"; so do {len(contradicting) - 1} more up to that of {last.size} records"
            self._find_fork(
                first.size, f"checkpoint {first.size} is signed over two roots, {roots}: two ledgers were signed{more}"
            )
        return others

    def _is_of_the_database(self, passed: _Passed) -> bool:
        return passed.signed == {Store.DATABASE: passed.computed[self._witness]}

    def _find_unsettled(self, doubt: _Doubt, passed: Sequence[_Passed]) -> None:
        """Name what is wrong where signed roots remain that no records lead to."""
        self.contradicted = True
        first = passed[0]
        (root,) = set(first.signed.values())
        ours, theirs = first.computed[Source.LEDGER], first.computed[self._witness]
        after = len(passed) - 1 + doubt.passed_more
        if ours is None:
            self._find_unverifiable(first.size, after + 1, doubt.passed_last)
            return
        if ours == theirs:
            self._find_fork(
                first.size,
                f"checkpoint {first.size} is signed over root {root.hex()}, but the records that the entry bundles "
                f"hold and {NAMES[self._witness]} lead to {ours.hex()}: another ledger was signed with this "
                "key",
            )
        else:
            start = self._settled.size
            self._journal.find(
                Finding(
                    kind=Kind.SEGMENT_ALTERED,
                    segment=start,
                    checkpoint=first.size,
                    message=f"{_segments(start, first.size)} not in the cold store as checkpoint {first.size} was "
                    f"signed over them: they lead to root {ours.hex()}, signed is {root.hex()}. A record was altered, "
                    "or (with the signing key) another ledger was signed",
                )
            )
        if after:
            self._find_unverifiable(passed[1].size if len(passed) > 1 else doubt.passed_last, after, doubt.passed_last)

    def _find_unverifiable(self, first: int, count: int, last: int) -> None:
        which = f"checkpoint {first} is" if count == 1 else f"{count} checkpoints, {first} to {last}, are"
        self._journal.find(
            Finding(
                kind=Kind.CHECKPOINT_UNVERIFIABLE,
                checkpoint=first,
                message=f"{which} validly signed, but cannot be recomputed: records before are missing or altered, so "
                "that nothing is known about the records since",
            )
        )

    def _find_fork(self, size: int, message: str) -> None:
        self._journal.find(Finding(kind=Kind.CHECKPOINT_FORKED, checkpoint=size, message=message))


def day_of(record: LedgerRecord) -> date | None:
    """The day of a segment; None of a statement."""
    return record.day if isinstance(record, Segment) else None


def name_of(seq: int, day: date | None) -> str:
    """How a record is called in a message."""
    return f"record {seq}, a statement of the ledger," if day is None else f"the record of segment {seq} of {day}"


def _segments(first: int, after: int) -> str:
    return f"segment {first} is" if after - first == 1 else f"segments {first} to {after - 1} are"
