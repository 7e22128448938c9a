"""The ledger of the database against that of the cold store.

Here: every checkpoint of both stores, every segment record, and what each store lacks. Not here: how the tree is
rebuilt (walk.py), entries.

The checkpoints of the cold store are read first, then the database in one snapshot: a checkpoint is committed there
before it is put into the cold store, so that one that the snapshot does not know says that the database was set back.
What is sealed meanwhile is left for the next verification.

A replica is not told from a database that was set back by what it holds: both are an earlier state. So what a replica
lacks is never taken for looked at, and what contradicts the signed ledger is a finding on a replica as anywhere.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from compliance_pipelines.base.counting import counted
from compliance_pipelines.ledger import store as ledger_store
from compliance_pipelines.ledger.checkpoint import Checkpoint
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, refuse_former_format
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.tiles import WIDTH
from compliance_pipelines.verification import sql
from compliance_pipelines.verification.chain import name_of
from compliance_pipelines.verification.checkpoints import (
    ColdHeads,
    DatabaseCheckpoint,
    Store,
    judged,
    read_cold_heads,
)
from compliance_pipelines.verification.expiries import StatedExpiries, accept_expiries
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind, Undecided
from compliance_pipelines.verification.key_records import check_key_records
from compliance_pipelines.verification.losses import accept_losses, check_places
from compliance_pipelines.verification.progress import Stage
from compliance_pipelines.verification.runs import CheckpointRuns
from compliance_pipelines.verification.segment_index import Source
from compliance_pipelines.verification.signed_rows import signed_rows, text_of
from compliance_pipelines.verification.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import sqlalchemy

    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.outside import OutsideView
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex

_ROWS_AT_ONCE: Final = 10_000


@dataclass(frozen=True)
class KnownLedger:
    """The ledger that entries are compared with.

    Attributes:
        size: how many segments of it the database must have; on a replica that is behind, those that it has.
        tx_horizon: every entry with a smaller transaction id must be in one of them.
        on_replica: whether the database is a replica, which may know of a change in the cold store later.
        expiries: what it states about parts that expired.
    """

    size: int
    tx_horizon: int
    on_replica: bool = False
    expiries: StatedExpiries = field(default_factory=StatedExpiries)


@contextmanager
def ledger_snapshot(services: Services) -> Iterator[sqlalchemy.Connection]:
    """A connection that sees the ledger's tables at one moment and cannot write."""
    with services.engine.connect() as connection:
        # Not the option postgresql_readonly: the pool undoes it by asking for READ WRITE, which a replica refuses.
        connection.execution_options(isolation_level="REPEATABLE READ").execute(sql.READ_ONLY)
        yield connection


@dataclass(frozen=True)
class _Round:
    """What is said about one size: by the cold store, by the database, and where the database says it was put.

    Of the database's it may be known that the key in charge alone signed it.
    """

    size: int
    cold: Mapping[Store, bytes] | None
    stored: StoredCheckpoint | None
    plainly_signed: bool
    published_key: str | None


_T = TypeVar("_T")


class _Ascending(Generic[_T]):
    """A stream in ascending order of size, with a look at its first item."""

    def __init__(self, items: Iterator[tuple[int, _T]]) -> None:
        self._items = items
        self._first = next(items, None)

    @property
    def size(self) -> int | None:
        """The size of the first item; None at the end."""
        return None if self._first is None else self._first[0]

    def pop(self, size: int) -> _T | None:
        """The first item, if it is of this size."""
        if self._first is None or self._first[0] != size:
            return None
        item = self._first[1]
        self._first = next(self._items, None)
        return item


def _rounds(
    cold: Iterator[tuple[int, Mapping[Store, bytes]]],
    stored: Iterator[tuple[int, tuple[StoredCheckpoint, bool]]],
    published: Iterator[tuple[int, str]],
) -> Iterator[_Round]:
    """The three streams side by side."""
    cold_ones, stored_ones, published_ones = _Ascending(cold), _Ascending(stored), _Ascending(published)
    streams = (cold_ones, stored_ones, published_ones)
    while sizes := [stream.size for stream in streams if stream.size is not None]:
        size = min(sizes)
        row, plainly_signed = stored_ones.pop(size) or (None, False)
        yield _Round(size, cold_ones.pop(size), row, plainly_signed, published_ones.pop(size))


