"""Which hold, if any, keeps a day of the audit log in PostgreSQL.

Here: the rule of docs/decisions/0010. Not here: the purge, which asks.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from compliance_pipelines.holds import sql

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.holds.active import Hold, HoldSet
    from compliance_pipelines.pseudonyms import Subjects


def hold_on_audit_day(connection: sqlalchemy.Connection, holds: HoldSet, day: date, subjects: Subjects) -> Hold | None:
    """The hold that covers a UTC day: by its date, or because an entry of it is by or about somebody held.

    An entry is by a person where its user_id is theirs, and about a person or a conversation where its resource_id is
    theirs. Entries may call a person by a pseudonym. The whole day is held, because a purge drops whole days.

    Args:
        connection: with the day locked against inserts, where the answer must last.
        holds: those in force.
        day: the UTC day.
        subjects: how entries call people.
    """
    if (hold := holds.covers_day(day)) is not None:
        return hold
    held = {name: subject for subject in holds.subjects() for name in subjects.names(subject)}
    if not held:
        return None
    since = datetime.combine(day, time(), UTC)
    bounds = {"since": since, "until": since + timedelta(days=1), "subjects": sorted(held)}
    row = connection.execute(sql.SUBJECT_ON_DAY, bounds).one_or_none()
    if row is None:
        return None
    subject = held.get(row.user_id) or held[row.resource_id]
    return holds.of_subject(subject)
