"""Killed between any two steps, or with a server gone: the next attempt finishes, and nothing counts twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import text

from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.record import NewRequest, State, load, record_request
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.erasure.runner import RunStep, run_request
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from compliance_pipelines.local_stack.redis import EmbeddedRedis
from tests.integration.erasure.application import EVERYTHING, Application
from tests.integration.erasure.eraser import Eraser, running_eraser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.services import Services

ALICE: Final = "user:alice"


@pytest.fixture(scope="module")
def eraser() -> Iterator[Eraser]:
    with running_eraser() as started:
        yield started


def closures(services: Services) -> list[str]:
    with services.engine.connect() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT result FROM audit_logs WHERE action = 'account_deletion' AND metadata ? 'statement_sha256'"
                )
            ).scalars()
        )


KILLS: Final = (
    ("started", None),
    ("identified", None),
    ("found", "sessions"),
    ("halfway", "sessions"),
    ("erased", "sessions"),
    ("deleted", "sessions"),
    ("halfway", "memories"),
    ("erased", "conversations"),
    ("erased", "user_profiles"),
    ("deleted", "user_profiles"),
    ("verified", "memories"),
    ("recorded", None),
    ("closed", None),
)


def test_an_erasure_killed_after_any_step_is_finished_by_the_next_attempt_and_counts_everything_once(
    services: Services, application: Application, eraser: Eraser
) -> None:
    targets = configured_targets(services.settings)
    for number, (step, target) in enumerate(KILLS, 1):
        user_id = f"user:{number:02}"
        application.meet(user_id)
        case, _ = record_request(services, NewRequest(user_id, "asked", "support"))
        assert eraser.dies(services.settings, case.request.id, step=step, target=target)
        with services.engine.connect() as connection:
            interrupted = load(connection, case.request.id)
        assert (interrupted.state is State.CLOSED) == (step == "closed")
        case = run_request(services, targets, case.request.id)
        assert case.state is State.CLOSED
        # What the dead process deleted without a word is told apart, and everything counts once.
        assert case.deleted() + case.gone() == EVERYTHING, (step, target)
        at_work = step in {"halfway", "erased"}
        gone = {event.target for event in case.events if event.gone}
        assert gone == ({target} if at_work else set()), (step, target)
        assert not application.has_anything_of(user_id)
        assert closures(services) == ["success"] * number


def test_a_killed_process_leaves_no_lock_that_stops_holds_or_the_next_attempt(
    services: Services, application: Application, eraser: Eraser
) -> None:
    application.meet(ALICE)
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    assert eraser.dies(services.settings, case.request.id, step="found", target="sessions")
    assert add_hold(services, NewHold(HoldScope.EVERYTHING, "case 7", "counsel"), wait=timedelta(seconds=5)).settled


def test_what_a_killed_attempt_deleted_is_on_record_with_the_next_one_even_if_that_is_stopped(
    services: Services, application: Application, eraser: Eraser
) -> None:
    application.meet(ALICE)
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    assert eraser.dies(services.settings, case.request.id, step="deleted", target="sessions")
    add_hold(services, NewHold(HoldScope.USER, "case 7", "counsel", subject=ALICE))
    targets = configured_targets(services.settings)
    assert run_request(services, targets, case.request.id).state is State.HELD
    run_request(services, targets, case.request.id)
    with services.engine.connect() as connection:
        records = connection.execute(
            text("SELECT result, metadata FROM audit_logs WHERE action = 'account_deletion'")
        ).all()
    assert [(row.result, row.metadata["deletion_count"]) for row in records] == [("partial", 3)]
    assert records[0].metadata["errors"] == ["all: legal hold 1"]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path / "own-redis")
    server.start()
    yield server
    server.stop()


def test_a_redis_that_restarts_in_the_middle_leaves_a_request_that_the_next_attempt_finishes(
    services: Services, application_engine: sqlalchemy.Engine, own_redis: EmbeddedRedis
) -> None:
    client = Redis.from_url(own_redis.url())
    application = Application(client, application_engine)
    application.create_tables()
    application.meet(ALICE)
    url = SecretStr(own_redis.url())
    names = ("gdpr_session_redis_url", "gdpr_store_redis_url", "checkpoint_redis_url")
    settings = services.settings.model_copy(update=dict.fromkeys(names, url))
    bind_redis(replace(services, settings=settings))
    targets = configured_targets(settings)
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))

    def stop(step: RunStep, target: str | None, /) -> None:
        if (step, target) == (RunStep.FOUND, "conversations"):
            own_redis.stop()

    case = run_request(services, targets, case.request.id, hook=stop)
    assert case.state is State.PARTIAL
    assert application.rows("SELECT 1 FROM user_profiles") == []
    failed = {event.target for event in case.events if event.kind.value == "failed"}
    assert failed == {"conversations", "conversation_notes", "memories"}
    own_redis.start()
    case = run_request(services, targets, case.request.id)
    assert case.state is State.CLOSED
    assert case.deleted() == EVERYTHING
    client = Redis.from_url(own_redis.url())
    assert not Application(client, application_engine).has_anything_of(ALICE)
    assert [event.target for event in case.events if event.kind.value == "deleted" and event.attempt == 2] == [
        "conversations",
        "conversation_notes",
        "memories",
    ]


def test_a_database_that_hangs_up_in_the_middle_is_as_if_the_process_had_been_killed(
    services: Services, application: Application, superuser_engine: sqlalchemy.Engine
) -> None:
    application.meet(ALICE)
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))

    def hang_up(step: RunStep, target: str | None, /) -> None:
        if (step, target) == (RunStep.ERASED, "sessions"):
            with superuser_engine.connect() as connection:
                connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND usename = 'test_pipeline'"
                    )
                )

    targets = configured_targets(services.settings)
    with pytest.raises(Exception, match=r"terminat|closed|lost|invalid"):
        run_request(services, targets, case.request.id, hook=hang_up)
    case = run_request(services, targets, case.request.id)
    assert case.state is State.CLOSED
    assert case.deleted() + case.gone() == EVERYTHING
    assert {event.target for event in case.events if event.gone} == {"sessions"}
    assert not application.has_anything_of(ALICE)
