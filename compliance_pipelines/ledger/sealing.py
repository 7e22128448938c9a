"""Sealing: entries become segments, segments become leaves of the ledger, its head is signed and published.

Here: one pass, from the lock to the publication. Not here: the tree, the note, the objects in the cold store.

A pass takes the entries between the last horizon and the oldest transaction that is still running, so that an entry
whose transaction holds a low id and commits late is left for a later pass and never skipped. Entries that break a rule
of the table are put into quarantine, on record, and stop no others.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy.exc import IntegrityError

from compliance_pipelines.audit_log import quarantine
from compliance_pipelines.audit_log.appending import start_of
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.audit_log.sequence import SequenceWentBack, sequence_went_back
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.anchor import check_anchor, publish_pending
from compliance_pipelines.ledger.checkpoint import Checkpoint, sign_checkpoint
from compliance_pipelines.ledger.clusters import check_cluster
from compliance_pipelines.ledger.hashing import SegmentHasher
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.signing import signers_of_checkpoint
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.postgres.errors import LockBusyError, LockStuckError
from compliance_pipelines.postgres.locks import SEALING_LOCK, process_lock
from compliance_pipelines.postgres.open_transactions import (
    PreparedTransaction,
    SessionsTransaction,
    prepared_transactions,
    sessions_transactions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.ledger.checkpoint import Signer
    from compliance_pipelines.ledger.head import LedgerHead
    from compliance_pipelines.ledger.log_reading import LogHead
    from compliance_pipelines.services import Services


# A pass that hashes for long says so in the session with the lock, far more often than anybody asks.
_SIGN_OF_LIFE_SECONDS: Final = 30.0


class TransactionIdsWentBackError(ComplianceError):
    """The oldest running transaction is older than what was sealed already."""


class SealedRowsChangedError(ComplianceError):
    """Entries appeared or disappeared while they were being sealed; only a superuser can do that."""


class SegmentsInTheWayError(ComplianceError):
    """The database holds segment records or a checkpoint that this pass did not know of; nothing was sealed."""


class SealStep(StrEnum):
    """What has just been done when the step hook is called.

    A pass begins with the publications of one that was interrupted, if there was one. Then: each day hashed; segments
    and checkpoint inserted; committed; put into the cold store, in four steps of which the third is that of a new UTC
    day only; recorded as published.
    """

    HASHED = "hashed"
    INSERTED = "inserted"
    COMMITTED = "committed"
    TILES_PUT = "tiles put"
    PARTIAL_TILES_REMOVED = "partial tiles removed"
    DAY_KEPT = "day kept"
    CHECKPOINT_PUT = "checkpoint put"
    PUBLISHED = "published"
    PUBLICATION_RECORDED = "publication recorded"


@dataclass(frozen=True)
class SealResult:
    """What one pass did.

    Attributes:
        segments: the new records, in order.
        checkpoint: the new tree head; None where there was nothing to seal.
        published: sizes of the checkpoints put into the cold store, those of an interrupted pass included.
        more: the pass was cut at its bound, so that entries are left for the next one.
        busy: another process was sealing, so that this one did nothing.
        busy_with: who that is, in brackets, for the end of a message.
        held_back: transactions that have been open for longer than LEDGER_SEAL_MAX_LAG_SECONDS: whatever was committed
            after they had begun is left for a later pass.
        quarantined: the entries that break a rule and were therefore not sealed, by day.
        sequence: says that new entries repeat ids; None where they do not.
    """

    segments: tuple[Segment, ...] = ()
    checkpoint: Checkpoint | None = None
    published: tuple[int, ...] = ()
    more: bool = False
    busy: bool = False
    quarantined: tuple[quarantine.Quarantined, ...] = ()
    sequence: SequenceWentBack | None = None
    busy_with: str = field(default="", compare=False)
    held_back: tuple[PreparedTransaction | SessionsTransaction, ...] = field(default=(), compare=False)

    @property
    def entries(self) -> int:
        """Entries sealed by this pass."""
        return sum(segment.entry_count for segment in self.segments)


class _Range(NamedTuple):
    tx_from: int
    tx_to: int


@dataclass(frozen=True)
class _Work:
    """What one pass takes: the entries of a range of transaction ids, by day, at the database's time."""

    span: _Range
    entries_per_day: Mapping[date, int]
    more: bool
    now: datetime
    quarantined: tuple[quarantine.Quarantined, ...]
    sequence: SequenceWentBack | None
    held_back: tuple[PreparedTransaction | SessionsTransaction, ...]


def _no_step(_name: str) -> None:
    pass


