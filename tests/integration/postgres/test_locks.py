"""The lock that one process at a time holds: waited for, given back, gone with its session."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.postgres.locks import LockLostError, process_lock

if TYPE_CHECKING:
    import sqlalchemy

AT_ONCE = timedelta(0)
LONG = timedelta(seconds=900)
WAITERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    " AND wait_event = 'advisory'"
)


def is_free(engine: sqlalchemy.Engine, name: str = "work", key: str = "") -> bool:
    """Asked by an engine of its own: a session may take again what it holds, and a pool lends sessions again."""
    try:
        with engine.connect() as connection, process_lock(connection, name, key, doing="asking", patience=AT_ONCE):
            return True
    except LockBusyError:
        return False


def test_only_one_holds_it_and_each_key_is_another(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    with engine.connect() as connection, process_lock(connection, "work", "1", doing="the work"):
        assert not is_free(superuser_engine, "work", "1")
        assert is_free(superuser_engine, "work", "2")
        assert is_free(superuser_engine, "play", "1")
    assert is_free(superuser_engine, "work", "1")


def test_who_could_not_have_it_has_a_connection_that_works_and_takes_nothing_away(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    with engine.connect() as first, process_lock(first, "work", doing="the work"):
        with engine.connect() as second:
            busy = process_lock(second, "work", doing="the other work", patience=AT_ONCE)
            with pytest.raises(LockBusyError, match=r"^the other work: another process is at it"), busy:
                pass
            assert second.execute(text("SELECT 1")).scalar_one() == 1
        assert not is_free(superuser_engine)


def test_it_is_given_back_by_whoever_fails_with_a_transaction_open(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    def fail() -> None:
        with engine.connect() as connection, process_lock(connection, "work", doing="the work"):
            connection.execute(text("SELECT 1"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert is_free(superuser_engine)


def test_it_outlasts_the_transactions_under_it(engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection, process_lock(connection, "work", doing="the work"):
        with connection.begin():
            connection.execute(text("SELECT 1"))
        assert not is_free(superuser_engine)


def test_who_waits_gets_it_when_the_session_of_the_holder_ends_and_the_holder_is_told(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    got: list[bool] = []

    def wait() -> None:
        with engine.connect() as connection, process_lock(connection, "work", doing="waiting", patience=LONG):
            got.append(True)

    def lose_it() -> None:
        with engine.connect() as holder, process_lock(holder, "work", doing="the work"):
            backend = holder.execute(text("SELECT pg_backend_pid()")).scalar_one()
            holder.rollback()
            waiter = threading.Thread(target=wait)
            waiter.start()
            with superuser_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watcher:
                while not watcher.execute(WAITERS).scalar_one():
                    assert waiter.is_alive()
                assert got == []
                watcher.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": backend})
            waiter.join(timeout=LONG.total_seconds())
            assert got == [True]

    with pytest.raises(LockLostError, match=r"^the work: the lock was lost"):
        lose_it()
    assert is_free(superuser_engine)
