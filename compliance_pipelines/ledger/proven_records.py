"""Whether the database's records since before some days are those of the signed ledger: all of them, unaltered.

Here: the one proof of it, for whoever archives, drops or verifies days. Not here: which roots are signed (anchor.py,
verification/anchor.py), what exactly was altered, which `compliance verify --all` says.

Nobody signs what a database says: its administrator may alter a row and the root of its segment, or remove both. So
the records of the database, from a checkpoint before the days' beginning to the newest signed one, must lead to the
root that is signed there. No other records do, none can be left out, and a frontier that was altered leads nowhere
(SHA-256). Before a day began none of its entries could be sealed, because no entry is later than its transaction by
more than minutes: a record that was sealed a day earlier, which the proof covers, marks where the proof may begin.

Entries may come late, years after their day, and their segment then stands anywhere after it. Nothing that is signed
says on which days a record is not. So every record since is read and hashed, however old the day: about 1.6
microseconds each. What lies before the days costs nothing. Memory: the segments of the days, and a batch.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger import store
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.merkle import FrontierError
from compliance_pipelines.ledger.packed_records import packed_records
from compliance_pipelines.ledger.records import MalformedRecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import sqlalchemy

    from compliance_pipelines.ledger.merkle import CompactRange, Hashes
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.ledger.segments import Segment

# More than the future that an entry may lie in, and than a clock is set back by.
_BEFORE_THE_DAY: Final = timedelta(days=1)


class NotProvenError(LedgerError):
    """The records of the database are not those of the signed ledger; the message says how one knows."""


@dataclass(frozen=True)
class ProvenRecords:
    """What is known of the signed ledger.

    Attributes:
        first: all records from this one on were looked at.
        size: records of the ledger.
        tx_horizon: `tx_to` of the last one.
        segments: those of the days, void ones included, in order.
        statements: those among the records that were looked at, void segments included, in order.
    """

    first: int
    size: int
    tx_horizon: int
    segments: tuple[Segment, ...]
    statements: tuple[LedgerRecord, ...]


def proven_records(
    connection: sqlalchemy.Connection,
    days: Collection[date],
    roots: Mapping[int, bytes],
    *,
    most: int | None = None,
    told: Callable[[int, int], None] = lambda _done, _of: None,
) -> ProvenRecords:
    """The records of the database from before the days on, if they lead to every one of the roots.

    Args:
        connection: to the database, of one snapshot where the records may change meanwhile.
        days: UTC days, the segments of which are wanted.
        roots: what is signed for the ledger of so many records, at least for one size; none is of size 0.
        most: where the proof begins at the latest.
        told: how many of how many records were looked at.

    Raises:
        NotProvenError: they do not, or one is missing or malformed.
    """
    size = max(roots)
    before = _before(days)
    latest = [min(roots) - 1, *([] if most is None else [most])]
    in_database = store.first_segment_of(connection, days)
    if in_database is not None:
        latest.append(in_database)
    head = _beginning(connection, before, max(0, min(latest)))
    segments: list[Segment] = []
    statements: list[LedgerRecord] = []
    horizon = head.tx_horizon
    try:
        tree = head.tree()
        for packed in packed_records(connection, head.size, size):
            if packed.first == head.size > 0 and packed.first_sealed_at() >= before:
                raise NotProvenError(f"record {head.size} is another one than a moment ago")
            segments += packed.of_days(days)
            statements += packed.statements
            horizon = packed.last_tx_to()
            _extend(tree, packed.leaves, roots)
            told(tree.size - head.size, size - head.size)
    except FrontierError as error:
        raise _leads_elsewhere(size, roots[size]) from error
    except MalformedRecordError as error:
        raise NotProvenError(str(error)) from error
    return ProvenRecords(head.size, size, horizon, tuple(segments), tuple(statements))


def _before(days: Collection[date]) -> datetime:
    """A moment at which no entry of the days could be sealed."""
    first = min(days, default=date.max)
    return datetime.combine(max(first, date.min + _BEFORE_THE_DAY), time(), UTC) - _BEFORE_THE_DAY


def _beginning(connection: sqlalchemy.Connection, before: datetime, latest: int) -> LedgerHead:
    """A head of the ledger from before the days began, as the database says it: what it leads to proves it."""
    sealed_before = bisect_left(
        range(latest + 1), 1, key=lambda seq: 0 if store.sealed_before(connection, seq, before) else 1
    )
    known = store.last_checkpoint_up_to(connection, sealed_before - 1) if sealed_before else None
    return LedgerHead() if known is None else known.head


def _extend(tree: CompactRange, leaves: Hashes, roots: Mapping[int, bytes]) -> None:
    """Let the tree grow, if it has the signed root at each size that one is signed for."""
    start = tree.size
    for stop in sorted({*(size for size in roots if start < size <= start + len(leaves)), start + len(leaves)}):
        tree.extend(leaves[tree.size - start : stop - start])
        if stop in roots and tree.root() != roots[stop]:
            raise _leads_elsewhere(stop, roots[stop])


def _leads_elsewhere(size: int, root: bytes) -> NotProvenError:
    return NotProvenError(f"they do not lead to the root {root.hex()} that is signed over {size} records")
