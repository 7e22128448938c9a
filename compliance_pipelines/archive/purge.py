"""Removing a day from PostgreSQL after proving that the cold store has it.

Here: what must hold before rows are dropped, and the one transaction that drops them. Whoever destroys verifies in its
own body and stops when it cannot tell; nothing that another run found out is believed. Not here: reading parts
(readback.py), the partitions themselves (audit_log/partitions.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

import psycopg.errors
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.catalogue import (
    ArchivedPart,
    archive_due_at,
    day_bounds,
    parts_of_day,
    purge_due_at,
    segments_of_day,
)
from compliance_pipelines.archive.errors import PurgeRefusedError
from compliance_pipelines.archive.locking import LOCK_NAME
from compliance_pipelines.archive.progress import Phase, Progress, silent
from compliance_pipelines.archive.readback import ColdArchive, check_part, read_manifest
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.archive.self_audit import audit_log, purge_entry
from compliance_pipelines.audit_log.partitions import drop_empty_months
from compliance_pipelines.audit_log.quarantine import quarantined_on
from compliance_pipelines.audit_log.reading import RowVersions, open_snapshot
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.holds import lock_holds
from compliance_pipelines.holds.audit_days import hold_on_audit_day
from compliance_pipelines.ledger.anchored import check_anchored
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.postgres.agreed_time import agreed_time
from compliance_pipelines.postgres.errors import LockBusyError, passing_errors_as_transient
from compliance_pipelines.postgres.locks import BRIEF, bound_waits, retry_while_busy, transaction_lock
from compliance_pipelines.pseudonyms import subjects_from_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime
    from uuid import UUID

    import sqlalchemy

    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services

_BATCHES_AHEAD: Final = 2


class PurgeStep(StrEnum):
    """What has just been done, in order, when the step hook is called; LOCKED to RECORDED are in one transaction."""

    ARCHIVES_READ = "archives_read"
    COMPARED = "compared"
    LOCKED = "locked"
    CHECKED = "checked"
    DROPPED = "dropped"
    RECORDED = "recorded"
    COMMITTED = "committed"


class StepHook(Protocol):
    """Called after each step; whatever it raises undoes what was not committed."""

    def __call__(self, step: PurgeStep, /) -> None:
        """`step` is done."""


def no_hook(step: PurgeStep, /) -> None:
    """Let every step pass."""


@dataclass(frozen=True)
class PurgeResult:
    """What a purge removed; nothing where every part had been purged before.

    Attributes:
        parts: numbers of the parts whose rows left PostgreSQL.
        entry_count: rows removed.
        hot_bytes: bytes of table and indexes that they took.
        months_dropped: month tables that had become empty.
        seconds: how long it took.
    """

    day: date
    parts: tuple[int, ...]
    entry_count: int
    hot_bytes: int
    months_dropped: int
    seconds: float


def purge_day(
    services: Services,
    day: date,
    *,
    progress: Progress = silent,
    hook: StepHook = no_hook,
    sleep: Callable[[float], None] = time.sleep,
) -> PurgeResult:
    """Drop the hot rows of a day whose parts are whole in the cold store and hold exactly these rows.

    A day can be purged several times: late entries come as further parts.

    Args:
        services: the opened services; the clock decides whether the day is due.
        day: the UTC day.
        progress: told of rows read.
        hook: called after each step.
        sleep: waits between attempts to get the table's locks, in seconds.

    Raises:
        LedgerError: the store is not the database's, or its segments are not those of the signed ledger.
        ClocksDisagreeError: worker, database and store do not agree on the time.
        RowsHiddenError: PostgreSQL may not show every row.
        PurgeRefusedError: not due, not verified, something differs, or something cannot be told. Nothing was dropped.
        PartDamagedError: a part is not what was committed. Nothing was dropped.
        ObjectStoreError: the store failed. Nothing was dropped.
        LockBusyError: live traffic was in the way each time.
        TransientError: the day changed meanwhile, or the connection was lost. If it was lost at the commit, the next
            run sees whether the day is purged.
    """
    return _Purging(services, day, progress, hook).run(sleep)


def _named(store_id: UUID | None) -> str:
    return "a store that nobody named" if store_id is None else f"store {store_id}"


class _Purging:
    """One purge of one day."""

    def __init__(self, services: Services, day: date, progress: Progress, hook: StepHook) -> None:
        self._services = services
        self._day = day
        self._progress = progress
        self._hook = hook
        self._table = {"day_table": f"public.audit_logs_{day:%Y_%m_%d}"}

    def run(self, sleep: Callable[[float], None]) -> PurgeResult:
        started = monotonic()
        with passing_errors_as_transient(f"the purge of {self._day}", self._services.engine):
            with self._services.engine.connect() as connection:
                store_id = check_identity(self._services, connection).store_id
                refuse_hidden_rows(connection)
                parts = self._unpurged_parts(connection)
                if not parts:
                    return PurgeResult(self._day, (), 0, 0, 0, monotonic() - started)
                self._refuse_if_not_due(parts, self._agreed_time(connection), store_id)
                self._refuse_quarantined(connection)
                self._refuse_unsealed(connection)
                segments = self._segments(connection, parts)
                self._check_anchored(connection, segments)
            # The store is read before any lock is taken: objects never change, so nothing is lost by being early.
            self._check_parts(parts, segments)
            self._hook(PurgeStep.ARCHIVES_READ)
            rows = self._compared_rows(parts, segments)
            self._hook(PurgeStep.COMPARED)
        removed, hot_bytes = retry_while_busy(lambda: self._drop(parts, segments, rows), sleep=sleep)
        months = self._drop_empty_months()
        return PurgeResult(
            self._day, tuple(part.part for part in parts), removed, hot_bytes, months, monotonic() - started
        )

    def _refuse(self, reason: str) -> PurgeRefusedError:
        return PurgeRefusedError(f"{self._day} was not purged: {reason}")

    def _unpurged_parts(self, connection: sqlalchemy.Connection) -> list[ArchivedPart]:
        parts = parts_of_day(connection, self._day)
        unpurged = [part for part in parts if part.purged_at is None]
        if unpurged:
            return unpurged
        if connection.execute(sql.ROWS_OF_DAY_EXIST, day_bounds(self._day)).scalar_one():
            raise self._refuse(
                f"it has rows in PostgreSQL that no archive holds; run `compliance archive {self._day}` when they are "
                f"sealed"
            )
        if not parts:
            raise self._refuse("nothing is known of it: it has neither entries nor archives")
        return []

    def _agreed_time(self, connection: sqlalchemy.Connection) -> datetime:
        services = self._services
        return agreed_time(
            connection,
            clock=services.clock,
            settings=services.settings,
            store="the cold store",
            store_time=services.store.now,
        )

    def _refuse_if_not_due(self, parts: Sequence[ArchivedPart], now: datetime, store_id: UUID) -> None:
        services = self._services
        if archive_due_at(services, self._day) > now:
            raise self._refuse(
                f"its entries stay in PostgreSQL for {services.settings.audit_log_retention_days} days "
                f"(AUDIT_LOG_RETENTION_DAYS), until {archive_due_at(services, self._day):%Y-%m-%d}"
            )
        for part in parts:
            if part.verified_at is None:
                raise self._refuse(
                    f"part {part.part} was never verified; run `compliance archive {self._day}`, which does it"
                )
            if part.verified_store != store_id:
                raise self._refuse(
                    f"part {part.part} was verified in {_named(part.verified_store)}, and the cold store at "
                    f"{services.store.uri} is {_named(store_id)}; run `compliance archive {self._day}`, which verifies "
                    "it there"
                )
            due_at = purge_due_at(services, self._day, part.verified_at)
            if due_at > now:
                raise self._refuse(
                    f"part {part.part} was verified on {part.verified_at:%Y-%m-%d %H:%M} UTC and "
                    f"{services.settings.audit_log_purge_grace_days} days (AUDIT_LOG_PURGE_GRACE_DAYS) must pass, "
                    f"until {due_at:%Y-%m-%d %H:%M} UTC"
                )

    def _segments(self, connection: sqlalchemy.Connection, parts: Sequence[ArchivedPart]) -> dict[int, list[Segment]]:
        """The ledger's segments by part, those of purged parts included."""
        by_part: dict[int, list[Segment]] = {part.part: [] for part in parts_of_day(connection, self._day)}
        for segment, number in segments_of_day(connection, self._day):
            if number is None:
                raise self._refuse(
                    f"segment {segment.seq} is sealed but not archived; run `compliance archive {self._day}`"
                )
            if number not in by_part:
                raise self._refuse(
                    f"segment {segment.seq} is recorded in a part {number} that the day does not have; run `compliance "
                    f"verify {self._day}`"
                )
            by_part[number].append(segment)
        for part in parts:
            sealed = sum(segment.entry_count for segment in by_part[part.part])
            if sealed != part.entry_count:
                raise self._refuse(
                    f"part {part.part} has {part.entry_count} entries in the catalogue and {sealed} in the ledger; run "
                    f"`compliance verify {self._day}`"
                )
        return by_part

    def _check_anchored(self, connection: sqlalchemy.Connection, segments: dict[int, list[Segment]]) -> None:
        """Let the segments pass if the signed ledger has them, and if the parts that were purged before hold theirs."""
        of_day = sorted((segment for each in segments.values() for segment in each), key=lambda each: each.seq)
        check_anchored(self._services, connection, self._day, of_day)
        for part in parts_of_day(connection, self._day):
            if part.purged_at is None or part.expired_at is not None:
                continue
            manifest, _ = read_manifest(ColdArchive.of(self._services).at(part), part.manifest_key)
            if list(manifest.segments) != segments[part.part]:
                raise self._refuse(
                    f"part {part.part}, which was purged before, does not hold the segments that are recorded as its "
                    f"own; run `compliance verify {self._day}`"
                )

    def _check_parts(self, parts: Sequence[ArchivedPart], segments: dict[int, list[Segment]]) -> None:
        for part in parts:
            archive = ColdArchive.of(self._services)
            check_part(archive, part, segments[part.part], progress=self._progress).raise_if_damaged()
            self._services.data_keys.require_both_records(part.object_key, part.encryption)

    def _drop(
        self, parts: Sequence[ArchivedPart], segments: dict[int, list[Segment]], compared: RowVersions
    ) -> tuple[int, int]:
        """The one transaction. Returns how many rows were dropped and how many bytes they took."""
        numbers = [part.part for part in parts]
        doing = f"the purge of {self._day}"
        with (
            passing_errors_as_transient(doing, self._services.engine),
            self._services.engine.begin() as connection,
        ):
            transaction_lock(connection, LOCK_NAME, self._day.isoformat(), doing=doing, patience=BRIEF)
            # The table before its day, as everybody does who alters it: they cannot come in between.
            connection.execute(sql.LOCK_TABLE_TO_READ)
            connection.execute(sql.LOCK_DAY, {"day": self._day})
            self._hook(PurgeStep.LOCKED)
            check_identity(self._services, connection)
            refuse_hidden_rows(connection)
            self._refuse_held(connection)
            self._refuse_quarantined(connection)
            self._refuse_changed(connection, parts, segments)
            self._hook(PurgeStep.CHECKED)
            hot_bytes = int(connection.execute(sql.DAY_TABLE_BYTES, self._table).scalar_one())
            self._remove_rows(connection, compared)
            self._hook(PurgeStep.DROPPED)
            connection.execute(
                sql.INSERT_PURGE,
                {"day": self._day, "parts": numbers, "entry_count": compared.count, "hot_bytes": hot_bytes},
            )
            marked = connection.execute(sql.MARK_PURGED, {"day": self._day, "parts": numbers}).rowcount
            if marked != len(numbers):
                raise self._refuse(f"{marked} parts could be marked where {len(numbers)} were verified")
            audit_log(self._services).append_within(
                connection, purge_entry(self._services, self._day, parts, hot_bytes=hot_bytes)
            )
            self._hook(PurgeStep.RECORDED)
        self._hook(PurgeStep.COMMITTED)
        return compared.count, hot_bytes

    def _changed(self) -> TransientError:
        return TransientError(f"{self._day} was not purged: it changed while it was checked; run it again")

    def _refuse_changed(
        self, connection: sqlalchemy.Connection, parts: Sequence[ArchivedPart], segments: dict[int, list[Segment]]
    ) -> None:
        self._refuse_unsealed(connection)
        if self._unpurged_parts(connection) != parts or self._segments(connection, parts) != segments:
            raise self._changed()

    def _remove_rows(self, connection: sqlalchemy.Connection, compared: RowVersions) -> None:
        """Drop the day's table, unless an insert waits for it; or delete the day's rows where it has no table.

        Dropping needs a lock on the month, which that insert holds: each would wait for the other. What goes must be
        the versions that were compared, which PostgreSQL looks at in the same step.
        """
        if connection.execute(sql.DAY_IS_WAITED_FOR, self._table).scalar_one():
            raise LockBusyError(f"the purge of {self._day} had to stop: an entry of that day came; run it again")
        connection.execute(sql.GIVE_UP_BEFORE_A_DEADLOCK)
        expected = {"day": self._day, "entries": compared.count, "fingerprint": compared.fingerprint}
        try:
            removed = int(connection.execute(sql.REMOVE_DAY, expected).scalar_one())
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.ObjectNotInPrerequisiteState):
                raise self._changed() from error
            raise
        bound_waits(connection, BRIEF)
        if removed != compared.count:
            raise self._refuse(f"{removed} rows would have been removed where {compared.count} were compared")

    def _refuse_held(self, connection: sqlalchemy.Connection) -> None:
        """Keep what a legal hold covers; none can be added before the transaction ends."""
        subjects = subjects_from_settings(self._services.settings)
        hold = hold_on_audit_day(connection, lock_holds(connection), self._day, subjects)
        if hold is not None:
            raise self._refuse(f"{hold}; it can be purged when `compliance hold release {hold.id}` was called")

    def _refuse_quarantined(self, connection: sqlalchemy.Connection) -> None:
        """Keep the day of an entry that is in no segment and in no archive: nothing else holds it."""
        quarantined = quarantined_on(connection, self._day)
        if quarantined.entries:
            raise self._refuse(
                f"it holds {quarantined}. No archive has what breaks a rule of the audit log, so that it would be "
                f"lost; docs/operations.md says what to do"
            )

    def _refuse_unsealed(self, connection: sqlalchemy.Connection) -> None:
        unsealed = int(connection.execute(sql.UNSEALED_OF_DAY, day_bounds(self._day)).scalar_one())
        if unsealed:
            raise self._refuse(
                f"{unsealed} late entries of that day are not sealed yet; run `compliance seal`, then "
                f"`compliance archive {self._day}`"
            )

    def _compared_rows(self, parts: Sequence[ArchivedPart], segments: dict[int, list[Segment]]) -> RowVersions:
        """Compare every hot row of the day with the ledger, in a session of its own and without a lock.

        Returns:
            the versions of the rows that were compared: those that are there when the day is locked must be the same.
        """
        expected = sum(part.entry_count for part in parts)
        rows = SealedRows([segment for part in parts for segment in segments[part.part]])
        with open_snapshot(self._services.engine) as snapshot:
            versions = snapshot.row_versions(self._day)
            with (
                snapshot.rows(day=self._day, about=expected) as source,
                run_ahead(source, depth=_BATCHES_AHEAD, name="purge-reader") as batches,
            ):
                for batch in batches:
                    rows.feed(batch)
                    self._progress(Phase.COMPARE, rows.rows, expected)
        differences = rows.differences()
        if differences:
            with self._services.engine.connect() as connection:
                # What came or went meanwhile on its usual way is no forgery.
                self._refuse_changed(connection, parts, segments)
            raise self._refuse(
                "its rows in PostgreSQL are not those that were sealed and archived: "
                + "; ".join(difference.message for difference in differences)
                + f". Run `compliance verify {self._day}`"
            )
        if versions.count != rows.rows:
            raise self._refuse(f"{rows.rows} rows were read of {versions.count}: some were hidden; find out how")
        return versions

    def _drop_empty_months(self) -> int:
        """Drop months that have no day left. The daily job does it too, so a lock that is not had does not matter."""
        services = self._services
        try:
            with passing_errors_as_transient("dropping emptied months", services.engine):
                return drop_empty_months(services.engine, utc_day(services.clock()), sleep=lambda _seconds: None)
        except TransientError:
            return 0
