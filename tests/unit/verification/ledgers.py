"""Ledgers made up for the tests of this package: records, checkpoints over them, and what a store holds of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.verification.chain import Chain
from compliance_pipelines.verification.checkpoints import Store
from compliance_pipelines.verification.findings import Journal
from compliance_pipelines.verification.segment_index import SegmentIndex, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.verification.findings import Report

FIRST_DAY: Final = date(2026, 7, 1)


def record(seq: int, *, variant: int = 0) -> Segment:
    """A segment record; another variant has another root."""
    return Segment(
        seq=seq,
        day=FIRST_DAY + timedelta(days=seq % 3),
        tx_from=1000 + 10 * seq,
        tx_to=1010 + 10 * seq,
        first_id=1 + 100 * seq,
        last_id=10 + 100 * seq,
        entry_count=10,
        root=hashlib.sha256(f"{seq} {variant}".encode()).digest(),
        sealed_at=datetime(2026, 7, 2, tzinfo=UTC) + timedelta(minutes=seq),
    )


def leaves_of(records: Sequence[Segment]) -> Hashes:
    """The leaves of records."""
    return np.frombuffer(b"".join(each.leaf_hash() for each in records), dtype=np.uint8).reshape(-1, 32)


def tree_of(records: Sequence[Segment]) -> CompactRange:
    """The tree over records."""
    tree = CompactRange()
    for each in records:
        tree.append(each.leaf_hash())
    return tree


@dataclass
class Ledger:
    """What the stores hold; a test changes it before it lets the chain have it.

    Attributes:
        records: what the cold store holds of the records since the checkpoint before, by size; None where nothing.
        roots: the signed roots by size and store.
        witness: the records that the witness has.
        frontiers: nodes that the database has, by size.
    """

    records: dict[int, list[Segment] | None]
    roots: dict[int, dict[Store, bytes]]
    witness: list[Segment]
    frontiers: dict[int, list[bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, steps: Sequence[int], *, database: bool = False) -> Ledger:
        """A ledger whose checkpoints add so many records each, which the witness has, too."""
        size, roots, frontiers = 0, {}, {}
        records: dict[int, list[Segment] | None] = {}
        for added in steps:
            before, size = size, size + added
            tree = tree_of([record(seq) for seq in range(size)])
            records[size] = [record(seq) for seq in range(before, size)]
            stores = (Store.COLD, Store.DATABASE) if database else (Store.COLD,)
            roots[size] = dict.fromkeys(stores, tree.root())
            if database:
                frontiers[size] = tree.nodes
        return cls(records, roots, [record(seq) for seq in range(size)], frontiers)

    @property
    def sizes(self) -> list[int]:
        """The sizes of all checkpoints."""
        return sorted(self.roots)

    def alter(self, seq: int) -> int:
        """Change a record in the cold store; returns the size of the checkpoint that covers it."""
        for size, records in self.records.items():
            if seq < size:
                assert records is not None
                records[seq - size] = record(seq, variant=1)
                return size
        raise AssertionError

    def alter_witness(self, seq: int) -> None:
        """Change a record that the witness has."""
        self.witness[seq] = record(seq, variant=2)

    def forget(self, size: int) -> None:
        """Take the records before a checkpoint, and the checkpoint, out of the cold store."""
        self.records[size] = None
        self.roots[size].pop(Store.COLD)

    def fork(self, size: int, store: Store = Store.COLD) -> None:
        """Let another root be signed."""
        self.roots[size][store] = hashlib.sha256(b"fork").digest()

    def unsign(self, size: int) -> None:
        """Let nobody have signed a checkpoint."""
        self.roots[size].clear()

    def judged(self, witness: Source = Source.MANIFESTS) -> tuple[Report, list[Segment], int]:
        """What the chain says; the records that it takes for the ledger's; how many of them are settled."""
        journal = Journal()
        with SegmentIndex.open(None) as index:
            index.add(witness, self.witness)
            chain = Chain(index, witness, journal)
            for size in self.sizes:
                records = self.records.get(size)
                if records is not None:
                    index.add(Source.LEDGER, records)
                chain.grow(size, None if records is None else leaves_of(records))
                chain.head(size, self.roots[size], self.frontiers.get(size))
            chain.finish()
            return (
                journal.report(),
                [each for each in index.between(Source.LEDGER, 0, 2**62) if isinstance(each, Segment)],
                chain.settled_size,
            )
