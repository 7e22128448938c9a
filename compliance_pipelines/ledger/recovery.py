"""Going on with a database that lacks what was published, after a failover or a restore to an earlier moment.

Here: the order of the steps, each of which may be the last before a kill. Not here: what the database lacks (gap.py),
which entries it still has (survivors.py), the form of what is said about it (losses.py).

1. Transaction ids and ids are raised above all that were used, with writers locked out for a moment.
2. What committed parts hold, and PostgreSQL lacks, is put back; or left in the cold store alone, where the database was
   lost and is made anew (archive/rebuilding.py).
3. The entries in the ranges of published segments are hashed: each segment is intact, or lost.
4. In one transaction: the published records and checkpoints that the database lacked; new segments of what stands in
   the ranges of lost ones; the statement about the loss, which voids these; an audit entry; the checkpoint over all.
5. What a pass left in the cold store, that nobody knows any more, is taken away, and the checkpoint is published.

Whoever is killed before 4 is committed has changed nothing of the ledger, and the next recovery begins again; after it,
the next recovery, or the next sealing pass, publishes. What was signed before stays as it is: the new records come
after everything that was published, so that no other root is signed for a size of before.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import OperationalError, ProgrammingError

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.anchor import publish_pending
from compliance_pipelines.ledger.clusters import (
    ClusterNotAdoptedError,
    check_cluster,
    entries_in_no_segment,
    lock_out_writers,
    raise_transaction_ids,
    writers_at_work,
)
from compliance_pipelines.ledger.gap import Gap, read_gap
from compliance_pipelines.ledger.leftovers import leftovers, remove_leftovers
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.ledger.losses import MOST_RANGES, Loss, ranges_of
from compliance_pipelines.ledger.publication import objects_of
from compliance_pipelines.ledger.records import Statement, StatementKind
from compliance_pipelines.ledger.sealing import quarantine_broken, sign_head
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.signing import signers_of_checkpoint
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.ledger.survivors import ReturningEntries, Survey, new_segments, survey
from compliance_pipelines.postgres.errors import is_busy
from compliance_pipelines.postgres.locks import SEALING_LOCK, process_lock
from compliance_pipelines.postgres.replica import in_recovery, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import JsonValue, UndatedEntry
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.ledger.survivors import ArchivedEntries
    from compliance_pipelines.ledger.tiles import Tile
    from compliance_pipelines.services import Services

ACTION: Final = "ledger.recover"
_MOST_NAMED: Final = 100


class RecoveryRefusedError(ComplianceError):
    """The recovery was refused; the ledger is as it was."""


class RecoveryStep(StrEnum):
    """What has just been done when the step hook is called, in order; then come the steps of a publication."""

    IDS_RAISED = "ids raised"
    PUT_BACK = "put back"
    SURVEYED = "surveyed"
    INSERTED = "inserted"
    COMMITTED = "committed"
    LEFTOVERS_REMOVED = "leftovers removed"


@dataclass(frozen=True)
class Recovery:
    """What a recovery did, or would do.

    Attributes:
        known: how many records of the ledger the database had.
        published: how many the cold store has.
        survey: which segments are intact, archived, lost.
        segments: the new segments, of what stands in ranges of transaction ids that were sealed before.
        leftovers: keys of the objects that no checkpoint covers and nobody knows any more.
        size: records of the ledger afterwards; None where nothing was put on record.
        tx_offset: what is added to transaction ids from now on; None where they had not to be raised.
        finished: sizes of the checkpoints that were published.
        entries_in_no_segment: up to twenty entries that were written in another cluster before this, under transaction
            ids below those of what is lost; they are in no segment, and `compliance verify` will go on naming them.
    """

    known: int
    published: int
    survey: Survey = field(default_factory=Survey)
    segments: tuple[Segment, ...] = ()
    leftovers: tuple[str, ...] = ()
    size: int | None = None
    tx_offset: int | None = None
    finished: tuple[int, ...] = ()
    entries_in_no_segment: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether there is, or was, anything to recover."""
        return self.known < self.published or bool(self.leftovers)

    @property
    def entries_sealed(self) -> int:
        """Entries that were sealed in the segments that are lost."""
        return sum(lost.segment.entry_count for lost in self.survey.lost)

    @property
    def entries_found(self) -> int:
        """Entries that stand in their ranges of transaction ids now."""
        return sum(lost.found for lost in self.survey.lost)


def _no_step(_name: str) -> None:
    pass


