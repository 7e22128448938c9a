"""The record of legal holds: adding one, releasing one, reading all.

Here: rows of `legal_holds` and `legal_hold_releases`, each with its audit entry in the same transaction. Not here: what
a hold covers (active.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import psycopg.errors
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.base.likeness import objection
from compliance_pipelines.holds import sql
from compliance_pipelines.holds.active import LOCK_NAME, Hold, HoldScope, may_see_holds
from compliance_pipelines.holds.errors import HoldNotFoundError, InvalidHoldError
from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.postgres.locks import transaction_lock
from compliance_pipelines.pseudonyms import subjects_from_settings

if TYPE_CHECKING:
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import UndatedEntry
    from compliance_pipelines.services import Services

_RESOURCE_TYPE: Final = "legal_hold"
_CALLED: Final = {HoldScope.USER: "the user id", HoldScope.THREAD: "the thread id"}
_WAIT: Final = timedelta(seconds=60)


@dataclass(frozen=True)
class NewHold:
    """A hold to be added.

    Args:
        scope: what kind of thing it covers.
        reason: why; not blank.
        author: who ordered it; not blank.
        subject: user id or thread id, with these scopes and no other.
        first_day: with the scope days and no other.
        last_day: with the scope days and no other; not before the first.
        as_it_is: whether somebody looked at a suspicious subject, and it is meant.

    Raises:
        InvalidHoldError: these do not fit together, or the subject may not be the one that was meant.
    """

    scope: HoldScope
    reason: str
    author: str
    subject: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    as_it_is: bool = False

    def __post_init__(self) -> None:
        if not self.reason.strip() or not self.author.strip():
            raise InvalidHoldError("a hold needs a reason and an author: they are what it is later judged by")
        if (self.scope in {HoldScope.USER, HoldScope.THREAD}) != bool(self.subject):
            raise InvalidHoldError(f"a hold on {self.scope.value} and the subject {self.subject!r} do not fit")
        if self.subject and (why := objection(_CALLED[self.scope], self.subject, as_it_is=self.as_it_is)) is not None:
            raise InvalidHoldError(why)
        has_days = self.first_day is not None and self.last_day is not None
        if (self.scope is HoldScope.DAYS) != has_days:
            raise InvalidHoldError("a hold on days needs the first and the last of them, and no other hold has days")
        if self.first_day is not None and self.last_day is not None and self.first_day > self.last_day:
            raise InvalidHoldError(f"the first day {self.first_day} is after the last day {self.last_day}")


@dataclass(frozen=True)
class AddedHold:
    """A hold that was added.

    Attributes:
        hold: as it is recorded.
        settled: whether every deletion that had begun without knowing of it is over. False: one was still going on
            after a minute, and may have taken what the hold covers.
    """

    hold: Hold
    settled: bool


@dataclass(frozen=True)
class RecordedHold:
    """A hold with its release, if it was released.

    Attributes:
        subject_is_hidden: whether it is on a user or a thread that the login may not see; then `hold.subject` is None.
    """

    hold: Hold
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None
    subject_is_hidden: bool = False

    @property
    def covered(self) -> str:
        """What the hold covers, in words."""
        return f"a {self.hold.scope.value} (not shown)" if self.subject_is_hidden else self.hold.covered


def add_hold(services: Services, new: NewHold, *, wait: timedelta = _WAIT) -> AddedHold:
    """Record a hold, then wait for deletions that began before it.

    Args:
        services: the opened services.
        new: the hold.
        wait: how long at most.

    Raises:
        InvalidHoldError: PostgreSQL cannot store it.
    """
    row = {
        "scope": new.scope.value,
        "subject": new.subject,
        "first_day": new.first_day,
        "last_day": new.last_day,
        "reason": new.reason.strip(),
        "author": new.author.strip(),
    }
    try:
        with services.engine.begin() as connection:
            hold = Hold.from_row(connection.execute(sql.INSERT_HOLD, row).one())
            _append(services, connection, _entry(services, "hold.add", hold, reason=hold.reason, author=hold.author))
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.DataError):
            raise InvalidHoldError(f"the hold cannot be stored: {' '.join(str(error.orig).split())}") from error
        raise
    return AddedHold(hold, _deletions_are_over(services, wait))


def release_hold(services: Services, hold_id: int, *, reason: str, author: str) -> RecordedHold:
    """Record that a hold is no longer in force; the hold itself stays on record.

    Raises:
        InvalidHoldError: reason or author is blank.
        HoldNotFoundError: there is none of this number, or it was released before.
    """
    if not reason.strip() or not author.strip():
        raise InvalidHoldError("a release needs a reason and an author: they are what it is later judged by")
    with services.engine.begin() as connection:
        row = connection.execute(sql.HOLD_WITH_RELEASE, {"id": hold_id}).one_or_none()
        if row is None:
            raise HoldNotFoundError(f"there is no hold {hold_id}: `compliance hold list` shows those in force")
        hold = Hold.from_row(row)
        released_at = connection.execute(
            sql.INSERT_RELEASE, {"hold_id": hold_id, "reason": reason.strip(), "author": author.strip()}
        ).scalar_one_or_none()
        if released_at is None:
            raise HoldNotFoundError(f"hold {hold_id} was released before: `compliance hold list --all` shows by whom")
        entry = _entry(services, "hold.release", hold, reason=reason.strip(), author=author.strip())
        _append(services, connection, entry)
    return RecordedHold(hold, released_at, author.strip(), reason.strip())


def all_holds(connection: sqlalchemy.Connection) -> list[RecordedHold]:
    """Every hold that was ever added, in order; whom they are on only where the login may see it."""
    shown = may_see_holds(connection)
    rows = connection.execute(sql.ALL_HOLDS if shown else sql.ALL_HOLDS_WITHOUT_SUBJECTS)
    holds = [(Hold.from_row(row), row) for row in rows]
    return [
        RecordedHold(
            hold,
            row.released_at,
            row.released_by,
            row.release_reason,
            subject_is_hidden=not shown and hold.scope in {HoldScope.USER, HoldScope.THREAD},
        )
        for hold, row in holds
    ]


def _append(services: Services, connection: sqlalchemy.Connection, entry: UndatedEntry) -> None:
    AuditLog(services.engine, first_day=services.settings.audit_log_first_day).append_within(connection, entry)


def _entry(services: Services, action: str, hold: Hold, *, reason: str, author: str) -> UndatedEntry:
    subjects = subjects_from_settings(services.settings)
    return system_entry(
        services.settings.audit_log_actor,
        action=action,
        resource_type=_RESOURCE_TYPE,
        resource_id=str(hold.id),
        result="success",
        metadata={
            "scope": hold.scope.value,
            "subject": None if hold.subject is None else subjects.name(hold.subject),
            "first_day": None if hold.first_day is None else hold.first_day.isoformat(),
            "last_day": None if hold.last_day is None else hold.last_day.isoformat(),
            "reason": reason if hold.subject is None else subjects.scrub(reason, hold.subject),
            "author": author,
        },
    )


def _deletions_are_over(services: Services, wait: timedelta) -> bool:
    """Wait until whoever deletes has seen the new hold: it was committed before this lock is asked for."""
    try:
        with services.engine.begin() as connection:
            transaction_lock(connection, LOCK_NAME, doing="the hold", patience=wait)
    except LockBusyError:
        return False
    return True
