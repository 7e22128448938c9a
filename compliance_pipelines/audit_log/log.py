"""The append API: what an application imports.

Here: the synchronous and the asynchronous log. Not here: what an entry is (entry.py), the statements of an append
(appending.py, batches.py), importing files (importing.py).

    log = AuditLog(create_engine(url))
    log.append(AuditEntry(log_entry_id=..., timestamp=..., user_id=..., action=..., result=...))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.audit_log.appending import (
    FIRST_DAY,
    Acceptance,
    ArchivedIdSource,
    append_one,
    dated,
    dated_apart,
    insert,
)
from compliance_pipelines.audit_log.batches import AppendResult, append_batch
from compliance_pipelines.audit_log.deletion import DeletionFacts, deletion_entry
from compliance_pipelines.audit_log.errors import appending
from compliance_pipelines.postgres.sessions import require_pinned

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from typing import Unpack

    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from compliance_pipelines.audit_log.entry import AuditEntry, UndatedEntry

__all__ = ["AppendResult", "ArchivedIdSource", "AsyncAuditLog", "AuditLog"]

_APPEND = "the append"


def _append_one(
    connection: sqlalchemy.Connection, entry: AuditEntry | UndatedEntry, accept: Acceptance
) -> tuple[bool, AuditEntry]:
    of_now = dated_apart(connection, entry)
    return append_one(connection, of_now, accept), of_now


def _insert_dated(
    connection: sqlalchemy.Connection, entry: AuditEntry | UndatedEntry, accept: Acceptance
) -> AuditEntry:
    of_now = dated(connection, entry)
    insert(connection, of_now, accept)
    return of_now


class AuditLog:
    """Appends entries, each once however often it is delivered.

    An entry is a repeat where its id stands at the same time. The same id at another time is refused where it stands on
    the entry's day or on a day beside it, unless both are appended in the same moment.

    Args:
        engine: connects as a member of audit_writer; see :func:`compliance_pipelines.postgres.engine.create_engine`.
        first_day: entries of earlier days are refused (AUDIT_LOG_FIRST_DAY).
        archived_ids: tells repeats of entries whose day was purged; without it such entries are refused.

    Raises:
        SessionSettingError: the engine is one whose sessions nobody pins
            (:func:`compliance_pipelines.postgres.sessions.pin_engine`).
    """

    def __init__(
        self, engine: sqlalchemy.Engine, *, first_day: date = FIRST_DAY, archived_ids: ArchivedIdSource | None = None
    ) -> None:
        require_pinned(engine)
        self._engine = engine
        self._accept = Acceptance(first_day, archived_ids)

    def append(self, entry: AuditEntry | UndatedEntry) -> bool:
        """Append one entry; it is durable when this returns.

        Returns:
            True where it was new, False where it had been appended before.

        Raises:
            InvalidEntryError: its day is before the first one, or it lies in the future.
            EntryConflictError: its id stands at another time.
            PurgedDayError: its day was purged, and there is no archive to ask.
            AppendInterruptedError: the database was lost or busy; append it again.
        """
        return self._append(entry)[0]

    def _append(self, entry: AuditEntry | UndatedEntry) -> tuple[bool, AuditEntry]:
        with appending(_APPEND, self._engine), self._engine.connect() as connection:
            return _append_one(connection, entry, self._accept)

    def append_many(self, entries: Iterable[AuditEntry]) -> AppendResult:
        """Append entries by COPY, all of them or none; they stream, so there may be any number.

        Returns:
            How many were new and how many had been appended before, within these entries included.

        Raises:
            InvalidEntryError: an entry's day is before the first one, or it lies in the future.
            EntryConflictError: an id stands at two times.
            PurgedDayError: a day was purged, and there is no archive to ask.
            AppendInterruptedError: the database was lost or busy; append them again.
        """
        with appending(_APPEND, self._engine), self._engine.connect() as connection:
            return append_batch(connection, entries, self._accept)

    def append_within(self, connection: sqlalchemy.Connection, entry: AuditEntry | UndatedEntry) -> AuditEntry:
        """Append an entry of the present in the caller's transaction: it is there if the work that it tells of is.

        The transaction may have begun long ago: an entry is judged by the clock of the moment, and takes its time from
        there where it has none.

        Returns:
            The entry, dated.

        Raises:
            InvalidEntryError: its day is before the first one.
        """
        return _insert_dated(connection, entry, self._accept)

    def record_deletion(self, **facts: Unpack[DeletionFacts]) -> AuditEntry:
        """Append the record of a GDPR Article 17 deletion; :class:`~.deletion.DeletionFacts` gives the arguments.

        Returns:
            The entry.

        Raises:
            InvalidEntryError: a value cannot be stored.
            AppendInterruptedError: the database was lost or busy.
        """
        return self._append(deletion_entry(**facts))[1]

    def record_deletion_within(self, connection: sqlalchemy.Connection, **facts: Unpack[DeletionFacts]) -> AuditEntry:
        """The same as :meth:`record_deletion` in the caller's transaction."""
        return self.append_within(connection, deletion_entry(**facts))


class AsyncAuditLog:
    """The asynchronous twin of :class:`AuditLog`: the same methods, the same promises, the same code below.

    Args:
        engine: see :func:`compliance_pipelines.postgres.engine.create_asynchronous_engine`.
        first_day: as for :class:`AuditLog`.
        archived_ids: as for :class:`AuditLog`; asked in a thread, so that the event loop goes on.
    """

    def __init__(
        self, engine: AsyncEngine, *, first_day: date = FIRST_DAY, archived_ids: ArchivedIdSource | None = None
    ) -> None:
        require_pinned(engine)
        self._engine = engine
        self._accept = Acceptance(first_day, archived_ids)

    async def append(self, entry: AuditEntry | UndatedEntry) -> bool:
        """See :meth:`AuditLog.append`."""
        return (await self._append(entry))[0]

    async def _append(self, entry: AuditEntry | UndatedEntry) -> tuple[bool, AuditEntry]:
        with appending(_APPEND, self._engine.sync_engine):
            async with self._engine.connect() as connection:
                return await connection.run_sync(_append_one, entry, self._accept)

    async def append_many(self, entries: Iterable[AuditEntry]) -> AppendResult:
        """See :meth:`AuditLog.append_many`."""
        with appending(_APPEND, self._engine.sync_engine):
            async with self._engine.connect() as connection:
                return await connection.run_sync(append_batch, entries, self._accept)

    async def append_within(self, connection: AsyncConnection, entry: AuditEntry | UndatedEntry) -> AuditEntry:
        """See :meth:`AuditLog.append_within`."""
        return await connection.run_sync(_insert_dated, entry, self._accept)

    async def record_deletion(self, **facts: Unpack[DeletionFacts]) -> AuditEntry:
        """See :meth:`AuditLog.record_deletion`."""
        return (await self._append(deletion_entry(**facts)))[1]

    async def record_deletion_within(self, connection: AsyncConnection, **facts: Unpack[DeletionFacts]) -> AuditEntry:
        """See :meth:`AuditLog.record_deletion_within`."""
        return await self.append_within(connection, deletion_entry(**facts))
