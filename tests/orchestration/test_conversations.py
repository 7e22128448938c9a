"""Conversation retention, run by run: sets, limits, checks, and the schedule that catches up."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import text

from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY
from compliance_pipelines.conversations.place import STORE_KEY
from compliance_pipelines.orchestration import conversations as retention
from compliance_pipelines.orchestration.assets import conversations as assets
from tests.integration.conversations.made import Maker, id_of
from tests.integration.conversations.savers import Writer
from tests.orchestration.retention_runs import (
    TODAY,
    config_told,
    definitions_of,
    metadata_of,
    metadata_of_failure,
    noon,
    requested,
    run_job,
    services_of_today,
)
from tests.support.redis_commands import dump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster import AssetCheckEvaluation, DagsterInstance, Definitions, ExecuteInProcessResult

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock


STEP = "conversations__purged_set"


@pytest.fixture
def client(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    with Redis.from_url(redis_server.url()) as opened:
        opened.flushall()
        yield opened


@pytest.fixture
def services(services: Services, client: Redis, redis_server: EmbeddedRedis, clock: MovableClock) -> Services:
    return services_of_today(services, clock, checkpoint_redis_url=SecretStr(redis_server.url()))


@pytest.fixture
def writer(client: Redis, redis_server: EmbeddedRedis) -> Writer:
    return Writer(client, redis_server.url())


@pytest.fixture
def definitions(services: Services) -> Definitions:
    return definitions_of(services, assets, retention)


def run(
    definitions: Definitions,
    instance: DagsterInstance,
    day: date | None = TODAY,
    job: str = "conversation_retention",
    confirm: int | None = None,
) -> ExecuteInProcessResult:
    ops = {} if confirm is None else {STEP: {"config": {"confirm": confirm}}}
    return run_job(definitions, instance, job, day, ops)


def checks(result: ExecuteInProcessResult) -> dict[str, AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_a_days_set_is_what_was_due_when_the_day_began(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, client: Redis
) -> None:
    writer.say("due-since-yesterday", at=noon(91))
    writer.say("due-at-noon", at=noon(90))

    result = run(definitions, instance)

    assert result.success
    metadata = metadata_of(result, STEP)
    assert metadata["conversations removed"].value == 1
    assert metadata["keys removed: checkpoint"].value == 3
    assert metadata["bytes freed"].value > 0  # type: ignore[operator]
    assert metadata["cutoff"].value == "2026-03-12T00:00:00+00:00"
    assert not list(client.scan_iter("*due-since-yesterday*"))
    assert list(client.scan_iter("*due-at-noon*"))
    assert {name: check.passed for name, check in checks(result).items()} == {
        "nothing_past_its_cutoff": True,
        "no_orphans": True,
        "no_resurrected_threads": True,
    }


def test_a_backfilled_day_removes_what_was_due_by_then_and_no_more(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, services: Services
) -> None:
    writer.say("older", at=noon(101))
    writer.say("younger", at=noon(95))

    assert run(definitions, instance, TODAY - timedelta(days=10)).success
    assert run(definitions, instance, TODAY - timedelta(days=4)).success

    with services.engine.connect() as connection:
        sets = record.latest_sets(connection, 5)
    assert [(each.day, each.threads_deleted) for each in sets] == [
        (TODAY - timedelta(days=4), 1),
        (TODAY - timedelta(days=10), 1),
    ]


def test_a_plan_that_is_too_large_fails_with_its_numbers_until_a_person_confirms(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, client: Redis, services: Services
) -> None:
    for number in range(3):
        writer.say(f"old-{number}", at=noon(100))
    object.__setattr__(services.settings, "conversation_purge_max_threads", 2)
    before = set(client.scan_iter())

    refused = run(definitions, instance)

    assert not refused.success
    told = metadata_of_failure(refused)
    assert told["conversations due"].value == 3
    assert told["conversations seen"].value == 3
    assert set(client.scan_iter()) == before
    assert config_told(refused) == {"ops": {STEP: {"config": {"confirm": 3}}}}
    assert run(definitions, instance, confirm=3).success
    assert set(client.scan_iter()) == {ENVIRONMENT_KEY.encode(), STORE_KEY.encode()}


def test_checks_see_what_is_overdue_orphaned_undated_and_resurrected(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, client: Redis
) -> None:
    writer.say("comes-back", at=noon(100))
    saved = {key: dump(client, key) for key in client.scan_iter("*comes-back*")}
    assert run(definitions, instance).success
    for key, value in saved.items():
        client.restore(key, 0, value)
    client.set("checkpoint_latest:lost:__empty__", "checkpoint:lost:__empty__:1f0")

    found = checks(run(definitions, instance, None, "conversation_health"))

    assert {name: check.passed for name, check in found.items()} == dict.fromkeys(found, False)
    late = found["nothing_past_its_cutoff"].metadata["seconds_past_cutoff"].value
    assert late == pytest.approx(9.5 * 86_400)
    assert found["no_orphans"].metadata["orphan keys"].value == 1
    assert found["no_resurrected_threads"].metadata["resurrected"].value == 1

    client.json().set("checkpoint:undated:", "$", {"thread_id": "undated", "checkpoint_ns": "", "checkpoint_id": "x"})
    found = checks(run(definitions, instance, None, "conversation_health"))
    assert found["nothing_past_its_cutoff"].metadata["seconds_past_cutoff"].value == "unknown"


def test_a_conversation_whose_time_lies_ahead_is_told_and_is_not_due_before_its_time(
    definitions: Definitions, instance: DagsterInstance, client: Redis
) -> None:
    written = datetime.now(UTC) - timedelta(days=1)
    ahead = written + timedelta(days=900)
    Maker(client).checkpoint("ahead", "__empty__", id_of(ahead), ts=ahead, written=written)
    found = checks(run(definitions, instance, None, "conversation_health"))["nothing_past_its_cutoff"]
    assert found.passed
    assert found.metadata["ahead of the present"].value == 1


def test_a_conversation_begun_anew_under_a_removed_id_is_not_resurrected(
    definitions: Definitions, instance: DagsterInstance, writer: Writer
) -> None:
    writer.say("again", at=noon(100))
    assert run(definitions, instance).success
    writer.say("again", at=datetime.now(UTC) + timedelta(minutes=1))
    found = checks(run(definitions, instance, None, "conversation_health"))
    assert found["no_resurrected_threads"].passed


def test_the_schedule_asks_for_today_and_for_every_day_that_was_missed(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, services: Services, clock: MovableClock
) -> None:
    asks = partial(requested, instance, services, retention.conversation_retention_schedule)
    assert asks() == ["2026-06-10"]
    assert run(definitions, instance).success
    assert asks() == []
    clock.advance(days=3)
    assert asks() == ["2026-06-11", "2026-06-12", "2026-06-13"]
    object.__setattr__(services.settings, "archive_max_runs_per_tick", 2)
    assert asks() == ["2026-06-12", "2026-06-13"]
    object.__setattr__(services.settings, "checkpoint_redis_url", None)
    assert asks() == []


def test_pages_of_dagster_show_no_thread_and_no_user(
    definitions: Definitions, instance: DagsterInstance, writer: Writer, services: Services
) -> None:
    writer.say("secret-thread", at=noon(100), user_id="secret-user")
    with services.engine.begin() as connection:
        connection.execute(
            text("INSERT INTO legal_holds (scope, subject, reason, author) VALUES ('thread', 'other', 'r', 'a')")
        )
    result = run(definitions, instance)
    assert result.success
    shown = str(metadata_of(result, STEP)) + "".join(str(check) for check in checks(result).values())
    assert "secret" not in shown


def test_the_checks_do_not_take_the_redis_of_another_environment_for_a_clean_one(
    definitions: Definitions, instance: DagsterInstance, client: Redis
) -> None:
    client.set(ENVIRONMENT_KEY, "6f1b2a3c-0000-4000-8000-000000000000")
    assert not run(definitions, instance, None, "conversation_health").success
