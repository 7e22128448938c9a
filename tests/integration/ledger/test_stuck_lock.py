"""That another process is sealing is no news while it works, and an error when it does nothing any more."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.sealing import SealResult, SealStep, seal
from compliance_pipelines.orchestration.checks import sealing_verdict
from compliance_pipelines.postgres.errors import LockStuckError
from compliance_pipelines.postgres.locks import process_lock
from tests.support.command import Command
from tests.support.logins import url_of
from tests.support.sealing import seal_all, settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days

_LOCK: Final = "SELECT pg_advisory_lock(hashtext('compliance_pipelines.sealing'), hashtext(''))"
_ELSEWHERE: Final = "SELECT pg_advisory_lock(99)"


def bounded(services: Services, seconds: int) -> Services:
    settings = services.settings.model_copy(update={"ledger_seal_max_busy_seconds": seconds})
    return dataclasses.replace(services, settings=settings)


@contextmanager
def left_behind(engine: sqlalchemy.Engine) -> Iterator[int]:
    """A session that holds the lock of sealing, for whom nobody works any more; its process id."""
    with engine.connect() as connection, process_lock(connection, "sealing", doing="sealing"):
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.rollback()
        yield pid


@pytest.mark.usefixtures("impatient")
def test_who_came_later_is_told_who_is_at_it(services: Services, days: Days, day: date) -> None:
    days.append(day, 2, sealed=False)
    results: list[SealResult] = []

    def intrude(step: str) -> None:
        if step == SealStep.HASHED:
            results.append(seal(services))

    assert seal_all(services, step=intrude).entries == 2
    (busy,) = results
    assert busy.busy
    assert "session " in busy.busy_with
    assert "of test_pipeline, compliance_pipelines at 127.0.0.1, idle since " in busy.busy_with


@pytest.mark.usefixtures("patient_for_two_seconds")
def test_a_lock_that_stayed_behind_is_an_error_with_the_remedy(services: Services, engine: sqlalchemy.Engine) -> None:
    with left_behind(engine) as pid:
        assert seal(bounded(services, 900)).busy
        with pytest.raises(LockStuckError, match=rf"session {pid} of test_pipeline.*pg_terminate_backend\({pid}\)"):
            seal(bounded(services, 1))
    assert not seal(services).busy


@pytest.mark.usefixtures("patient_for_two_seconds")
def test_so_says_the_command_with_status_1(  # noqa: PLR0917 - fixtures
    services: Services,
    engine: sqlalchemy.Engine,
    days: Days,
    day: date,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    days.append(day, 2, sealed=False)
    settle(services)
    command = Command(monkeypatch, capsys, tmp_path)
    command.use(services.settings)
    with left_behind(engine) as pid:
        early = command("seal")
        assert (early.status, early.err) == (0, "")
        assert early.out.startswith(f"another process is sealing (session {pid} of ")
        command.set(LEDGER_SEAL_MAX_BUSY_SECONDS="1")
        late = command("seal")
        assert (late.status, late.out) == (1, "")
        assert f"SELECT pg_terminate_backend({pid})" in late.err
    assert command("seal").status == 0


@pytest.mark.usefixtures("patient_for_two_seconds")
def test_so_say_the_checks(services: Services, engine: sqlalchemy.Engine) -> None:
    def lag_check(seconds: int) -> tuple[str, str | None]:
        *_, check = check_health(
            services.engine,
            now=datetime.now(UTC),
            sealing_lag=sealing_lag,
            max_sealing_lag=timedelta(hours=1),
            stuck_after=timedelta(seconds=seconds),
        )
        return check.message, check.remedy

    with left_behind(engine) as pid:
        assert lag_check(900)[1] is None
        assert sealing_verdict(bounded(services, 900)).problem is None
        assert seal(services).busy  # waits for some seconds
        message, remedy = lag_check(1)
        assert f"the lock of sealing is held by what does nothing: session {pid} of test_pipeline" in message
        assert f"SELECT pg_terminate_backend({pid})" in (remedy or "")
        assert f"pg_terminate_backend({pid})" in (sealing_verdict(bounded(services, 1)).problem or "")
    assert lag_check(1)[1] is None


@pytest.mark.usefixtures("impatient")
def test_a_holder_at_work_is_never_an_error(services: Services, database_url: str) -> None:
    with (
        psycopg.connect(url_of(services.engine), autocommit=True) as holder,
        psycopg.connect(database_url, autocommit=True) as other,
    ):
        holder.execute(_LOCK)
        other.execute(_ELSEWHERE)
        working = threading.Thread(target=holder.execute, args=(_ELSEWHERE,))
        working.start()
        try:
            # Whoever waits for the lock waits for longer than the bound.
            assert seal(bounded(services, 1)).busy
            assert seal(bounded(services, 1)).busy
        finally:
            other.execute("SELECT pg_advisory_unlock_all()")
            working.join()


@pytest.mark.usefixtures("patient_for_two_seconds")
def test_a_holder_that_may_not_be_looked_at_is_judged_by_what_gets_sealed(
    services: Services, superuser_engine: sqlalchemy.Engine, days: Days, day: date
) -> None:
    with left_behind(superuser_engine):
        assert seal(bounded(services, 1)).busy
        days.append(day, 2, sealed=False)
        assert seal(bounded(services, 900)).busy
        with pytest.raises(LockStuckError, match=r"the oldest unsealed entry has waited for \d+ s.*pg_monitor"):
            seal(bounded(services, 1))


def test_hashing_gives_signs_of_life_in_the_session_with_the_lock(
    services: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compliance_pipelines.ledger.sealing._SIGN_OF_LIFE_SECONDS", -1.0)
    days.append(day, 2, sealed=False)
    said: list[list[Any]] = []

    def look(step: str) -> None:
        if step == SealStep.HASHED:
            said.append(
                days.execute(
                    "SELECT query FROM pg_stat_activity WHERE pid IN ("
                    " SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
                    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
                )
            )

    seal_all(services, step=look)
    assert [row[0] for row in said[0]] == ["COMMIT"]
