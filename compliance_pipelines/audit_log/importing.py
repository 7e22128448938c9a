"""Importing a file of entries, all of which are stored in one transaction.

Here: the order of the steps, from the file to the commit. Not here: what a valid line is (json_lines.py), reading
(import_source.py), what is refused beside invalid lines (import_staging.py), keeping refused lines (refusals.py,
rejects.py), how a person sees progress.

Lines go to a temporary table first, and into `audit_logs` when all of them were looked at, so that a file with a
refused line changes nothing.

Days that bring very many entries get tables of their own, in short transactions right before the insert: attached
within the import they would keep everybody else's queries out of the default partitions until its end. The entries of
all other days go to a default partition.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import sql
from compliance_pipelines.audit_log.appending import Acceptance, dated, insert
from compliance_pipelines.audit_log.entry import InvalidEntryError
from compliance_pipelines.audit_log.entry_batches import APPENDED_SCHEMA, JSONB_COLUMNS, EntryColumns
from compliance_pipelines.audit_log.errors import appending
from compliance_pipelines.audit_log.import_progress import ImportPhase, silent
from compliance_pipelines.audit_log.import_source import open_source
from compliance_pipelines.audit_log.import_staging import StagedLines
from compliance_pipelines.audit_log.json_lines import MAX_LINE_BYTES, InvalidLineError, entry_from_line
from compliance_pipelines.audit_log.partitions import make_room
from compliance_pipelines.audit_log.refusals import ImportRefusedError, Refusals
from compliance_pipelines.audit_log.rejects import open_rejects
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.postgres.copying import CopyTarget, copy_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.audit_log.appending import ArchivedIdSource
    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.audit_log.import_progress import ImportProgress
    from compliance_pipelines.audit_log.import_source import ImportSource
    from compliance_pipelines.audit_log.rejects import RejectsFile

ACTION: Final = "audit.import"

_TOLERANCE: Final = timedelta(minutes=5)
# About two thousand entries: Arrow works a column at a time, and has a price for each column of each piece.
_PIECE_CHARACTERS: Final = 2**19
_STAGING: Final = CopyTarget(
    ("audit_import",),
    pa.schema([pa.field("line", pa.int64()), *APPENDED_SCHEMA, pa.field("raw", pa.string())]),
    JSONB_COLUMNS,
)


class _Lines:
    """Valid lines that wait to be staged: numbers, entries, and texts where refused lines are kept."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._entries = EntryColumns()
        self._raw: list[str | None] = []
        self.characters = 0

    def add(self, number: int, entry: AuditEntry, raw: str | None) -> None:
        self._numbers.append(number)
        self._raw.append(raw)
        self.characters += self._entries.add(entry) + len(raw or "")

    def batch(self) -> pa.RecordBatch:
        numbers, raw = pa.array(self._numbers, pa.int64()), pa.array(self._raw, pa.string())
        return pa.RecordBatch.from_arrays([numbers, *self._entries.arrays(), raw], schema=_STAGING.schema)


@dataclass(frozen=True)
class ImportResult:
    """What an import did.

    Attributes:
        new: entries that were appended.
        repeated: lines whose entry had been appended before, or stood in the file before.
        refused: lines that went to the rejects file.
        first_day: of the imported entries and repeats; None where there are none.
        last_day: likewise. Repeats of purged entries do not count for either.
    """

    new: int
    repeated: int
    refused: int
    first_day: date | None
    last_day: date | None


