"""Bringing an archived day back into PostgreSQL, to be queried.

Here: loading parts into a working table, piece by piece, verified while loading; giving it its name; dropping such
tables. Not here: the tables themselves (restored_tables.py), COPY (postgres/copying.py), putting rows back into the hot
store, which nothing does.

A piece, some ten thousand rows, is a transaction of its own. So a restore holds no transaction open in front of sealing
and vacuum, and no lock on `audit_logs` but in its first moment; and a killed one goes on where it was. One session does
it all: whoever loses it loses the lock, and can load nothing more.

Not COPY's FREEZE, which needs the table to be made in the same transaction; and no unlogged table, which a crash of
PostgreSQL empties, and whose rows must all be written again to become durable.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.adoption import stored_day
from compliance_pipelines.archive.catalogue import ArchivedPart, parts_of_day, segments_of_part
from compliance_pipelines.archive.errors import RestoreError
from compliance_pipelines.archive.progress import Phase, Progress, silent
from compliance_pipelines.archive.readback import ColdArchive, PartDamagedError, check_part
from compliance_pipelines.archive.restored_tables import (
    LoadRecord,
    checked_name,
    comment_of,
    default_table,
    drop_table,
    make_working_table,
    record,
    record_of,
    refusals_as_restore_errors,
    refuse_if_not_ours,
    restored_tables,
    swap_in,
    working_table,
    working_tables,
)
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.archive.self_audit import audit_log, restore_entry
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.audit_log.entry_batches import JSONB_COLUMNS
from compliance_pipelines.audit_log.reading import open_snapshot
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.postgres.copying import CopyTarget, copy_in
from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.postgres.locks import BRIEF, bound_waits, process_lock
from compliance_pipelines.postgres.replica import replica_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import pyarrow as pa
    import sqlalchemy

    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services

_LOCK_NAME: Final = "restore"
_DROPPING: Final = "dropping restored tables"
_PIECE_ROWS: Final = 32_768
_BATCHES_AHEAD: Final = 2


class RestoreStep(StrEnum):
    """What has just been done when the step hook is called, in order; the pieces' two as often as there are pieces."""

    TABLE_MADE = "table_made"
    PIECE_COPIED = "piece_copied"
    PIECE_COMMITTED = "piece_committed"
    LOADED = "loaded"
    READ_BACK = "read_back"
    SWAPPED = "swapped"
    RECORDED = "recorded"
    COMMITTED = "committed"


class StepHook(Protocol):
    """Called after each step, from whatever thread did it; whatever it raises undoes what was not committed."""

    def __call__(self, step: RestoreStep, /) -> None:
        """`step` is done."""


def no_hook(step: RestoreStep, /) -> None:
    """Let every step pass."""


@dataclass(frozen=True)
class RestoreResult:
    """A restored day: the table with its schema, the parts loaded, rows in it, seconds taken.

    Attributes:
        resumed_entries: how many of the rows an earlier run had loaded, which was interrupted.
    """

    day: date
    table: str
    parts: tuple[int, ...]
    entry_count: int
    resumed_entries: int
    seconds: float


def restore_day(
    services: Services,
    day: date,
    into: str | None = None,
    *,
    progress: Progress = silent,
    hook: StepHook = no_hook,
) -> RestoreResult:
    """Load every part of a day into a table of the schema `audit_restored`, exactly as the rows were.

    The rows come into a working table, which gets the name when every root was recomputed: a table of that name is
    replaced then, and stays as it was where a part turns out to be damaged. A run that was interrupted is continued;
    what it had loaded is read back from the table and compared with the ledger. Rows stream; a day of any size fits in
    memory.

    Args:
        services: the opened services.
        day: the UTC day.
        into: name of the table; None is :func:`default_table`.
        progress: told of rows loaded, and of those read back.
        hook: called after each step.

    Raises:
        LedgerError: the key, the database and the cold store do not belong together.
        RestoreError: nothing of the day is in the cold store any more, the table cannot be made, or what an earlier run
            had loaded is not what was sealed: then the working table is dropped.
        PartDamagedError: a part is not what was committed; nothing is left of what was loaded.
        ObjectStoreError: the store failed; the next run goes on.
        LockBusyError: another process restores into the same table, or somebody reads the one that is to be replaced.
        TransientError: the connection was lost; the next run goes on.
    """
    started = monotonic()
    table = checked_name(default_table(day) if into is None else into)
    doing = f"the restore of {day} into {sql.RESTORED_SCHEMA}.{table}"
    with (
        passing_errors_as_transient(doing, services.engine),
        refusals_as_restore_errors(table),
        services.engine.connect() as connection,
        process_lock(connection, _LOCK_NAME, working_table(table), doing=doing),
    ):
        restoring = _Restoring(services, connection, day, table, progress, hook)
        parts, resumed = restoring.run()
    return RestoreResult(
        day,
        f"{sql.RESTORED_SCHEMA}.{table}",
        tuple(part.part for part in parts),
        sum(part.entry_count for part in parts),
        resumed,
        monotonic() - started,
    )