class _Comparison:
    """One pass over all checkpoints."""

    def __init__(  # noqa: PLR0913 - what one comparison needs
        self,
        services: Services,
        connection: sqlalchemy.Connection,
        heads: ColdHeads,
        keys: KeyChain,
        *,
        index: SegmentIndex,
        malformed: Collection[int],
        journal: Journal,
        progress: Progress,
    ) -> None:
        self._malformed = malformed
        self._services = services
        self._on_replica = journal.replica is not None
        self._keys = keys
        self._heads = heads
        self._index = index
        self._journal = journal
        self._runs = CheckpointRuns(journal)
        self._walk = Walk(
            services.store, heads, index=index, witness=Source.DATABASE, journal=journal, progress=progress
        )
        last = ledger_store.last_checkpoint(connection)
        self.last_stored = 0 if last is None else last.size
        self._last_published = ledger_store.last_published_size(connection) or 0
        self._unknown: list[int] = []
        self._ends: dict[int, int] = {}

    def take(self, each: _Round) -> None:
        """Compare what is said about one size, and let the chain have it."""
        if not self._takes_as_signed(each):
            self._take(each)
        self._runs.next_size()
        self._journal.checked.checkpoints += 1

    def _takes_as_signed(self, each: _Round) -> bool:
        """Take a row that is, byte for byte, what follows from the records and the key in charge signed.

        Nearly all are. Any other, for whatever reason, is compared by the steps that say what is wrong.
        """
        stored = each.stored
        if (
            stored is None
            or not each.plainly_signed
            or each.cold is not None
            or each.size > self._walk.log_size
            or each.published_key not in {None, CHECKPOINT_KEY}
        ):
            return False
        tree = self._walk.undoubted(each.size)
        if tree is None or self._end_of(each.size - 1) != stored.tx_horizon:
            return False
        root = tree.root()
        if (stored.root, stored.frontier) != (root, b"".join(tree.nodes)) or text_of(stored.note) != Checkpoint(
            self._keys.name, each.size, root
        ).to_text():
            return False
        self._walk.settle(tree)
        return True

    def _end_of(self, seq: int) -> int | None:
        """Where a segment of the ledger ends; None where it is none, or not known."""
        if seq not in self._ends:
            self._ends = self._index.ends(Source.LEDGER, seq, seq + WIDTH)
        return self._ends.get(seq)

    def _take(self, each: _Round) -> None:
        # What is found here may change which records are the ledger's.
        self._ends.clear()
        if each.size > self.last_stored and each.cold is not None:
            self._unknown = [*self._unknown[:1], each.size]
        row = None if each.stored is None else judged(each.stored, self._keys, self._heads.notes)
        if row is not None:
            self._report_row(row)
        self._report_publication(each, row)
        self._grow(each, row)

    def _report_row(self, row: DatabaseCheckpoint) -> None:
        for number, problem in enumerate(row.problems):
            self._runs.add(problem.kind, f"{Store.DATABASE} {number}", row.size, problem.message)

    def _report_publication(self, each: _Round, row: DatabaseCheckpoint | None) -> None:
        """What one store says and the other does not."""
        size = each.size
        if each.published_key not in {None, CHECKPOINT_KEY}:
            message = (
                f"checkpoint {size} in the database was altered: it was put to {CHECKPOINT_KEY}, not "
                f"{each.published_key}"
            )
            self._runs.add(Kind.CHECKPOINT_ALTERED, "publication", size, message)
        if size > self._walk.log_size:
            signed = row is not None and row.signed is not None
            if each.published_key is not None or (signed and size <= self._last_published):
                self._report_rolled_back(size)
            elif signed:
                message = f"checkpoint {size} is not in the cold store yet; the next `compliance seal` puts it there"
                self._journal.note(Note(kind=NoteKind.CHECKPOINT_UNPUBLISHED, checkpoint=size, message=message))
        if row is None and size <= self.last_stored:
            message = f"checkpoint {size}, which was published, is missing from the database"
            self._runs.add(Kind.CHECKPOINT_MISSING, Store.DATABASE, size, message)

    def _report_rolled_back(self, size: int) -> None:
        if not self._walk.log_size and not self._heads.present:
            message = f"checkpoint {size} was published, and the cold store has none ({CHECKPOINT_KEY})"
            self._runs.add(Kind.CHECKPOINT_MISSING, Store.COLD, size, message, CHECKPOINT_KEY)
        else:
            message = (
                f"checkpoint {size} was published, and the ledger in the cold store ends at {self._walk.log_size} "
                "records: it was put back to an older state, or cut off"
            )
            self._runs.add(Kind.LEDGER_ROLLED_BACK, Store.COLD, size, message, CHECKPOINT_KEY)

    def _grow(self, each: _Round, row: DatabaseCheckpoint | None) -> None:
        signed = dict(each.cold or {})
        if row is not None and row.signed is not None:
            signed[Store.DATABASE] = row.signed.root
        self._walk.head(each.size, signed, None if row is None else row.nodes)
        if row is not None and self._walk.settled_size == each.size:
            self._check_horizon(row)

    def _check_horizon(self, row: DatabaseCheckpoint) -> None:
        """The horizon is not in what is signed, but follows from it: it is the end of the last record."""
        record = self._index.one(Source.LEDGER, row.size - 1)
        if record is not None and record.tx_to != row.stored.tx_horizon:
            self._runs.add(
                Kind.CHECKPOINT_ALTERED,
                "horizon",
                row.size,
                f"checkpoint {row.size} in the database was altered: its horizon is {row.stored.tx_horizon}, and its "
                f"last record ends at {record.tx_to}",
            )

    def finish(self) -> KnownLedger:
        """Compare the segment records of both stores when all checkpoints are through."""
        self._runs.finish()
        self._walk.finish()
        size = self._walk.size
        if self._on_replica:
            if self._unknown:
                self._tell_lag(self._unknown[-1])
            size = min(size, self.last_stored)
        elif self._unknown:
            self._journal.find(
                Finding(
                    kind=Kind.DATABASE_ROLLED_BACK,
                    checkpoint=self._unknown[0],
                    message=f"the cold store holds checkpoints up to that of {self._unknown[-1]} records, and the "
                    f"database ends at {self.last_stored}: it was restored to an older state, or another database "
                    "seals into this store",
                )
            )
        self._compare_segments(size)
        check_key_records(
            self._services.store,
            self._keys,
            self._heads.notes,
            size=self._walk.log_size,
            index=self._index,
            roots=self._walk.roots_before_keys,
            journal=self._journal,
        )
        voids = accept_losses(self._index, self._walk.settled_size, self._journal)
        with self._services.engine.connect() as connection:
            check_places(connection, voids, min(size, self.last_stored, self._walk.settled_size), self._journal)
        last = next(self._index.between(Source.LEDGER, size - 1, size), None)
        years = self._services.settings.audit_cold_storage_retention_years
        expiries = accept_expiries(self._index, self._walk.settled_size, years, self._journal)
        return KnownLedger(size, 0 if last is None else last.tx_to, self._on_replica, expiries)

    def _tell_lag(self, size: int) -> None:
        """Say what the replica lacks up to the newest signed size, unless it has replayed that meanwhile."""
        replica = self._journal.replica
        with self._services.engine.connect() as connection:
            if replica is None or ledger_store.checkpoint_of_size(connection, size) is not None:
                return
        lacking = Counter[date]()
        for record in self._index.between(Source.LEDGER, self.last_stored, size):
            if isinstance(record, Segment):
                lacking[record.day] += record.entry_count
        behind, entries = size - self.last_stored, lacking.total()
        self._journal.replica = replace(replica, segments_behind=behind, entries_behind=entries)
        lag = counted(behind, "record")
        days = f", with {entries:,} sealed entries of {min(lacking)} to {max(lacking)}" if lacking else ""
        message = (
            f"the replica is {lag} behind the newest checkpoint of the cold store ({self.last_stored:,} of "
            f"{size:,}{days}): what it lacks was not compared. Run it again when the replica has caught up, or on the "
            "primary"
        )
        self._journal.cannot_tell(Undecided(message))

    def _compare_segments(self, size: int) -> None:
        stored = min(size, self.last_stored)
        for seq, day in self._index.differing(Source.LEDGER, Source.DATABASE, 0, size):
            message = f"{name_of(seq, day)} in the database was altered: another one was signed"
            self._journal.find(Finding(kind=Kind.SEGMENT_ALTERED, day=day, segment=seq, message=message))
        for seq in sorted(self._malformed):
            message = f"{name_of(seq, None)} in the database was altered: its bytes are those of no record"
            self._journal.find(Finding(kind=Kind.SEGMENT_ALTERED, segment=seq, message=message))
        for seq, day in self._index.only_in(Source.LEDGER, Source.DATABASE, 0, stored):
            if seq in self._malformed:
                continue
            message = f"{name_of(seq, day)} is missing from the database"
            self._journal.find(Finding(kind=Kind.SEGMENT_MISSING, day=day, segment=seq, message=message))
        for seq, day in self._index.only_in(Source.DATABASE, Source.LEDGER, size, 2**63 - 1):
            message = f"{name_of(seq, day)} was inserted into the database: no checkpoint covers it"
            self._journal.find(Finding(kind=Kind.SEGMENT_INSERTED, day=day, segment=seq, message=message))


