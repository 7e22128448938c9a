"""Through a real PgBouncer everything works in sessions of our own, or nothing is begun and nothing stays behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from sqlalchemy import text

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.reading import open_snapshot
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.postgres import poolers
from compliance_pipelines.postgres.engine import create_asynchronous_engine, create_engine
from compliance_pipelines.postgres.poolers import NoSecondSessionError, SharedSessionError
from compliance_pipelines.postgres.sessions import PINNED, READ_SETTINGS, SessionSettingError
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Days
from tests.integration.audit_log.entries import entry
from tests.support.command import Command
from tests.support.logins import login_url
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.sealing import settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock

_LOCKS: Final = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_SHARED_MODES: Final = ("transaction", "statement")
_HOLD_A_LOCK: Final = """
import sys
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.postgres.locks import process_lock
with create_engine(sys.argv[1], pool_size=1).connect() as connection, process_lock(connection, "work", doing="work"):
    print("held", flush=True)
    sys.stdin.read()
"""


def application(url: str) -> psycopg.Connection[Any]:
    """Another program of the same login, which shares the pool and knows nothing of us."""
    return psycopg.connect(url, autocommit=True, prepare_threshold=None, application_name="other")


def settings_of(connection: psycopg.Connection[Any]) -> dict[str, str]:
    cursor = connection.execute(READ_SETTINGS.encode())
    (row,) = cursor.fetchall()
    found = dict(zip([column.name for column in cursor.description or ()], row, strict=True))
    return {name: found[name] for name in PINNED}


@contextmanager
def under_load(url: str, *, clients: int) -> Iterator[None]:
    """Others use the pool all the time."""
    stop = threading.Event()
    problems: list[Exception] = []

    def work() -> None:
        try:
            with application(url) as connection:
                while not stop.is_set():
                    connection.execute("SELECT count(*) FROM pg_class")
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == [], "our look at the pool disturbed others"


def locks(engine: sqlalchemy.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(_LOCKS)).scalar_one())


@pytest.mark.parametrize("clients", [0, 6], ids=["quiet", "busy"])
@pytest.mark.parametrize("size", [1, 20])
@pytest.mark.parametrize("mode", _SHARED_MODES)
def test_a_pool_that_shares_sessions_is_refused_every_time_and_nothing_of_ours_stays_in_it(  # noqa: PLR0917 - fixtures
    database_url: str,
    pipeline_database_url: str,
    superuser_engine: sqlalchemy.Engine,
    mode: str,
    size: int,
    clients: int,
) -> None:
    with pgbouncer(database_url, mode, default_pool_size=size) as pooler:
        url = pooler.url(pipeline_database_url)
        with application(url) as other:
            before = settings_of(other)
            with under_load(url, clients=clients):
                for _ in range(10):
                    engine = create_engine(url, pool_size=1)
                    with pytest.raises(SharedSessionError, match="nothing was changed; connect to PostgreSQL itself"):
                        engine.connect()
                    with pytest.raises(SharedSessionError), open_snapshot(engine):
                        pass
                    engine.dispose()
            assert settings_of(other) == before
    assert locks(superuser_engine) == 0


@pytest.mark.parametrize("options", [{"server_round_robin": 1}, {"server_reset_query_always": 1}])
def test_however_the_pool_chooses_and_resets(
    database_url: str, pipeline_database_url: str, options: dict[str, int]
) -> None:
    with pgbouncer(database_url, "transaction", default_pool_size=20, **options) as pooler:
        url = pooler.url(pipeline_database_url)
        with under_load(url, clients=4):
            engine = create_engine(url, pool_size=1)
            with pytest.raises(SharedSessionError):
                engine.connect()


def test_luck_is_no_proof(
    database_url: str,
    pipeline_database_url: str,
    superuser_engine: sqlalchemy.Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no round met the session of another: the lock that stays behind tells, and is taken back."""
    monkeypatch.setattr(poolers, "_told_apart", lambda mine, _other, _pid: mine_of(mine))

    def mine_of(mine: Any) -> int:  # noqa: ANN401 - libpq's connection
        (pid,) = poolers._row(mine, "SELECT pg_backend_pid()::text")
        return int(pid or 0)

    with pgbouncer(database_url, "transaction", default_pool_size=1) as pooler:
        engine = create_engine(pooler.url(pipeline_database_url), pool_size=1)
        with pytest.raises(SharedSessionError):
            engine.connect()
        assert locks(superuser_engine) == 0


