"""What is read by whoever may not append, on record.

Here: which readings are known, and putting one on record. Not here: which command is which reading; the function of the
database that decides what such an entry says (migrations 0010 and 0019).

Whoever may append says itself what it did. Every other login appends this alone, through one function: in its own name,
at the present time, one of these readings. By which right it reads makes no difference: an auditor's role, PostgreSQL's
`pg_read_all_data`, or grants of its own. Where it may not call the function it is told what to grant and reads nothing.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import psycopg.errors
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import sql
from compliance_pipelines.audit_log.errors import AppendNotPossibleError, appending
from compliance_pipelines.audit_log.standing import READER, standing
from compliance_pipelines.postgres.replica import in_recovery

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.audit_log.standing import Standing


class Reading(StrEnum):
    """What is read; each is the action of its entry."""

    PROVE = "audit.prove"
    VERIFY = "audit.verify"
    STATUS = "audit.status"
    SEARCH = "audit.search"
    SEARCHED = "audit.searched"
    QUERY = "audit.query"
    QUERIED = "audit.queried"
    CONVERSATIONS = "conversations.status"
    LIST_ERASURES = "erasure.list"
    SHOW_ERASURE = "erasure.show"
    LIST_HOLDS = "hold.list"


_MUST: Final = "what is read by a login that may not append must be on record"


class ReadingNotRecordedError(AppendNotPossibleError):
    """What has to be on record cannot be put there; nothing is read, or nothing of it handed out."""


def is_auditor(connection: sqlalchemy.Connection) -> bool:
    """Whether the login is an auditor's, for the choice of words: a member of `audit_reader` that may not append."""
    return standing(connection).is_auditor


def record_reading(engine: sqlalchemy.Engine, reading: Reading, subject: str = "", **particulars: JsonValue) -> bool:
    """Put on record what a login reads that may not append; it is durable when this returns.

    Args:
        engine: of the login that reads.
        reading: what it reads.
        subject: what of, such as a request's number; at most 2,048 bytes of UTF-8.
        particulars: further metadata, at most 2,048 bytes of JSON; 131,072 where a search begins, which says all of
            what is asked.

    Returns:
        Whether it was put on record; False where the login may append, or the database is a replica, which can take no
        entry.

    Raises:
        ReadingNotRecordedError: the database takes no entry: the login may not call the function, the transactions are
            read-only, or the database was not migrated.
        AppendInterruptedError: the database was lost or busy.
    """
    row = {"reading": reading.value, "subject": subject, "particulars": json.dumps(particulars, ensure_ascii=False)}
    with engine.connect() as connection:
        reader = standing(connection)
        if reader.may_append:
            return False
        if in_recovery(connection):
            if not reader.is_auditor:  # as on the primary, so that it makes no difference where it asks
                raise ReadingNotRecordedError(f"{_MUST}: {_what_to_grant(reader)}")
            return False
    try:
        with appending(f"the record of {reading}", engine), engine.begin() as connection:
            connection.execute(sql.RECORD_READING, row)
    except AppendNotPossibleError as error:
        refused = isinstance(getattr(error.__cause__, "orig", None), psycopg.errors.InsufficientPrivilege)
        why = _what_to_grant(reader) if refused and not reader.is_auditor else str(error)
        raise ReadingNotRecordedError(f"{_MUST}: {why}") from error
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
            raise ReadingNotRecordedError(
                f"{_MUST}, and this database takes no entry of {reading}: its transactions are read-only"
            ) from error
        raise
    return True


def _what_to_grant(reader: Standing) -> str:
    if READER in reader.idle_roles:
        return ": ".join(reader.idle(READER))
    return (
        f"{reader.login} may not append, and may not call the function that records readings: GRANT {READER} TO "
        f"{reader.login}"
    )
