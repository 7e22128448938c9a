"""What holds sealing back is named, with the command that ends it: above all prepared transactions that nobody ends."""

from __future__ import annotations

import dataclasses
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.local_stack.postgres import THROWAWAY_SETTINGS, EmbeddedPostgres
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.orchestration.checks import sealing_lag_verdict, sealing_verdict
from compliance_pipelines.postgres.engine import conninfo_of, create_engine
from compliance_pipelines.postgres.holders import advisory_lock_holders, table_locks_held
from compliance_pipelines.postgres.names import sql_literal
from compliance_pipelines.postgres.open_transactions import PreparedTransaction
from compliance_pipelines.settings import Settings
from tests.integration.audit_log.entries import entry
from tests.support.command import Command
from tests.support.logins import login_url, make_logins
from tests.support.servers import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.services import Services

_DATABASE: Final = "audit"
_ELSEWHERE: Final = "else where"
_HOSTILE: Final = "o'r\x1b[31mph\\an\n\u202e"
_OLD: Final = "SELECT bool_and(prepared < clock_timestamp() - interval '1.5 s') FROM pg_prepared_xacts"
_FIND_COMMAND: Final = re.compile(r"`(ROLLBACK PREPARED .*?)` \(or")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this module alone: a prepared transaction holds back everybody on its server."""
    server = EmbeddedPostgres(
        tmp_path_factory.mktemp("prepared") / "server",
        settings={**THROWAWAY_SETTINGS, "max_prepared_transactions": "5"},
    )
    server.start()
    server.create_database(_DATABASE)
    server.create_database(_ELSEWHERE)
    migrate(server.url(_DATABASE))
    make_logins(server.url(_DATABASE))
    yield server
    server.stop()


@pytest.fixture
def held(server: EmbeddedPostgres, services: Services, tmp_path: Path) -> Iterator[Services]:
    """Services on that server, for which a second is long."""
    with psycopg.connect(server.url(_DATABASE), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'test_pipeline'")
    server.drop_database("one_test")
    server.create_database("one_test", template=_DATABASE)
    url = login_url(server.url("one_test"), "test_pipeline")
    settings = Settings.model_validate(
        {
            **services.settings.model_dump(),
            "audit_log_database_url": url,
            "audit_cold_storage_path": tmp_path / "held",
            "ledger_seal_max_lag_seconds": 1,
        }
    )
    engine = create_engine(url, pool_size=5)
    store = LocalObjectStore(tmp_path / "held")
    store.create()
    opened = dataclasses.replace(services, settings=settings, engine=engine, store=store)
    init_store(opened)
    yield opened
    engine.dispose()


@contextmanager
def prepared(
    server: EmbeddedPostgres, gid: str = _HOSTILE, *, database: str = _ELSEWHERE, doing: str = ""
) -> Iterator[None]:
    """An orphan, older than a second; ended at the end unless the test did."""
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT pg_current_xact_id()")
        if doing:
            connection.execute(doing.encode())
        connection.execute(f"PREPARE TRANSACTION {sql_literal(gid)}".encode())
        try:
            while connection.execute(_OLD).fetchone() != (True,):
                pass
            yield
        finally:
            if connection.execute("SELECT FROM pg_prepared_xacts").fetchone() is not None:
                connection.execute(f"ROLLBACK PREPARED {sql_literal(gid)}".encode())


def append(services: Services, count: int) -> None:
    AuditLog(services.engine).append_many([entry(number, timestamp=services.clock()) for number in range(count)])


def test_an_orphan_in_any_database_is_named_and_the_command_that_is_said_ends_it(
    server: EmbeddedPostgres, held: Services
) -> None:
    with prepared(server):
        append(held, 3)
        result = seal(held)
        assert result.entries == 0
        (orphan,) = result.held_back
        assert isinstance(orphan, PreparedTransaction)
        assert (orphan.name, orphan.database, orphan.owner) == (sql_literal(_HOSTILE), _ELSEWHERE, "postgres")
        assert str(orphan).isprintable()
        found = _FIND_COMMAND.search(orphan.remedy)
        assert found is not None
        assert "in the database else where, as postgres or a superuser" in orphan.remedy
        with psycopg.connect(server.url(_ELSEWHERE), autocommit=True) as connection:
            connection.execute(found[1].encode())
        assert seal(held).entries == 3


def test_the_command_says_it_and_fails(
    server: EmbeddedPostgres,
    held: Services,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    command = Command(monkeypatch, capsys, tmp_path)
    command.use(held.settings)
    command.set(LEDGER_SEAL_MAX_LAG_SECONDS="1")
    with prepared(server, "orphan"):
        append(held, 3)
        outcome = command("seal")
        assert (outcome.status, outcome.out) == (1, "nothing to seal\n")
        assert outcome.err.startswith("held back by the prepared transaction 'orphan' of postgres in the database else")
        assert "`ROLLBACK PREPARED 'orphan'` (or `COMMIT PREPARED 'orphan'`" in outcome.err
        checked = command("check")
        assert checked.status == 1
        assert "FAIL  database: sealing lag: " in checked.out
        assert "held back by the prepared transaction 'orphan'" in checked.out
        assert "remedy: ask the program that prepared it" in checked.out
    outcome = command("seal")
    assert (outcome.status, outcome.err) == (0, "")


def test_so_do_the_checks_even_while_nothing_waits(server: EmbeddedPostgres, held: Services) -> None:
    def lag_check() -> tuple[str, str | None]:
        *_, check = check_health(
            held.engine, now=datetime.now(UTC), sealing_lag=sealing_lag, max_sealing_lag=timedelta(seconds=1)
        )
        return check.message, check.remedy

    assert lag_check() == ("every entry is sealed", None)
    assert sealing_verdict(held).problem is None
    with prepared(server, "orphan"):
        message, remedy = lag_check()
        assert message.startswith("every entry is sealed; held back by the prepared transaction 'orphan'")
        assert "ROLLBACK PREPARED 'orphan'" in (remedy or "")
        assert "ROLLBACK PREPARED 'orphan'" in (sealing_verdict(held).problem or "")
        append(held, 1)
        late = dataclasses.replace(held, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
        assert "ROLLBACK PREPARED 'orphan'" in sealing_lag_verdict(late).description


def test_a_transaction_of_a_session_is_named_where_it_makes_sealing_late(
    server: EmbeddedPostgres, held: Services
) -> None:
    with psycopg.connect(server.url(_ELSEWHERE), application_name="batch \x1b job") as connection:
        connection.execute("SELECT pg_current_xact_id()")
        append(held, 1)
        late = dataclasses.replace(held, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
        problem = sealing_lag_verdict(late).description
        assert f"held back by the transaction of session {connection.info.backend_pid} of postgres" in problem
        assert f"in the database {_ELSEWHERE}" in problem
        assert f"SELECT pg_terminate_backend({connection.info.backend_pid})" in problem
        assert problem.isprintable()


def test_locks_of_a_prepared_transaction_have_a_holder(server: EmbeddedPostgres, held: Services) -> None:
    lock = "SELECT pg_advisory_xact_lock(hashtext('compliance_pipelines.work'), hashtext(''))"
    with prepared(server, "orphan", database="one_test", doing=lock):
        assert "(the prepared transaction 'orphan' of postgres in the database one_test" in str(
            advisory_lock_holders(conninfo_of(held.engine), "work")
        )
    with prepared(server, "orphan", database="one_test", doing="LOCK TABLE audit_logs IN SHARE MODE"):
        held_by = table_locks_held(conninfo_of(held.engine))
        assert "the prepared transaction 'orphan' of postgres" in held_by
        assert "has ShareLock on audit_logs" in held_by


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_literal_is_printable_and_means_the_text_in_every_session(server: EmbeddedPostgres, value: str) -> None:
    literal = sql_literal(value)
    assert literal.isprintable()
    with psycopg.connect(server.url(_DATABASE), autocommit=True) as connection:
        for conforming in ("on", "off"):
            connection.execute(f"SET standard_conforming_strings = {conforming}".encode())
            assert connection.execute(f"SELECT {literal}::text".encode()).fetchone() == (value,)