def import_file(  # noqa: PLR0913 - what an import needs, each by its name
    engine: sqlalchemy.Engine,
    file: Path,
    *,
    actor: str,
    first_day: date,
    archived_ids: ArchivedIdSource,
    rejects: Path | None = None,
    progress: ImportProgress = silent,
    sleep: Callable[[float], None] = time.sleep,
) -> ImportResult:
    """Append a file's entries: all of them or, with `rejects`, all that can be; and an entry that says so.

    Args:
        engine: connects as a member of audit_writer and audit_archiver; two connections are used.
        file: JSON lines (json_lines.py), gzip or not. Lines of nothing but space are passed over.
        actor: `user_id` of the import's own entry, AUDIT_LOG_ACTOR.
        first_day: entries of earlier days are refused (AUDIT_LOG_FIRST_DAY).
        archived_ids: tells repeats of entries whose day was purged (docs/decisions/0005).
        rejects: where refused lines go; without it one refused line stops the import.
        progress: told how far it is.
        sleep: waits between attempts to make partitions, in seconds.

    Raises:
        ImportRefusedError: lines are refused, and `rejects` is None.
        ImportFileError: the file cannot be read to its end.
        RejectsError: the refused lines cannot be written.
        PartitionBusyError: live traffic was in the way of new partitions each time.
        AppendInterruptedError: the database was lost or busy. If it was lost at the commit, a repeated import tells:
            what is there counts as repeated.
        ComplianceError: the login lacks a privilege, or the archive cannot be read.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_source(file, max_line_bytes=MAX_LINE_BYTES))
        kept = None if rejects is None else stack.enter_context(open_rejects(rejects))
        stack.enter_context(appending(f"the import of {file}", engine))
        connection = stack.enter_context(engine.connect())
        stack.callback(_drop_staging, connection)
        try:
            run = _Import(engine, connection, file, source, kept, Acceptance(first_day, archived_ids), progress, sleep)
            result = run.store(archived_ids)
            run.append_own_entry(actor, result)
            if kept is not None:
                kept.place()
        except BaseException:
            if kept is not None:
                kept.withdraw()
            connection.rollback()
            raise
        # Should the connection be lost in here, nobody knows whether it is committed: the rejects stay.
        connection.commit()
        return result


def _drop_staging(connection: sqlalchemy.Connection) -> None:
    """Give the session back to the pool without the table; one that is lost has none."""
    try:
        connection.rollback()
        connection.execute(sql.DROP_IMPORT)
        connection.commit()
    except DBAPIError:
        connection.invalidate()


class _Import:
    """One file's import, whose last transaction the caller ends."""

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        engine: sqlalchemy.Engine,
        connection: sqlalchemy.Connection,
        file: Path,
        source: ImportSource,
        rejects: RejectsFile | None,
        accept: Acceptance,
        progress: ImportProgress,
        sleep: Callable[[float], None],
    ) -> None:
        self._engine = engine
        self._connection = connection
        self._file = file
        self._source = source
        self._keeps_refused = rejects is not None
        self._refusals = Refusals(rejects)
        self._accept = accept
        self._progress = progress
        self._sleep = sleep
        self._started: datetime = connection.execute(sql.MOMENT).scalar_one()
        self._started_here = monotonic()

    def store(self, archive: ArchivedIdSource) -> ImportResult:
        self._connection.execute(sql.CREATE_IMPORT)
        valid = copy_in(self._connection, _STAGING, self._pieces())
        invalid = self._refusals.count
        self._progress(ImportPhase.CHECK, 0, None)
        self._connection.execute(sql.ANALYZE_IMPORT)
        staged = StagedLines(self._connection, self._refusals)
        staged.refuse_conflicts_with_store()
        staged.take_out_archived(archive)
        staged.refuse_conflicts_in_file()
        self._stop_if_refused()
        days = staged.days()
        # Nothing of the hot store is changed yet, and no lock of this session may be in the way of the next one's.
        self._connection.commit()
        make_room(self._engine, days, sleep=self._sleep)
        self._progress(ImportPhase.STORE, 0, None)
        while (new := staged.insert()) is None:
            staged.take_out_archived(archive)
            self._stop_if_refused()
        conflicting = self._refusals.count - invalid
        span = (min(days), max(days)) if days else (None, None)
        return ImportResult(new, valid - conflicting - new, self._refusals.count, *span)

    def append_own_entry(self, actor: str, result: ImportResult) -> None:
        entry = system_entry(
            actor,
            action=ACTION,
            resource_type="audit_file",
            resource_id=os.fsencode(self._file.name).decode("utf-8", "replace"),
            result="partial" if result.refused else "success",
            metadata={
                "file_sha256": self._source.sha256,
                "file_bytes": self._source.bytes_read,
                "new": result.new,
                "repeated": result.repeated,
                "refused": result.refused,
                "first_day": None if result.first_day is None else result.first_day.isoformat(),
                "last_day": None if result.last_day is None else result.last_day.isoformat(),
            },
        )
        insert(self._connection, dated(self._connection, entry), self._accept)

    def _stop_if_refused(self) -> None:
        if self._refusals.count and not self._keeps_refused:
            raise ImportRefusedError(self._file, self._refusals.named, self._refusals.count)

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        """The valid lines as they are staged; the others are refused on the way."""
        lines, source = _Lines(), self._source
        for line in source.lines():
            try:
                text = self._decoded(line)
                if not text.strip(" \t\r\n"):
                    continue
                entry = entry_from_line(text, self._accept, self._latest())
            except InvalidEntryError as error:
                self._refusals.add(source.line_number, chain([line], source.rest_of_line()), str(error))
                continue
            lines.add(source.line_number, entry, text if self._keeps_refused else None)
            if lines.characters >= _PIECE_CHARACTERS:
                yield lines.batch()
                lines = _Lines()
                self._progress(ImportPhase.READ, source.bytes_read, source.size)
        yield lines.batch()
        self._progress(ImportPhase.READ, source.bytes_read, source.size)

    def _latest(self) -> datetime:
        """The newest time that is not in the future now; by the database's clock, which is asked once."""
        return self._started + timedelta(seconds=monotonic() - self._started_here) + _TOLERANCE

    def _decoded(self, line: bytes) -> str:
        if self._source.line_too_long:
            raise InvalidLineError(f"it is longer than {MAX_LINE_BYTES:,} bytes; store large content elsewhere")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise InvalidLineError(f"it is not UTF-8: {error.reason} at byte {error.start + 1}") from None
