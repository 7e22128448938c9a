"""The holds that are in force, and what they cover.

Here: reading them, asking them, and the lock that makes the answer last. Not here: adding and releasing (record.py),
and what an audit day has to do with a held person (audit_days.py).

A question without a certain answer is answered with a hold: what was kept can be deleted later, what was deleted cannot
be kept any more.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from compliance_pipelines.audit_log.visibility import refuse_hidden_rows_of
from compliance_pipelines.holds import sql
from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.locks import process_lock, transaction_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date, datetime
    from typing import Any

    import sqlalchemy

LOCK_NAME: Final = "holds"
"""Whoever destroys holds this lock shared; a new hold waits for it alone, after its commit."""
_DELETING: Final = "the deletion"


class HoldScope(StrEnum):
    """What kind of thing a hold covers."""

    USER = "user"
    THREAD = "thread"
    DAYS = "days"
    EVERYTHING = "everything"


@dataclass(frozen=True)
class Hold:
    """A legal hold.

    Attributes:
        id: its number.
        scope: what kind of thing it covers.
        subject: the user id or thread id; None for days and everything.
        first_day: first UTC day that it covers; None unless the scope is days.
        last_day: last UTC day that it covers; None unless the scope is days.
        reason: why.
        author: who ordered it.
        added_at: since when it stands.
    """

    id: int
    scope: HoldScope
    subject: str | None
    first_day: date | None
    last_day: date | None
    reason: str
    author: str
    added_at: datetime

    @classmethod
    def from_row(cls, row: sqlalchemy.Row[Any]) -> Hold:
        """The hold of a row of `legal_holds`."""
        return cls(
            row.id,
            HoldScope(row.scope),
            row.subject,
            row.first_day,
            row.last_day,
            row.reason,
            row.author,
            row.added_at,
        )

    @property
    def covered(self) -> str:
        """What it covers, in words."""
        match self.scope:
            case HoldScope.DAYS:
                return f"the days {self.first_day} to {self.last_day}"
            case HoldScope.EVERYTHING:
                return "everything"
            case _:
                return f"{self.scope.value} {self.subject}"

    def __str__(self) -> str:
        return f"hold {self.id} ({self.covered}) of {self.author}: {self.reason}"


@dataclass(frozen=True)
class HoldSet:
    """The holds in force at one moment, in the order in which they were added.

    Each question is answered with the first hold that covers the thing, or None. A hold on everything covers all.
    """

    holds: tuple[Hold, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.holds)

    def _first(self, covers: Callable[[Hold], bool]) -> Hold | None:
        return next((hold for hold in self.holds if hold.scope is HoldScope.EVERYTHING or covers(hold)), None)

    def covers_user(self, user_id: str) -> Hold | None:
        """A hold on all that belongs to this person; ids are compared as they are, case included."""
        return self._first(lambda hold: hold.scope is HoldScope.USER and hold.subject == user_id)

    def covers_thread(self, thread_id: str, user_id: str | None) -> Hold | None:
        """A hold on this conversation or on its owner.

        Args:
            thread_id: of the conversation.
            user_id: its owner; ask once for each where several people share it. None where nobody knows: it may be the
                held person's, so that a hold on any person covers it.
        """

        def covers(hold: Hold) -> bool:
            if hold.scope is HoldScope.THREAD:
                return hold.subject == thread_id
            return hold.scope is HoldScope.USER and (user_id is None or hold.subject == user_id)

        return self._first(covers)

    def covers_day(self, day: date) -> Hold | None:
        """A hold on this UTC day."""
        return self.covers_activity(day, day)

    def covers_activity(self, first_day: date | None, last_day: date | None) -> Hold | None:
        """A hold on a day of something that was active for a while.

        Args:
            first_day: its first UTC day; None where that is unknown, which counts as ever so long ago.
            last_day: its last UTC day; None where that is unknown, which counts as still going on.
        """

        def covers(hold: Hold) -> bool:
            if hold.first_day is None or hold.last_day is None:
                return False
            begins_in_time = first_day is None or first_day <= hold.last_day
            ends_in_time = last_day is None or last_day >= hold.first_day
            return begins_in_time and ends_in_time

        return self._first(covers)

    def subjects(self) -> tuple[str, ...]:
        """The user ids and thread ids that are held."""
        return tuple(hold.subject for hold in self.holds if hold.subject is not None)

    def of_subject(self, subject: str) -> Hold | None:
        """The first hold on a user or thread of this id."""
        return next((hold for hold in self.holds if hold.subject == subject), None)


def may_see_holds(connection: sqlalchemy.Connection) -> bool:
    """Whether the login may know whom holds are on, which auditors and writers may not."""
    return bool(connection.execute(sql.MAY_SEE_SUBJECTS).scalar_one())


def active_holds(connection: sqlalchemy.Connection) -> HoldSet:
    """The holds that were added and not released, as of now. For planning; see :func:`lock_holds` for deleting.

    Raises:
        RowsHiddenError: a hold or a release may be hidden from the login.
    """
    refuse_hidden_rows_of(connection, tables.legal_holds.name, tables.legal_hold_releases.name)
    return HoldSet(tuple(Hold.from_row(row) for row in connection.execute(sql.ACTIVE_HOLDS)))


def lock_holds(connection: sqlalchemy.Connection) -> HoldSet:
    """The holds in force, for whoever destroys something before the transaction of `connection` ends.

    Until then `compliance hold add` does not return: once it has returned, nothing that the new hold covers goes any
    more. Deleters do not wait for each other.

    Raises:
        LockBusyError: a new hold waits for other deletions.
        RowsHiddenError: a hold or a release may be hidden from the login.
    """
    transaction_lock(connection, LOCK_NAME, doing=_DELETING, shared=True)
    return active_holds(connection)


@contextmanager
def holds_locked(connection: sqlalchemy.Connection) -> Iterator[HoldSet]:
    """The same for whoever destroys something on other connections, until the block is left.

    No transaction stays open meanwhile, so that what is waited for there can never wait for this connection.

    Args:
        connection: one that is in no transaction, and is used for nothing else.

    Raises:
        LockBusyError: a new hold waits for other deletions.
        RowsHiddenError: a hold or a release may be hidden from the login.
    """
    with process_lock(connection, LOCK_NAME, doing=_DELETING, shared=True):
        with connection.begin():
            holds = active_holds(connection)
        yield holds