@dataclass(frozen=True)
class RestorableDay:
    """What a restore would load: the parts, rows and bytes of their objects, all of them read and verified.

    Attributes:
        unrecorded: parts that are committed in the cold store and not in the catalogue, so that they were not read.
    """

    day: date
    parts: tuple[int, ...]
    entry_count: int
    object_bytes: int
    unrecorded: tuple[int, ...] = ()


def rehearse_restore(services: Services, day: date, *, progress: Progress = silent) -> RestorableDay:
    """Read every part of a day from the cold store and verify it as a restore does; nothing is loaded or recorded.

    It only reads, and so also works on a replica, whose catalogue may be older than the cold store's.

    Args:
        services: the opened services.
        day: the UTC day.
        progress: told of rows read.

    Raises:
        LedgerError: the key, the database and the cold store do not belong together.
        RestoreError: nothing of the day is in the cold store any more, as the catalogue has it.
        PartDamagedError: a part is not what was committed.
        ObjectStoreError: the store failed.
        TransientError: the connection was lost.
    """
    with passing_errors_as_transient(f"the dry run of the restore of {day}", services.engine):
        with services.engine.connect() as connection:
            check_identity(services, connection)
            parts = _parts_to_rehearse(connection, day)
            segments = {part.part: segments_of_part(connection, part) for part in parts}
        archive = ColdArchive.of(services)
        for part in parts:
            check_part(archive, part, segments[part.part], progress=progress).raise_if_damaged()
        unrecorded = tuple(key.part for key in stored_day(services.store, day, parts).committed)
    return RestorableDay(
        day,
        tuple(part.part for part in parts),
        sum(part.entry_count for part in parts),
        sum(part.object_bytes for part in parts),
        unrecorded,
    )


def _parts_to_rehearse(connection: sqlalchemy.Connection, day: date) -> list[ArchivedPart]:
    try:
        return restorable_parts(connection, day)
    except RestoreError as error:
        replica = replica_state(connection)
        if replica is None:
            raise
        raise RestoreError(
            f"{error}; that is what a replica knows, and its primary may know more: {replica.in_words()}"
        ) from error


def restorable_parts(connection: sqlalchemy.Connection, day: date) -> list[ArchivedPart]:
    """Every part of a day, as the catalogue has them.

    Raises:
        RestoreError: there is none, or one expired.
    """
    parts = parts_of_day(connection, day)
    if not parts:
        raise RestoreError(f"{day} has no archive: its entries, if there are any, are in PostgreSQL (audit_logs)")
    expired = [part for part in parts if part.expired_at is not None]
    if expired:
        numbers = ", ".join(str(part.part) for part in expired)
        raise RestoreError(f"{day} cannot be restored: its part {numbers} expired and is no longer in the cold store")
    return parts


