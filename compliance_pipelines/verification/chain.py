"""The ledger rebuilt checkpoint by checkpoint, and what contradicts it.

Here: growing the tree by segment records, comparing it with every signed root, and naming what does not fit: records
that were altered, a checkpoint that forks. Not here: reading and judging a checkpoint by itself (checkpoints.py).

A checkpoint settles what lies before it when one root alone is signed for its size and some source's records lead to
it: no other records do (SHA-256). Where nothing settles, the records of each source are carried on apart, and the next
checkpoint that one of them leads to tells which was right and which checkpoints on the way were not. So one damage does
not hide the next. The database's frontier can settle a size, too, if it leads to the signed root: then it is known that
the records before are wrong, and those after can be judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from compliance_pipelines.ledger.publication import Publication
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.segment_index import SegmentIndex

_MOST_REMEMBERED: Final = 1_000


class Store(StrEnum):
    """Where a signed checkpoint stands."""

    COLD = "cold store"
    DATABASE = "database"


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
        trees: by source; None where the source does not have all records.
        passed: the first signed checkpoints that settled nothing.
        passed_more: how many more there were.
        passed_last: size of the last of all.
    """

    trees: dict[Source, CompactRange | None]
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


def _copy(tree: CompactRange) -> CompactRange:
    return CompactRange.from_nodes(tree.size, tree.nodes)


class Chain:
    """Feeds on checkpoints in ascending order of size.

    Args:
        index: gets the records of the ledger under Source.LEDGER; holds those of the witness.
        witness: the source that is asked where the cold store's records are not there or not right.
        journal: is told what does not fit.
    """

    def __init__(self, index: SegmentIndex, witness: Source, journal: Journal) -> None:
        self._index = index
        self._witness = witness
        self._journal = journal
        self._settled = CompactRange()
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

    def step(
        self,
        size: int,
        signed: Mapping[Store, bytes],
        publication: Publication | None,
        frontier: Sequence[bytes] | None = None,
    ) -> None:
        """Take the checkpoint of one size.

        Args:
            size: larger than any before.
            signed: the root, 32 bytes, that the key signed for this size, by store; none where there is none.
            publication: the cold store's object, where it can be read, whoever signed it.
            frontier: nodes of the tree that lead to the root signed in the database.
        """
        before, self._last_size = self._last_size, size
        if publication is not None and publication.previous_size > before:
            self._journal.find(_missing(publication, before))
        if self._doubt is None and self._settles_at_once(signed, publication):
            return
        self._take_records(size, publication, before)
        if self._doubt is None:
            self._doubt = _Doubt({source: _copy(self._settled) for source in (Source.LEDGER, self._witness)})
        self._grow(self._doubt, size, publication)
        self._judge(self._doubt, size, signed, frontier)

    def _settles_at_once(self, signed: Mapping[Store, bytes], publication: Publication | None) -> bool:
        """Whether nothing is wrong, which is the rule and has to be fast."""
        roots = set(signed.values())
        if publication is None or len(roots) != 1 or publication.previous_size != self._settled.size:
            return False
        tree = _copy(self._settled)
        for segment in publication.segments:
            tree.append(segment.leaf_hash())
        if tree.root() not in roots:
            return False
        self._index.add(Source.LEDGER, publication.segments)
        self._settle(tree)
        return True

    def _settle(self, tree: CompactRange) -> None:
        self._journal.checked.segments += tree.size - self._settled.size
        self._settled = tree
        self._doubt = None

    def _take_records(self, size: int, publication: Publication | None, before: int) -> None:
        """Put the records of this step into the index, those of the cold store first."""
        settled = self._settled.size
        if publication is None:
            self._index.fill(Source.LEDGER, self._witness, before, size)
            return
        self._index.fill(Source.LEDGER, self._witness, before, publication.previous_size)
        again = [segment for segment in publication.segments if segment.seq < settled]
        if again and list(self._index.between(Source.LEDGER, again[0].seq, settled)) != again:
            self._find_fork(
                size, f"checkpoint {size} in the cold store holds other records of segments that were sealed before it"
            )
        self._index.add(Source.LEDGER, publication.segments[len(again) :])

    def _grow(self, doubt: _Doubt, size: int, publication: Publication | None) -> None:
        ours = doubt.trees[Source.LEDGER]
        if ours is not None and publication is not None and publication.previous_size < ours.size:
            # The records before were another source's and have just been replaced.
            doubt.trees[Source.LEDGER] = _copy(self._settled)
        for source, tree in doubt.trees.items():
            if tree is not None and not self._grown(tree, source, size):
                doubt.trees[source] = None

    def _grown(self, tree: CompactRange, source: Source, size: int) -> bool:
        """Append a source's records up to `size`; False where it does not have them all."""
        for segment in self._index.between(source, tree.size, size):
            if segment.seq != tree.size:
                return False
            tree.append(segment.leaf_hash())
        return tree.size == size

    def _judge(self, doubt: _Doubt, size: int, signed: Mapping[Store, bytes], frontier: Sequence[bytes] | None) -> None:
        roots = set(signed.values())
        computed = {source: None if tree is None else tree.root() for source, tree in doubt.trees.items()}
        if len(roots) == 1:
            for source, root in computed.items():
                if root in roots:
                    self._resolve(doubt, source, size)
                    return
            if frontier is not None:
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
                        message=f"the record of segment {seq} of {day} was altered in the cold store's checkpoint "
                        f"object: its signature is for the record that {_NAMES[source]}",
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
        tree = doubt.trees[source]
        if tree is not None:
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
            first, last = contradicting[0], contradicting[-1]
            roots = " and ".join(f"{root.hex()} in the {store}" for store, root in first.signed.items())
            more = "" if first is last else f"; so do {len(contradicting) - 1} more up to that of {last.size} segments"
            self._find_fork(
                first.size, f"checkpoint {first.size} is signed over two roots, {roots}: two ledgers were signed{more}"
            )
        return others

    def _find_unsettled(self, doubt: _Doubt, passed: Sequence[_Passed]) -> None:
        """Name what is wrong where signed roots remain that no records lead to."""
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
                f"checkpoint {first.size} is signed over root {root.hex()}, but the records that the checkpoint "
                f"objects hold and {_NAMES[self._witness]} lead to {ours.hex()}: another ledger was signed with this "
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


_NAMES: Final = {
    Source.LEDGER: "the checkpoint objects hold",
    Source.DATABASE: "the database holds",
    Source.MANIFESTS: "the archive's manifests hold",
}


def _segments(first: int, after: int) -> str:
    return f"segment {first} is" if after - first == 1 else f"segments {first} to {after - 1} are"


def _missing(publication: Publication, before: int) -> Finding:
    known = f"the last one before is of {before} segments" if before else "there is none before"
    return Finding(
        kind=Kind.CHECKPOINT_MISSING,
        checkpoint=publication.previous_size,
        message=f"checkpoint {publication.previous_size} is missing from the cold store: the one of {publication.size} "
        f"segments follows it, and {known}",
    )
