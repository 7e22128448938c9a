"""The valid lines of an import while they wait in a temporary table.

Here: what is taken out of it again, and why: repeats of purged entries, and ids that stand at two times. Not here: how
lines come there, and what happens to those that are left (importing.py).

An id that stands at two times is refused as if the lines had been appended one by one: what is in the database or the
archive wins over the file, and of two lines the first.
"""

from __future__ import annotations

from array import array
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.audit_log import sql
from compliance_pipelines.audit_log.appending import purged_among, start_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.audit_log.appending import ArchivedIdSource
    from compliance_pipelines.audit_log.refusals import Refusals

_ONE_DAY: Final = timedelta(days=1)
_IDS_AT_ONCE: Final = 100_000
_LINES_AT_ONCE: Final = 1_000


class StagedLines:
    """The temporary table of one import, in its transaction.

    Args:
        connection: in whose transaction the table is.
        refusals: are told of lines that are taken out because of a conflict.
    """

    def __init__(self, connection: sqlalchemy.Connection, refusals: Refusals) -> None:
        self._connection = connection
        self._refusals = refusals
        self._looked_up: set[date] = set()

    def days(self) -> dict[date, int]:
        """The days of the entries, oldest first, each with the number of its entries."""
        return {row.day: row.entries for row in self._connection.execute(sql.IMPORTED_DAYS)}

    def refuse_conflicts_with_store(self) -> None:
        """Take out lines whose id stands in the hot store at another time, on whatever day.

        No lock on the hot store is left: the import must not be in the way of partitions that are made meanwhile.
        """
        undone = self._connection.begin_nested()
        lines = self._refuse(
            sql.IMPORT_CONFLICTS_WITH_STORE,
            lambda row: f"at {row.other.isoformat()} in the audit log",
        )
        undone.rollback()
        self._take_out(lines)

    def refuse_conflicts_in_file(self) -> None:
        """Take out lines whose id stands in an earlier line at another time."""
        lines = self._refuse(
            sql.IMPORT_CONFLICTS_IN_FILE,
            lambda row: f"at {row.other.isoformat()} in line {row.first_line}",
        )
        self._take_out(lines)

    def take_out_archived(self, archive: ArchivedIdSource) -> None:
        """Take out what purged archives hold already, and lines whose id they hold at another time.

        An entry is looked for in the archives of its day and of the days beside it.

        Raises:
            ComplianceError: an archive cannot be read.
        """
        for day in sorted(self._purged_days() - self._looked_up):
            archived_day = archive.of_day(self._connection, day)
            repeats, conflicts = array("q"), array("q")
            bounds = {"since": start_of(day - _ONE_DAY), "until": start_of(day + 2 * _ONE_DAY)}
            rows = self._connection.execute(sql.IMPORTED_IDS, bounds, execution_options={"yield_per": _IDS_AT_ONCE})
            for some in rows.partitions():
                archived = archived_day.present({row.log_entry_id for row in some})
                for row in some:
                    moment = archived.get(row.log_entry_id)
                    if moment is not None:
                        (repeats if moment == row.timestamp else conflicts).append(row.line)
            self._refuse_archived(day, conflicts)
            self._take_out(repeats)
            self._looked_up.add(day)

    def insert(self) -> int | None:
        """Insert what is left and new into the hot store.

        Returns:
            How many entries were new; None where a day was purged in this moment, so that what was inserted for it may
            be repeats: then nothing was inserted, and the archive must be asked again.
        """
        undoable = self._connection.begin_nested()
        new = self._connection.execute(sql.INSERT_IMPORTED).rowcount
        # Looked at after the insert, which holds the days' partitions: a later purge waits for this transaction.
        if self._purged_days() <= self._looked_up:
            undoable.commit()
            return new
        undoable.rollback()
        return None

    def _purged_days(self) -> set[date]:
        near = {day + offset * _ONE_DAY for day in self.days() for offset in (-1, 0, 1)}
        return set(purged_among(self._connection, near))

    def _refuse(self, conflicts: sqlalchemy.TextClause, where: Callable[[Any], str]) -> array[int]:
        lines = array("q")
        for row in self._connection.execute(conflicts, execution_options={"yield_per": _LINES_AT_ONCE}):
            self._refuse_line(row, where(row))
            lines.append(row.line)
        return lines

    def _refuse_line(self, row: Any, where: str) -> None:  # noqa: ANN401 - a row of one of three queries
        self._refusals.add(
            row.line,
            [(row.raw or "").encode()],
            f"an id belongs to one entry, and {row.log_entry_id!r} stands {where} and at {row.timestamp.isoformat()} "
            f"here",
        )

    def _refuse_archived(self, day: date, lines: array[int]) -> None:
        for start in range(0, len(lines), _LINES_AT_ONCE):
            some = lines[start : start + _LINES_AT_ONCE].tolist()
            for row in self._connection.execute(sql.IMPORTED_LINES, {"lines": some}):
                self._refuse_line(row, f"at another time in the archive of {day}")
        self._take_out(lines)

    def _take_out(self, lines: array[int]) -> None:
        for start in range(0, len(lines), _IDS_AT_ONCE):
            self._connection.execute(sql.DELETE_IMPORTED, {"lines": lines[start : start + _IDS_AT_ONCE].tolist()})