def seal(services: Services, *, max_entries: int | None = None, step: Callable[[str], None] = _no_step) -> SealResult:
    """Seal what was committed since the last pass. Killed at any moment, the next pass heals what is half done.

    Args:
        services: the opened services.
        max_entries: bound on the entries of this pass, which only a single larger transaction exceeds; default:
            LEDGER_SEAL_MAX_ENTRIES.
        step: called with each :class:`SealStep` that is done, for tests that interrupt.

    Raises:
        LockStuckError: the lock is held, and nothing was done under it for LEDGER_SEAL_MAX_BUSY_SECONDS.
        ClusterChangedError: the database was restored into another cluster.
        TransactionIdsWentBackError: its transaction ids are lower than they were.
        LedgerError: the cold store and the database do not tell the same story, or the settings do not have the key
            that signs for the ledger.
        SealedRowsChangedError: rows came or went while they were hashed.
        SegmentsInTheWayError: somebody wrote segment records beside the sealing.
        ObjectStoreError: the cold store failed; a checkpoint that was committed is published by the next pass.
        ReadingError: the entries could not be read.
        UnreadableRowsError: the database refuses to return them.
    """
    most = services.settings.ledger_seal_max_entries if max_entries is None else max_entries
    with services.engine.connect() as connection, ExitStack() as stack:
        stuck_after = timedelta(seconds=services.settings.ledger_seal_max_busy_seconds)
        try:
            stack.enter_context(process_lock(connection, SEALING_LOCK, doing="sealing", stuck_after=stuck_after))
        except LockBusyError as busy:
            if busy.unknown_holder:
                _refuse_long_silence(connection, stuck_after, busy)
            return SealResult(busy=True, busy_with=busy.held_by)
        with connection.begin():
            check_cluster(connection)
            check_identity(services, connection)
            anchored = check_anchor(services, connection)
        healed = publish_pending(services, connection, anchored, step)
        with connection.begin():
            work = _work(services, connection, healed.log, most)
        if not work.entries_per_day:
            return SealResult(
                published=healed.sizes,
                quarantined=work.quarantined,
                sequence=work.sequence,
                held_back=work.held_back,
            )
        first_seq = healed.head.size
        signers = signers_of_checkpoint(
            services.keys.signers, healed.log.chain(services.verifier_key), first_seq + 1, work.now
        )
        segments = _hash_days(services, connection, work, first_seq=first_seq, step=step)
        checkpoint = _insert(connection, healed.head.extended(segments), segments, signers, step)
        step(SealStep.COMMITTED)
        published = publish_pending(services, connection, healed.log, step)
    return SealResult(
        tuple(segments),
        checkpoint,
        (*healed.sizes, *published.sizes),
        more=work.more,
        quarantined=work.quarantined,
        sequence=work.sequence,
        held_back=work.held_back,
    )


def _refuse_long_silence(connection: sqlalchemy.Connection, bound: timedelta, busy: LockBusyError) -> None:
    """Whether a holder is at work that the login may not look at is told by what gets sealed.

    Raises:
        LockStuckError: nothing did, for longer than a bound.
    """
    with connection.begin():
        lag = sealing_lag(connection, connection.execute(sql.HORIZON).one().now)
    if lag is not None and lag > bound:
        raise LockStuckError(
            f"{busy}: meanwhile the oldest unsealed entry has waited for {lag.total_seconds():.0f} s. What the holder "
            "does may be seen by a login with pg_monitor only: if it is idle, end it by pg_terminate_backend"
        ) from busy


def _work(services: Services, connection: sqlalchemy.Connection, log: LogHead, most: int) -> _Work:
    """The entries from the last horizon on, cut between two transactions where they are too many."""
    tx_from = log.head.tx_horizon
    horizon = connection.execute(sql.HORIZON).one()
    if horizon.horizon < tx_from:
        raise TransactionIdsWentBackError(
            f"the oldest running transaction is {horizon.horizon}, but entries were sealed up to {tx_from}: the "
            "database was restored or its transaction counter was reset; find out which, then run "
            "`compliance ledger adopt-cluster`"
        )
    span = _Range(tx_from, horizon.horizon)
    quarantined = quarantine_broken(services, connection, span.tx_from, span.tx_to)
    per_day = _entries_per_day(connection, span)
    waiting = sum(per_day.values())
    if waiting > most:
        bounds = {"since": start_of(min(per_day)), "until": start_of(max(per_day) + timedelta(days=1))}
        span = _Range(tx_from, connection.execute(sql.CUT, {**span._asdict(), **bounds, "entries": most}).scalar_one())
        per_day = _entries_per_day(connection, span)
    return _Work(
        span,
        per_day,
        more=waiting > sum(per_day.values()),
        # A clock that was set back must not bring back a day whose last checkpoint is kept already.
        now=horizon.now if log.last is None else max(horizon.now, log.last.sealed_at),
        quarantined=quarantined,
        sequence=sequence_went_back(connection),
        held_back=_held_back(services, connection),
    )


