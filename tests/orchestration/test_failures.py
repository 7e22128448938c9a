"""Which faults are tried again: the passing ones, with growing pauses, and no others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg.errors
import pytest
import sqlalchemy.exc
from dagster import DagsterInstance, job, op

from compliance_pipelines.archive.errors import PurgeRefusedError
from compliance_pipelines.audit_log.reading import ReadingError, open_snapshot
from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.object_store.port import ObjectMissingError, ObjectStoreError
from compliance_pipelines.orchestration.failures import RETRIES, domain_errors, reasons_of_failure
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from dagster import ExecuteInProcessResult

WITHOUT_PAUSE = RETRIES._replace(delay=0)


@dataclass
class Attempts:
    """Raises the error in the first attempts and counts them."""

    error: Exception
    failing: int = 100
    count: int = field(default=0)

    def execute(self) -> ExecuteInProcessResult:
        @op(retry_policy=WITHOUT_PAUSE)
        def attempt() -> None:
            with domain_errors():
                self.count += 1
                if self.count <= self.failing:
                    raise self.error

        @job
        def attempts() -> None:
            attempt()

        with DagsterInstance.ephemeral() as instance:
            return attempts.execute_in_process(
                instance=instance,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )


def in_sqlalchemy(error: psycopg.Error) -> sqlalchemy.exc.DBAPIError:
    """The error as SQLAlchemy passes it on."""
    wrapped = sqlalchemy.exc.DBAPIError.instance("SELECT 1", {}, error, psycopg.Error)
    assert isinstance(wrapped, sqlalchemy.exc.DBAPIError)
    return wrapped


@pytest.mark.parametrize(
    "error",
    [
        TransientError("a lock was not had"),
        ReadingError("the connection broke"),
        ObjectStoreError("the store did not answer"),
        ConnectionResetError("reset by peer"),
        in_sqlalchemy(psycopg.errors.AdminShutdown("terminating connection")),
        in_sqlalchemy(psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        sqlalchemy.exc.TimeoutError("QueuePool limit reached"),
    ],
    ids=lambda error: type(getattr(error, "orig", None) or error).__name__,
)
def test_a_passing_fault_is_tried_again_until_it_has_passed(error: Exception) -> None:
    attempts = Attempts(error, failing=2)
    assert attempts.execute().success
    assert attempts.count == 3


@pytest.mark.parametrize(
    "error",
    [
        ComplianceError("refused"),
        PurgeRefusedError("not due"),
        ConfigurationError("a setting is missing"),
        ObjectMissingError("no such object"),
        in_sqlalchemy(psycopg.errors.InsufficientPrivilege("permission denied")),
        in_sqlalchemy(psycopg.errors.CheckViolation("violates check constraint")),
        KeyError("a mistake in the code"),
    ],
    ids=lambda error: type(getattr(error, "orig", None) or error).__name__,
)
def test_a_permanent_fault_is_not_tried_again(error: Exception) -> None:
    attempts = Attempts(error)
    assert not attempts.execute().success
    assert attempts.count == 1


def test_a_fault_that_does_not_pass_ends_after_three_more_attempts() -> None:
    attempts = Attempts(TransientError("busy"))
    result = attempts.execute()
    assert (result.success, attempts.count) == (False, 4)
    assert reasons_of_failure(result.all_events) == ["attempt: compliance_pipelines.base.errors.TransientError: busy"]


def test_a_connection_that_fails_shows_no_password() -> None:
    engine = create_engine("postgresql://u:hunter2%20%40%25@127.0.0.1:1,localhost:1/x", pool_size=1)
    with pytest.raises(sqlalchemy.exc.OperationalError) as failed:
        engine.connect()
    with pytest.raises(ReadingError) as unread, open_snapshot(engine):
        pass
    for error in (failed.value, unread.value):
        result = Attempts(error).execute()
        assert len(reasons_of_failure(result.all_events)) == 1
        assert "hunter2" not in repr(result.all_events)


def test_pauses_grow() -> None:
    pauses = [[RETRIES.calculate_delay(attempt) for _ in range(200)] for attempt in (1, 2, 3)]
    assert [round(sum(each) / len(each)) for each in pauses] == pytest.approx([5, 15, 35], rel=0.3)
    assert all(len(set(each)) > 1 for each in pauses)


def test_the_reason_is_the_domain_s_own_words() -> None:
    result = Attempts(PurgeRefusedError("2026-01-01 was not purged:\n it is held")).execute()
    assert reasons_of_failure(result.all_events) == ["attempt: 2026-01-01 was not purged: it is held"]


def test_a_mistake_in_the_code_is_named_with_its_type() -> None:
    result = Attempts(KeyError("day")).execute()
    assert reasons_of_failure(result.all_events) == ["attempt: KeyError: 'day'"]