def check_ledger(  # noqa: PLR0913 - what one comparison needs
    services: Services,
    keys: KeyChain,
    index: SegmentIndex,
    *,
    journal: Journal,
    progress: Progress,
    outside: OutsideView,
) -> KnownLedger:
    """Compare all checkpoints and records of both stores; the index gets the ledger that was signed.

    Args:
        services: the opened services.
        keys: those of the ledger.
        index: gets the records.
        journal: is told what is wrong.
        progress: told of records and checkpoints read.
        outside: gets the checkpoints of the cold store.

    Raises:
        FormerFormatError: the cold store is of format 1.
        ObjectStoreError: the store cannot be listed.
        sqlalchemy.exc.DBAPIError: the database failed.
    """
    refuse_former_format(services.store)
    heads = read_cold_heads(services.store, keys, journal, outside)
    with ledger_snapshot(services) as connection:
        malformed: set[int] = set()
        records = ledger_store.records(connection, malformed=malformed.add)
        index.add(Source.DATABASE, _told(records, progress))
        comparison = _Comparison(
            services, connection, heads, keys, index=index, malformed=malformed, journal=journal, progress=progress
        )
        published = _publications(connection, comparison.last_stored)
        with closing(signed_rows(ledger_store.checkpoints(connection), keys)) as rows:
            stored = ((row[0].size, row) for row in rows)
            for each in _rounds(heads.roots(), stored, published):
                comparison.take(each)
                progress(Stage.CHECKPOINTS, journal.checked.checkpoints, None)
    return comparison.finish()


def _publications(connection: sqlalchemy.Connection, last: int) -> Iterator[tuple[int, str]]:
    rows = connection.execute(sql.PUBLICATIONS_UP_TO, {"last": last}, execution_options={"yield_per": _ROWS_AT_ONCE})
    for row in rows:
        yield row.size, row.object_key


def _told(records: Iterator[LedgerRecord], progress: Progress) -> Iterator[LedgerRecord]:
    for count, record in enumerate(records, start=1):
        if count % _ROWS_AT_ONCE == 0:
            progress(Stage.SEGMENTS, count, None)
        yield record