def test_a_session_that_moves_later_is_refused(
    database_url: str, pipeline_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a pooler whose mode was changed while it ran."""
    monkeypatch.setattr("compliance_pipelines.postgres.sessions.require_own_session", lambda *_: None)
    with pgbouncer(database_url, "transaction", default_pool_size=2) as pooler:
        url = pooler.url(pipeline_database_url)
        engine = create_engine(url, pool_size=1)
        with engine.connect():
            pass
        with application(url) as other, other.transaction():
            other.execute("SELECT 1")
            with pytest.raises(SharedSessionError, match=r"session \d+ answers where session \d+ did"):
                engine.connect()


async def test_asynchronous_engines_are_refused_and_let_through_alike(
    database_url: str, pipeline_database_url: str
) -> None:
    with pgbouncer(database_url, "transaction") as pooler:
        engine = create_asynchronous_engine(pooler.url(pipeline_database_url), pool_size=1)
        with pytest.raises(SharedSessionError):
            await engine.connect()
        await engine.dispose()
    with pgbouncer(database_url, "session") as pooler:
        engine = create_asynchronous_engine(pooler.url(pipeline_database_url), pool_size=1)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SHOW TimeZone"))).scalar_one() == "UTC"
        await engine.dispose()


@pytest.mark.parametrize("mode", _SHARED_MODES)
def test_commands_are_refused_before_they_change_anything(  # noqa: PLR0917 - fixtures
    services: Services,
    settings: Settings,
    database_url: str,
    superuser_engine: sqlalchemy.Engine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    mode: str,
) -> None:
    day = services.clock().date()
    Days(services, superuser_engine).append(day, 3, sealed=False)
    with pgbouncer(database_url, mode, default_pool_size=1) as pooler:
        command = Command(monkeypatch, capsys, tmp_path)
        command.use(settings)
        command.set(AUDIT_LOG_DATABASE_URL=pooler.url(settings.require_database_url()))
        for arguments in (("seal",), ("archive", str(day)), ("purge", str(day)), ("db", "repair")):
            outcome = command(*arguments)
            assert outcome.status == 1, arguments
            assert "pool_mode = session" in outcome.err, arguments
        checked = command("check", "--json")
        assert (checked.status, checked.err) == (1, "")
        found = [each for each in json.loads(checked.out)["checks"] if each["name"].startswith("database: ")]
        assert found
        assert not any(each["ok"] for each in found)
        assert all("pool_mode = session" in each["message"] for each in found)
        assert locks(superuser_engine) == 0
    settle(services)
    assert seal(services).entries == 3


@pytest.mark.parametrize("over_socket", [False, True], ids=["tcp", "socket"])
def test_in_session_mode_the_whole_life_of_a_day_is_the_same(
    services: Services,
    database_url: str,
    pipeline_database_url: str,
    superuser_engine: sqlalchemy.Engine,
    clock: MovableClock,
    *,
    over_socket: bool,
) -> None:
    day = clock.moment.date() - timedelta(days=120)
    moment = clock.moment - timedelta(days=120)
    with pgbouncer(database_url, "session", default_pool_size=20, server_reset_query="DISCARD ALL") as pooler:
        url = pooler.url(pipeline_database_url, over_socket=over_socket)
        engine = create_engine(url, pool_size=5)
        through = dataclasses.replace(services, engine=engine)
        with application(url) as other:
            before = settings_of(other)
            assert AuditLog(engine).append_many([entry(number, timestamp=moment) for number in range(5)]).new == 5
            settle(through)
            assert seal(through).entries == 5
            assert archive_day(through, day).entry_count == 5
            clock.advance(days=8)
            assert purge_day(through, day).entry_count == 5
            settle(through)
            seal(through)
            assert verify(through).findings == ()
            assert settings_of(other) == before
        engine.dispose()
        assert Days(services, superuser_engine).hot_rows(day) == []
        # Whoever gets our sessions next finds them as new ones.
        with application(url) as one, application(url) as two, application(url) as three:
            assert [settings_of(each) for each in (one, two, three)] == [before] * 3
    assert locks(superuser_engine) == 0


@pytest.mark.parametrize("reset", ["", "SELECT pg_advisory_unlock_all()"], ids=["nothing", "locks only"])
def test_a_pool_of_sessions_that_keeps_what_a_client_left_is_refused(
    database_url: str, pipeline_database_url: str, superuser_engine: sqlalchemy.Engine, reset: str
) -> None:
    with pgbouncer(database_url, "session", default_pool_size=20, server_reset_query=reset) as pooler:
        engine = create_engine(pooler.url(pipeline_database_url), pool_size=1)
        with pytest.raises(SharedSessionError, match="whose client is gone"):
            engine.connect()
        assert locks(superuser_engine) == 0


def test_a_pool_of_one_session_is_too_small_and_says_so(
    database_url: str, pipeline_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poolers, "_PATIENCE_SECONDS", 1)
    with pgbouncer(database_url, "session", default_pool_size=1) as pooler:
        engine = create_engine(pooler.url(pipeline_database_url), pool_size=1)
        with pytest.raises(NoSecondSessionError, match=r"none within 1 s.*default_pool_size"):
            engine.connect()


def test_a_parameter_that_the_pooler_does_not_know_is_named(database_url: str, pipeline_database_url: str) -> None:
    with pgbouncer(database_url, "session") as pooler:
        url = f"{pooler.url(pipeline_database_url)}?options=-c%20jit%3Doff"
        engine = create_engine(url, pool_size=1)
        with pytest.raises(SessionSettingError, match=r"refuses the parameter options .* ignore_startup_parameters"):
            engine.connect()
    with pgbouncer(database_url, "session", ignore_startup_parameters="options") as pooler:
        engine = create_engine(f"{pooler.url(pipeline_database_url)}?options=-c%20jit%3Doff", pool_size=1)
        with engine.connect():
            pass
        engine.dispose()


def test_a_client_that_is_killed_leaves_no_lock_in_a_pool_of_sessions(
    database_url: str, pipeline_database_url: str, superuser_engine: sqlalchemy.Engine
) -> None:
    with pgbouncer(database_url, "session", default_pool_size=3) as pooler:
        url = pooler.url(pipeline_database_url)
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD_A_LOCK, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert locks(superuser_engine) == 1
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
        while locks(superuser_engine):
            assert _has_sessions(pooler)


def _has_sessions(pooler: PgBouncer) -> bool:
    return any(pool["database"] != "pgbouncer" for pool in pooler.show("POOLS"))


def test_without_a_pooler_no_other_connection_is_made(
    pipeline_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poolers, "_another", pytest.fail)
    for url in (pipeline_database_url, login_url(pipeline_database_url, "test_reader")):
        engine = create_engine(url, pool_size=1)
        with engine.connect():
            pass
        engine.dispose()


@pytest.mark.parametrize(("over_socket", "told"), [(False, True), (True, False)], ids=["tcp", "socket"])
def test_a_unix_socket_tells_nothing_of_who_listens_and_is_proved_like_a_pooler(
    postgres_server: EmbeddedPostgres, *, over_socket: bool, told: bool
) -> None:
    """Pgpool-II passes the server's process id on; its sockets at both sides were taken for PostgreSQL's own."""
    url = postgres_server.url("postgres", over_socket=over_socket)
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid(), inet_client_port()").fetchone()
        assert row is not None
        assert poolers.is_direct(connection, poolers.Answer(*row)) is told
    engine = create_engine(url)
    with engine.connect() as session:
        assert session.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()