def _held_back(
    services: Services, connection: sqlalchemy.Connection
) -> tuple[PreparedTransaction | SessionsTransaction, ...]:
    """What has been open for longer than the lag that is in order, as far as the login may see since when."""
    most = timedelta(seconds=services.settings.ledger_seal_max_lag_seconds)
    sessions = sessions_transactions(connection, longer_than=most)
    return (
        *prepared_transactions(connection, longer_than=most),
        *(each for each in sessions if each.since is not None),
    )


def quarantine_broken(
    services: Services, connection: sqlalchemy.Connection, tx_from: int, tx_to: int
) -> tuple[quarantine.Quarantined, ...]:
    """Put aside what breaks a rule, each day with an entry that says so; the next pass seals these entries."""
    found = quarantine.quarantine_broken(connection, tx_from, tx_to)
    log = AuditLog(services.engine, first_day=services.settings.audit_log_first_day)
    for day in found:
        entry = system_entry(
            services.settings.audit_log_actor,
            action=quarantine.ACTION,
            resource_type="audit_day",
            resource_id=day.day,
            result="success",
            metadata={"entries": day.entries, "reasons": list(day.reasons), "ids": list(day.ids)},
        )
        log.append_within(connection, entry)
    return found


def _entries_per_day(connection: sqlalchemy.Connection, span: _Range) -> dict[date, int]:
    """How many entries of the range each day has, in the order of the days."""
    return {row.day: row.entries for row in connection.execute(sql.UNSEALED_PER_DAY, span._asdict())}


def _hash_days(
    services: Services,
    connection: sqlalchemy.Connection,
    work: _Work,
    *,
    first_seq: int,
    step: Callable[[str], None],
) -> list[Segment]:
    segments = []
    said = monotonic()
    for seq, (day, expected) in enumerate(work.entries_per_day.items(), first_seq):
        hasher = SegmentHasher([work.span])
        with (
            read_rows(
                services.engine, day=day, tx_from=work.span.tx_from, tx_to=work.span.tx_to, about=expected
            ) as rows,
            run_ahead(rows, depth=2, name="sealing-reader") as batches,
        ):
            for batch in batches:
                hasher.feed(batch)
                if monotonic() - said > _SIGN_OF_LIFE_SECONDS:
                    said = monotonic()
                    with connection.begin():
                        connection.execute(sql.SIGN_OF_LIFE)
        hashed = hasher.result(0)
        if hashed.entry_count != expected:
            raise SealedRowsChangedError(
                f"{day}: {expected} committed entries were to be sealed, {hashed.entry_count} were read: entries of "
                "this range appeared or disappeared meanwhile, which no application can do; find out who did"
            )
        segments.append(
            Segment(
                seq=seq,
                day=day,
                tx_from=work.span.tx_from,
                tx_to=work.span.tx_to,
                first_id=hashed.first_id,
                last_id=hashed.last_id,
                entry_count=hashed.entry_count,
                root=hashed.root,
                sealed_at=work.now,
            )
        )
        step(SealStep.HASHED)
    return segments


def sign_head(signers: Sequence[Signer], head: LedgerHead, now: datetime) -> tuple[Checkpoint, store.StoredCheckpoint]:
    """Sign a head; what the database is to hold of it is the second."""
    checkpoint = Checkpoint(origin=signers[0].name, size=head.size, root=head.root)
    return checkpoint, store.StoredCheckpoint(
        size=head.size,
        root=checkpoint.root,
        tx_horizon=head.tx_horizon,
        frontier=head.frontier,
        note=sign_checkpoint(checkpoint, *signers),
        signed_at=now,
    )


def _insert(
    connection: sqlalchemy.Connection,
    head: LedgerHead,
    segments: Sequence[Segment],
    signers: Sequence[Signer],
    step: Callable[[str], None],
) -> Checkpoint:
    """Sign the head and commit it with its segments."""
    checkpoint, stored = sign_head(signers, head, segments[0].sealed_at)
    try:
        with connection.begin():
            store.insert(connection, segments, stored)
            step(SealStep.INSERTED)
    except IntegrityError as error:
        raise SegmentsInTheWayError(
            f"segment {segments[0].seq} cannot be recorded: {' '.join(str(error.orig).split())}; if another process "
            "sealed meanwhile (the connection that holds the lock was lost), run it again; else somebody wrote to the "
            "ledger's tables: find out who did, and run `compliance verify --all`"
        ) from error
    return checkpoint
