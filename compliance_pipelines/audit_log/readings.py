"""What an auditor reads, on record.

Here: which readings are known, and putting one on record. Not here: which command is which reading; the function of the
database that decides what such an entry says (migration 0010).

Whoever may append says itself what it did. An auditor's login may append nothing but this, through one function: in its
own name, at the present time, one of these readings.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING

import psycopg.errors
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import sql
from compliance_pipelines.audit_log.errors import AppendNotPossibleError, appending
from compliance_pipelines.postgres.replica import in_recovery

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.audit_log.entry import JsonValue


class Reading(StrEnum):
    """What is read; each is the action of its entry."""

    PROVE = "audit.prove"
    VERIFY = "audit.verify"
    STATUS = "audit.status"
    CONVERSATIONS = "conversations.status"
    LIST_ERASURES = "erasure.list"
    SHOW_ERASURE = "erasure.show"
    LIST_HOLDS = "hold.list"


class ReadingNotRecordedError(AppendNotPossibleError):
    """What has to be on record cannot be put there; nothing is read, or nothing of it handed out."""


def is_auditor(connection: sqlalchemy.Connection) -> bool:
    """Whether the login is an auditor's: a member of `audit_reader` that may not append."""
    return bool(connection.execute(sql.IS_AUDITOR).scalar_one())


def record_reading(engine: sqlalchemy.Engine, reading: Reading, subject: str = "", **particulars: JsonValue) -> bool:
    """Put on record what an auditor's login reads; it is durable when this returns.

    Args:
        engine: of the login that reads.
        reading: what it reads.
        subject: what of, such as a request's number; at most 2,048 bytes of UTF-8.
        particulars: further metadata, at most 2,048 bytes of JSON.

    Returns:
        Whether it was put on record; False where the login is not an auditor's, or the database is a replica, which
        can take no entry.

    Raises:
        ReadingNotRecordedError: the database takes no entry: its transactions are read-only, or it was not migrated.
        AppendInterruptedError: the database was lost or busy.
    """
    row = {"reading": reading.value, "subject": subject, "particulars": json.dumps(particulars, ensure_ascii=False)}
    with engine.connect() as connection:
        if not is_auditor(connection) or in_recovery(connection):
            return False
    try:
        with appending(f"the record of {reading}", engine), engine.begin() as connection:
            connection.execute(sql.RECORD_READING, row)
    except AppendNotPossibleError as error:
        raise ReadingNotRecordedError(f"what an auditor reads must be on record: {error}") from error
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
            raise ReadingNotRecordedError(
                f"what an auditor reads must be on record, and this database takes no entry of {reading}: its "
                "transactions are read-only"
            ) from error
        raise
    return True
