"""Errors of the database that reach the end of a command, in words.

Here: the words. Not here: the exit status (failures.py), and errors that the domain has understood before.
"""

from __future__ import annotations

import psycopg.errors
import sqlalchemy.exc


def in_words(error: Exception) -> str | None:
    """The message on one line; None where it is no error of the database."""
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return None
    reason = " ".join(str(error.orig).split())
    if isinstance(error, sqlalchemy.exc.OperationalError):
        return f"the database of AUDIT_LOG_DATABASE_URL did not answer: {reason}"
    if isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
        return f"the database refused: {reason}; it is read-only, as a replica is: connect to the primary"
    if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
        return f"the database refused: {reason}; docs/audit.md says who may"
    return f"the database refused: {reason}; `compliance check` says what is missing"