def rehearse_recovery(services: Services, archives: ArchivedEntries) -> Recovery:
    """What a recovery would find now; nothing is changed. On a replica: what it would lose if it were promoted now.

    Raises:
        LedgerError: the two ledgers cannot be brought together.
        ComplianceError: as of :func:`recover`, without what concerns changes.
    """
    with services.engine.connect() as connection:
        with connection.begin():
            check_identity(services, connection)
            gap = read_gap(services, connection)
        found = survey(services, connection, gap, archives)
        left = tuple(tile.key for tile in _leftovers(services, connection, gap))
    return Recovery(gap.known.size, gap.log.head.size, found, leftovers=left)


def recover(  # noqa: PLR0913 - two logins, what is to be put on record, and who is told
    services: Services,
    owner: sqlalchemy.Engine,
    archives: ArchivedEntries,
    *,
    author: str,
    reason: str,
    step: Callable[[str], None] = _no_step,
) -> Recovery:
    """Go on with this database in the ledger of the cold store. Killed at any moment, the next call goes on.

    Args:
        services: the opened services.
        owner: connects as a login that may become audit_owner (AUDIT_LOG_MIGRATION_DATABASE_URL).
        archives: what the cold store's parts hold.
        author: who accepts the loss; see :class:`~.losses.Loss`.
        reason: why.
        step: called with each :class:`RecoveryStep` and each step of the publication that is done.

    Raises:
        InvalidLossError: author or reason cannot be put on record.
        RecoveryRefusedError: the two logins are of two databases, or the second one has not the rights, or an archived
            segment's entries cannot be put back.
        ClusterNotAdoptedError: a writer did not let go of the audit log.
        LedgerForkError: the database's ledger is not the beginning of that in the cold store.
        SigningKeyNotInChargeError: the settings do not have the key that signs for the ledger.
        LedgerError: the cold store was altered or put back itself.
        LockBusyError: another process seals or recovers.
        ReadOnlyReplicaError: the database is a replica: promote it first.
        ComplianceError: whatever `archives` raises.
        ObjectStoreError: the store failed; the next call goes on.
    """
    Loss((), 0, 0, author, reason)
    stuck_after = timedelta(seconds=services.settings.ledger_seal_max_busy_seconds)
    with (
        services.engine.connect() as connection,
        process_lock(connection, SEALING_LOCK, doing="the recovery", stuck_after=stuck_after),
    ):
        with connection.begin():
            if in_recovery(connection):
                raise refusal("`compliance ledger recover`")
            check_identity(services, connection)
            gap = read_gap(services, connection)
        refuse_other_owner(connection, owner)
        recovering = _Recovering(services, owner, connection, gap, author, reason, step)
        return recovering.run(archives) if gap.records else recovering.clear_leftovers()


def refuse_other_owner(connection: sqlalchemy.Connection, owner: sqlalchemy.Engine) -> None:
    """See beforehand that the second login is of the same database, and may do what it is for.

    Raises:
        RecoveryRefusedError: it is not, or may not.
    """
    with connection.begin(), owner.begin() as other:
        if connection.execute(sql.WHICH_DATABASE).one() != other.execute(sql.WHICH_DATABASE).one():
            raise RecoveryRefusedError(
                "AUDIT_LOG_DATABASE_URL and AUDIT_LOG_MIGRATION_DATABASE_URL lead to two databases: set both to the "
                "one that is to be recovered"
            )
        try:
            other.execute(sql.BECOME_OWNER)
        except ProgrammingError as error:
            raise RecoveryRefusedError(
                "the login of AUDIT_LOG_MIGRATION_DATABASE_URL cannot become audit_owner "
                f"({' '.join(str(error.orig).split())}): give one that is a member of that role"
            ) from error


def _leftovers(services: Services, connection: sqlalchemy.Connection, gap: Gap) -> list[Tile]:
    """What is beyond the checkpoint of the cold store, and not what the database is about to put there."""
    with connection.begin():
        expected = objects_of(gap.log, _pending(connection, gap))
    return leftovers(services.store, gap.log.head.size, expected)


def _pending(connection: sqlalchemy.Connection, gap: Gap) -> list[list[LedgerRecord]]:
    """The records of each checkpoint that waits to be published."""
    start, passes = gap.log.head.size, []
    for checkpoint in store.unpublished_checkpoints(connection):
        if checkpoint.size > start:
            passes.append(store.records_between(connection, start, checkpoint.size))
            start = checkpoint.size
    return passes


