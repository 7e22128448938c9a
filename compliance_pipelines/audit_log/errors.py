"""What an append can fail with, and which of PostgreSQL's errors mean that.

Here: the errors, and the translation. Not here: what makes an entry invalid by itself (entry.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg.errors
import sqlalchemy.exc
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log.entry import InvalidEntryError
from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.postgres.engine import conninfo_of
from compliance_pipelines.postgres.errors import cause_of, is_busy, is_passing, reason_of
from compliance_pipelines.postgres.holders import table_locks_held

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

_NAMED: Final = 5
_FUTURE: Final = "audit_logs_timestamp_not_in_future"
_NOT_PREPARED: Final = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)


class EntryConflictError(ComplianceError):
    """An id is already taken by an entry of another time; nothing was appended."""


class PurgedDayError(ComplianceError):
    """A day left PostgreSQL, and without its archive a repeat cannot be told from a new entry; nothing was appended."""


class AppendNotPossibleError(ComplianceError):
    """The database is not migrated, or the login lacks a privilege; nothing was appended."""


class AppendInterruptedError(TransientError):
    """The database was lost or busy. Appending the same entries again is safe: those that are there are repeats."""


def conflict(found: Sequence[tuple[str, datetime, datetime]]) -> EntryConflictError:
    """The refusal of ids that stand at two times: id, one time, another time."""
    named = "; ".join(
        f"{entry_id!r} at {one.isoformat()} and {another.isoformat()}" for entry_id, one, another in found[:_NAMED]
    )
    return EntryConflictError(
        f"an id belongs to one entry, and stands at two times: {named}. Nothing was appended: "
        "give one of them another id"
    )


def purged_days(days: Sequence[date]) -> PurgedDayError:
    """The refusal of entries for days that left PostgreSQL."""
    named = ", ".join(map(str, days[:_NAMED])) + (", ..." if len(days) > _NAMED else "")
    return PurgedDayError(
        f"{named} left PostgreSQL for the archive, so that a repeat cannot be told from a new entry: append with "
        f"`compliance import`, or give AuditLog the archive (archived_ids)"
    )


@contextmanager
def appending(what: str, engine: sqlalchemy.Engine) -> Iterator[None]:
    """Raise what PostgreSQL says of an append as what it means.

    Args:
        what: is appended, as the message begins: "the append".
        engine: that it is appended with; the database is asked who holds a lock.

    Raises:
        InvalidEntryError: an entry breaks a rule of the table.
        AppendInterruptedError: the connection was lost, or the server could not now.
        AppendNotPossibleError: the database is not migrated, or the login lacks a privilege.
    """
    try:
        yield
    except sqlalchemy.exc.TimeoutError as error:
        raise AppendInterruptedError(
            f"{what} was interrupted: no connection of the pool became free; raise AUDIT_LOG_CONNECTION_POOL_SIZE (an "
            "import needs two)"
        ) from error
    except (DBAPIError, psycopg.Error) as error:
        cause, reason = cause_of(error), reason_of(error)
        if isinstance(cause, psycopg.errors.CheckViolation):
            raise InvalidEntryError(f"{_broken_rule(cause)}; nothing was appended") from error
        if isinstance(cause, psycopg.errors.DataError):
            raise InvalidEntryError(f"PostgreSQL cannot store an entry: {reason}; nothing was appended") from error
        if isinstance(cause, (psycopg.errors.InsufficientPrivilege, *_NOT_PREPARED)):
            raise AppendNotPossibleError(
                f"{what} is not possible: {reason}; `compliance check` tells what is missing"
            ) from error
        if is_passing(error):
            held = table_locks_held(conninfo_of(engine)) if is_busy(error) else ""
            raise AppendInterruptedError(
                f"{what} was interrupted: {reason}{held}; run it again: entries that are there already are not doubled"
            ) from error
        raise


def _broken_rule(violation: psycopg.errors.CheckViolation) -> str:
    if violation.diag.constraint_name == _FUTURE:
        return "an entry lies more than 5 minutes in the future: set the clock of its sender, or of the database, right"
    return f"an entry breaks the rule {violation.diag.constraint_name}"
