"""What PostgreSQL says of an append is said in the project's words, with what to do."""

from __future__ import annotations

import psycopg.errors
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from compliance_pipelines.audit_log.entry import InvalidEntryError
from compliance_pipelines.audit_log.errors import AppendInterruptedError, AppendNotPossibleError, appending
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.postgres.engine import create_engine


def raised(error: Exception) -> Exception:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Exception) as caught, appending("the import of x", engine):  # noqa: PT011 - the test looks at it
        raise error
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("server closed the connection unexpectedly\n\tThis probably means"),
        psycopg.errors.QueryCanceled("canceling statement due to user request"),
        psycopg.errors.AdminShutdown("terminating connection"),
        psycopg.errors.OutOfMemory(
            "out of shared memory\nHINT:  You might need to increase max_locks_per_transaction."
        ),
        psycopg.errors.DiskFull("could not extend file"),
    ],
)
def test_what_may_pass_by_itself_is_transient_whoever_raised_it(error: psycopg.Error) -> None:
    for wrapped in (error, OperationalError("COPY", {}, error)):
        found = raised(wrapped)
        assert isinstance(found, AppendInterruptedError)
        assert isinstance(found, TransientError)
        reason = " ".join(str(error).split())
        assert str(found) == (
            f"the import of x was interrupted: {reason}; run it again: entries that are there already are not doubled"
        )


def test_who_holds_a_lock_is_asked() -> None:
    found = raised(psycopg.errors.LockNotAvailable("canceling statement due to lock timeout"))
    assert isinstance(found, AppendInterruptedError)
    assert "due to lock timeout (who holds the lock could not be asked: connection failed: " in str(found)


@pytest.mark.parametrize(
    "error", [psycopg.errors.InsufficientPrivilege("permission denied"), psycopg.errors.UndefinedTable("no audit_logs")]
)
def test_what_somebody_must_prepare_is_permanent(error: psycopg.Error) -> None:
    found = raised(ProgrammingError("INSERT", {}, error))
    assert isinstance(found, AppendNotPossibleError)
    assert not isinstance(found, TransientError)
    assert "`compliance check` tells what is missing" in str(found)


def test_a_value_that_postgresql_does_not_take_is_an_invalid_entry() -> None:
    found = raised(psycopg.errors.UntranslatableCharacter("unsupported\nUnicode escape sequence"))
    assert isinstance(found, InvalidEntryError)
    assert str(found) == ("PostgreSQL cannot store an entry: unsupported Unicode escape sequence; nothing was appended")


def test_a_mistake_of_ours_stays_what_it_is() -> None:
    error = ProgrammingError("SELECT", {}, psycopg.errors.SyntaxError("at or near"))
    assert raised(error) is error