@contextmanager
def _named_writers(owner: sqlalchemy.Engine) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if is_busy(error):
            raise ClusterNotAdoptedError(writers_at_work(owner)) from error
        raise


@dataclass
class _Recovering:
    """One recovery, under the lock of sealing; the connection is the one that holds the lock."""

    services: Services
    owner: sqlalchemy.Engine
    connection: sqlalchemy.Connection
    gap: Gap
    author: str
    reason: str
    step: Callable[[str], None]

    def run(self, archives: ArchivedEntries) -> Recovery:
        """Recover."""
        tx_offset, in_no_segment = self._raise_ids()
        self.step(RecoveryStep.IDS_RAISED)
        self._quarantine()
        found = self._survey(archives)
        self.step(RecoveryStep.SURVEYED)
        left = _leftovers(self.services, self.connection, self.gap)
        segments, size = self._insert(found, archives, left, tx_offset)
        self.step(RecoveryStep.COMMITTED)
        return Recovery(
            known=self.gap.known.size,
            published=self.gap.log.head.size,
            survey=found,
            segments=tuple(segments),
            leftovers=tuple(tile.key for tile in left),
            size=size,
            tx_offset=tx_offset,
            finished=self._publish(left),
            entries_in_no_segment=in_no_segment,
        )

    def clear_leftovers(self) -> Recovery:
        """Take away what stands in front of the next publication, where the database lacks nothing; and publish."""
        with self.connection.begin():
            check_cluster(self.connection)
            pending = bool(_pending(self.connection, self.gap))
        left = _leftovers(self.services, self.connection, self.gap)
        if left:
            AuditLog(self.services.engine, first_day=self.services.settings.audit_log_first_day).append(
                self._entry({"leftovers": _named(left)})
            )
        size = self.gap.log.head.size
        finished = self._publish(left) if left or pending else ()
        keys = tuple(tile.key for tile in left)
        return Recovery(self.gap.known.size, size, leftovers=keys, finished=finished)

    def _raise_ids(self) -> tuple[int | None, tuple[str, ...]]:
        """See that no entry gets a transaction id or an id that was used; the entries of before are not changed.

        Returns:
            What is added to transaction ids from now on, and entries that no segment will hold.
        """
        horizon = self.gap.log.head.tx_horizon
        last_id = max((record.last_id for record in self.gap.records if isinstance(record, Segment)), default=0)
        with _named_writers(self.owner), self.owner.begin() as owner:
            clusters = owner.execute(sql.CLUSTER).one()
            behind = clusters.running != clusters.adopted or owner.execute(sql.HORIZON).one().horizon < horizon
            if not behind and owner.execute(sql.LAST_ID_GIVEN).scalar_one() >= last_id:
                return None, ()
            lock_out_writers(owner)
            owner.execute(sql.RAISE_IDS, {"last": last_id})
            unsealed = entries_in_no_segment(owner, self.gap.known.tx_horizon)
            return (raise_transaction_ids(owner, horizon) if behind else None), unsealed

    def _quarantine(self) -> None:
        with self.connection.begin():
            quarantine_broken(self.services, self.connection, self.gap.known.tx_horizon, self.gap.log.head.tx_horizon)

    def _survey(self, archives: ArchivedEntries) -> Survey:
        """Judge every segment, and bring back what is in archives alone."""
        found = survey(self.services, self.connection, self.gap, archives)
        if not found.archived or not isinstance(archives, ReturningEntries):
            return found
        by_day: dict[object, set[Segment]] = {}
        for segment in found.archived:
            by_day.setdefault(segment.day, set()).add(segment)
        for segments in by_day.values():
            archives.put_back(self.owner, next(iter(segments)).day, segments)
            self.step(RecoveryStep.PUT_BACK)
        again = survey(self.services, self.connection, self.gap, archives)
        if again.archived:
            first = again.archived[0]
            raise RecoveryRefusedError(
                f"segment {first.seq} of {first.day} is in a committed part of the cold store, and other entries stand "
                f"in its transaction ids {first.tx_from} to {first.tx_to} in PostgreSQL: they were written under ids "
                "that were used. Append them again under new ids, have the database's administrator remove these rows, "
                "and run it again"
            )
        return again.after_return(set(found.archived))

    def _insert(
        self, found: Survey, archives: ArchivedEntries, left: Sequence[Tile], tx_offset: int | None
    ) -> tuple[list[Segment], int]:
        """Everything that the database is to know from now on, in one transaction."""
        log = self.gap.log
        with self.owner.begin() as owner:
            owner.execute(sql.BECOME_OWNER)
            now = owner.execute(sql.HORIZON).one().now
            if log.last is not None:
                now = max(now, log.last.sealed_at)
            segments = new_segments(found, log.head.size, now)
            statements = self._statements(found, log.head.size + len(segments), now)
            head = log.head.extended([*segments, *statements])
            chain = log.chain(self.services.verifier_key)
            signers = signers_of_checkpoint(self.services.keys.signers, chain, head.size, now)
            store.withdraw(owner, found.withdrawn)
            standing = {segment.seq for segment in [*found.intact, *found.archived]}
            store.insert_records(owner, [record for record in self.gap.records if record.seq in standing])
            store.insert_statements(owner, [record for record in self.gap.records if record.seq not in standing])
            for checkpoint in self.gap.checkpoints:
                store.insert_published(owner, checkpoint, CHECKPOINT_KEY)
            store.insert(owner, [*segments, *statements], sign_head(signers, head, now)[1])
            log_of_entries = AuditLog(self.services.engine, first_day=self.services.settings.audit_log_first_day)
            particulars = {
                **self._particulars(found, segments, head.size, tx_offset),
                **archives.record(owner, found),
            }
            log_of_entries.append_within(owner, self._entry({**particulars, "leftovers": _named(left)}))
            self.step(RecoveryStep.INSERTED)
        return segments, head.size

    def _statements(self, found: Survey, first_seq: int, now: datetime) -> list[Statement]:
        """The statement about the loss; several where it has more ranges than fit into one."""
        lost = {each.segment.seq: each for each in found.lost}
        every = ranges_of(sorted(lost))
        chunks = [every[start : start + MOST_RANGES] for start in range(0, max(1, len(every)), MOST_RANGES)]
        statements = []
        for seq, ranges in enumerate(chunks, first_seq):
            of_chunk = [each for seq_lost, each in lost.items() if any(a <= seq_lost < b for a, b in ranges)]
            loss = Loss(
                ranges=tuple(ranges),
                entries=sum(each.segment.entry_count for each in of_chunk),
                found=sum(each.found for each in of_chunk),
                author=self.author,
                reason=self.reason,
            )
            horizon = self.gap.log.head.tx_horizon
            statements.append(Statement(seq, StatementKind.LOSS, horizon, now, loss.to_body()))
        return statements

    def _particulars(
        self, found: Survey, segments: Sequence[Segment], size: int, tx_offset: int | None
    ) -> dict[str, JsonValue]:
        lost = [each.segment for each in found.lost]
        days = sorted({segment.day.isoformat() for segment in lost})
        return {
            "records_known": self.gap.known.size,
            "records_published": self.gap.log.head.size,
            "records_now": size,
            "segments_intact": len(found.intact),
            "segments_lost": len(lost),
            "segments_made": len(segments),
            "entries_sealed_in_lost": sum(segment.entry_count for segment in lost),
            "entries_found_in_lost": sum(each.found for each in found.lost),
            "lost_ranges": [list(each) for each in ranges_of([segment.seq for segment in lost])[:_MOST_NAMED]],
            "lost_days": [*days[:_MOST_NAMED]],
            "first_lost_id": min((segment.first_id for segment in lost), default=None),
            "last_lost_id": max((segment.last_id for segment in lost), default=None),
            "first_lost_sealed_at": min((segment.sealed_at.isoformat() for segment in lost), default=None),
            "last_lost_sealed_at": max((segment.sealed_at.isoformat() for segment in lost), default=None),
            "tx_offset": tx_offset,
        }

    def _entry(self, particulars: dict[str, JsonValue]) -> UndatedEntry:
        return system_entry(
            self.services.settings.audit_log_actor,
            action=ACTION,
            resource_type="ledger",
            resource_id=self.services.verifier_key.name,
            result="success",
            metadata={"author": self.author, "reason": self.reason, **particulars},
        )

    def _publish(self, left: Sequence[Tile]) -> tuple[int, ...]:
        remove_leftovers(self.services.store, self.gap.log.head.size, left)
        self.step(RecoveryStep.LEFTOVERS_REMOVED)
        return publish_pending(self.services, self.connection, self.gap.log, self.step).sizes


def _named(left: Sequence[Tile]) -> list[JsonValue]:
    return [tile.key for tile in left[:_MOST_NAMED]]