@dataclass
class _Restoring:
    """One restore of one day, under the lock of its table; the connection is the one that holds the lock."""

    services: Services
    connection: sqlalchemy.Connection
    day: date
    table: str
    progress: Progress
    hook: StepHook
    segments: dict[int, list[Segment]] = field(default_factory=dict)
    was_there: bool = False

    def run(self) -> tuple[list[ArchivedPart], int]:
        """Restore.

        Returns:
            The parts, and how many of their rows an earlier run had loaded.
        """
        parts, found = self._begin()
        self.hook(RestoreStep.TABLE_MADE)
        try:
            self._load(parts, found)
            self.hook(RestoreStep.LOADED)
            if self.was_there:
                self._read_back(parts)
                self.hook(RestoreStep.READ_BACK)
        except (PartDamagedError, RestoreError):
            self._discard()
            raise
        self._swap(parts)
        self.hook(RestoreStep.COMMITTED)
        return parts, found.rows

    def _begin(self) -> tuple[list[ArchivedPart], LoadRecord]:
        """See what there is to load and what of it is in; make the working table where there is none."""
        with self.connection.begin():
            self._limit_waits()
            check_identity(self.services, self.connection)
            parts = restorable_parts(self.connection, self.day)
            self.segments = {part.part: segments_of_part(self.connection, part) for part in parts}
            refuse_if_not_ours(self.connection, self.table)
            objects = tuple(part.object_sha256 for part in parts)
            found = record_of(self.connection, self.table)
            self.was_there = found is not None and found.continues_in(objects)
            if found is None or not self.was_there:
                found = LoadRecord(self.table, objects, 0)
                make_working_table(self.connection, found)
        return parts, replace(found, objects=objects)

    def _limit_waits(self) -> None:
        bound_waits(self.connection, BRIEF)

    def _load(self, parts: Sequence[ArchivedPart], found: LoadRecord) -> None:
        """Read every part and load what is not in yet."""

        def tell(phase: Phase, rows: int, total_rows: int) -> None:
            del phase
            self.progress(Phase.RESTORE, rows, total_rows)

        archive = ColdArchive.of(self.services)
        with ThreadPoolExecutor(1, thread_name_prefix="restore-loader") as executor:
            pieces = _Pieces(self, found, executor)
            for part in parts:
                check_part(
                    archive, part, self.segments[part.part], on_batch=pieces.take, progress=tell
                ).raise_if_damaged()
            pieces.finish()

    def load_piece(self, piece: pa.RecordBatch, then: LoadRecord) -> None:
        """Load rows and record that they are in, in one transaction."""
        target = CopyTarget((sql.RESTORED_SCHEMA, working_table(self.table)), ENTRY_SCHEMA, JSONB_COLUMNS)
        with self.connection.begin():
            self._limit_waits()
            copied = copy_in(self.connection, target, [piece])
            if copied != piece.num_rows:
                raise RestoreError(
                    f"{self.day} was not restored: PostgreSQL took {copied} rows of {piece.num_rows}; a trigger or a "
                    f"rule on the table is in the way"
                )
            record(self.connection, then)
            self.hook(RestoreStep.PIECE_COPIED)
        self.hook(RestoreStep.PIECE_COMMITTED)

    def _read_back(self, parts: Sequence[ArchivedPart]) -> None:
        """Compare the whole table with the ledger: what another run loaded was out of sight for a while."""
        rows = SealedRows([segment for part in parts for segment in self.segments[part.part]])
        expected = sum(part.entry_count for part in parts)
        table = (sql.RESTORED_SCHEMA, working_table(self.table))
        with (
            open_snapshot(self.services.engine) as snapshot,
            snapshot.rows(day=None, table=table) as source,
            run_ahead(source, depth=_BATCHES_AHEAD, name="restore-reader") as batches,
        ):
            for batch in batches:
                rows.feed(batch)
                self.progress(Phase.COMPARE, rows.rows, expected)
        differences = rows.differences()
        if differences:
            raise RestoreError(
                f"{self.day} was not restored: what an interrupted run had loaded is not what was sealed "
                f"({'; '.join(difference.message for difference in differences)}), so somebody changed it. It was "
                f"dropped; run it again"
            )

    def _discard(self) -> None:
        with self.connection.begin():
            self._limit_waits()
            drop_table(self.connection, working_table(self.table))

    def _swap(self, parts: Sequence[ArchivedPart]) -> None:
        """Give the table its name and put the restore on record, in one transaction."""
        qualified = f"{sql.RESTORED_SCHEMA}.{self.table}"
        with self.connection.begin():
            self._limit_waits()
            swap_in(self.connection, self.table, comment_of(self.day, parts))
            self.hook(RestoreStep.SWAPPED)
            audit_log(self.services).append_within(
                self.connection, restore_entry(self.services, self.day, parts, table=qualified)
            )
            self.hook(RestoreStep.RECORDED)


class _Pieces:
    """Cuts rows into pieces and has each loaded in another thread while the next one is read and hashed."""

    def __init__(self, restoring: _Restoring, found: LoadRecord, executor: ThreadPoolExecutor) -> None:
        self._restoring = restoring
        self._executor = executor
        self._in = found
        self._passed = 0
        self._loading: Future[None] | None = None

    def take(self, batch: pa.RecordBatch) -> None:
        """Take the next rows; those that are in already pass."""
        known = min(max(self._in.rows - self._passed, 0), batch.num_rows)
        self._passed += known
        for start in range(known, batch.num_rows, _PIECE_ROWS):
            piece = batch.slice(start, _PIECE_ROWS)
            self.finish()
            self._passed += piece.num_rows
            self._in = replace(self._in, rows=self._passed)
            self._loading = self._executor.submit(self._restoring.load_piece, piece, self._in)

    def finish(self) -> None:
        """Wait for the piece that is being loaded.

        Raises:
            Exception: what loading it raised.
        """
        if self._loading is not None:
            self._loading.result()
            self._loading = None


def drop_restored(services: Services, table: str | None = None) -> tuple[str, ...]:
    """Drop one restored table, or all of them, and what interrupted restores have left of them.

    Returns:
        the names of those that were dropped, working tables among them, without their schema.

    Raises:
        RestoreError: there is no restored table of that name, or it belongs to somebody else.
        LockBusyError: a restore into it is under way, or somebody reads it.
        TransientError: the connection was lost.
    """
    with (
        passing_errors_as_transient(_DROPPING, services.engine),
        services.engine.connect() as connection,
        ExitStack() as locks,
    ):
        with connection.begin():
            present, working = restored_tables(connection), working_tables(connection)
        wanted = present + working if table is None else [table, working_table(table)]
        dropped = [name for name in wanted if name in {*present, *working}]
        if table is not None and not dropped:
            raise RestoreError(f"there is no restored table {table!r}; there are: {', '.join(present) or 'none'}")
        for name in sorted({name if name in working else working_table(name) for name in dropped}):
            locks.enter_context(process_lock(connection, _LOCK_NAME, name, doing=_DROPPING))
        with connection.begin():
            bound_waits(connection, BRIEF)
            for name in dropped:
                drop_table(connection, name)
    return tuple(dropped)
