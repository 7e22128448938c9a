"""Sets that the command line purged show on Dagster's pages, once, and those of runs are not told again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest
from dagster import DagsterRunStatus, Definitions, build_sensor_context
from pydantic import SecretStr
from redis import Redis

from compliance_pipelines.conversations.plan import Selection
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.store import open_store
from compliance_pipelines.definitions import build_standalone
from compliance_pipelines.orchestration import conversations, purged_sets, sessions
from compliance_pipelines.orchestration.assets import conversations as conversation_assets
from compliance_pipelines.orchestration.assets import sessions as session_assets
from compliance_pipelines.orchestration.names import NAMES, Names
from compliance_pipelines.orchestration.resources import SERVICES
from compliance_pipelines.orchestration.sensors import records_sensor
from compliance_pipelines.sessions.places import open_places
from compliance_pipelines.sessions.purge import SessionRetention
from tests.integration.conversations.savers import Writer
from tests.integration.erasure.server_writes import log_in
from tests.orchestration.retention_runs import TODAY, definitions_of, noon, run_job, services_of_today

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster import DagsterInstance, SensorExecutionData

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock

LIFE = 400 * 86_400


@dataclass
class Kind:
    """One retention: something that is due, and a purge by whoever."""

    name: str
    sets: purged_sets.PurgedSets
    services: Services
    instance: DagsterInstance
    redis: Redis
    redis_url: str

    def make_due(self, user: str) -> None:
        if self.name == "conversations":
            Writer(self.redis, self.redis_url).say(user, at=noon(120))
        else:
            log_in(self.redis, user, when=noon(120), seconds=LIFE)

    def purge(self, day: date = TODAY) -> None:
        """As a person does at the command line."""
        now = datetime.combine(day, time(), UTC)
        if self.name == "conversations":
            with open_store(self.services.settings) as store:
                Retention(self.services, store).purge(day=day, now=now)
        else:
            with open_places(self.services.settings) as places:
                SessionRetention(self.services, places).purge(day=day, now=now)

    def definitions(self) -> Definitions:
        if self.name == "conversations":
            return definitions_of(self.services, conversation_assets, conversations)
        return definitions_of(self.services, session_assets, sessions)

    def tick(self, cursor: str | None = None) -> SensorExecutionData:
        """One tick of the sensor, whose events are recorded."""
        context = build_sensor_context(
            instance=self.instance,
            repository_def=build_standalone({SERVICES: self.services}).get_repository_def(),
            resources={SERVICES: self.services, NAMES: Names()},
            cursor=cursor,
        )
        data = records_sensor.evaluate_tick(context)
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return data

    def told(self) -> list[str | None]:
        """The days of the sets that a tick reports."""
        return [event.partition for event in self.tick().asset_events if event.asset_key == self.sets.asset]

    def shown(self) -> dict[str, object]:
        [record] = self.instance.fetch_materializations(self.sets.asset, limit=1).records
        assert record.asset_materialization is not None
        return {key: value.value for key, value in record.asset_materialization.metadata.items()}


@pytest.fixture(params=["conversations", "sessions"])
def kind(
    request: pytest.FixtureRequest,
    services: Services,
    redis_server: EmbeddedRedis,
    clock: MovableClock,
    instance: DagsterInstance,
) -> Iterator[Kind]:
    name = str(request.param)
    url = redis_server.url()
    setting = {"conversations": "checkpoint_redis_url", "sessions": "gdpr_session_redis_url"}[name]
    sets = {"conversations": purged_sets.CONVERSATION_SETS, "sessions": purged_sets.SESSION_SETS}[name]
    with Redis.from_url(url) as client:
        client.flushall()
        bound = services_of_today(services, clock, **{setting: SecretStr(url)})
        yield Kind(name, sets, bound, instance, client, url)


def removed(kind: Kind) -> object:
    return kind.shown()["conversations removed" if kind.name == "conversations" else "keys removed"]


def test_a_purge_at_the_command_line_is_shown_once(kind: Kind) -> None:
    kind.make_due("user-1")
    kind.make_due("user-2")
    assert kind.told() == []
    kind.purge()
    assert kind.told() == [str(TODAY)]
    assert removed(kind) == 2
    assert kind.told() == []


def test_a_second_purge_of_a_day_adds_to_what_a_run_showed(kind: Kind) -> None:
    kind.make_due("user-1")
    assert run_job(kind.definitions(), kind.instance, kind.sets.job, TODAY, {}).success
    assert kind.told() == []
    kind.make_due("user-2")
    kind.purge()
    assert kind.told() == [str(TODAY)]
    assert removed(kind) == 2
    assert kind.told() == []


def test_a_run_after_the_command_line_leaves_nothing_to_tell(kind: Kind) -> None:
    kind.make_due("user-1")
    kind.purge()
    assert run_job(kind.definitions(), kind.instance, kind.sets.job, TODAY, {}).success
    assert kind.told() == []


def test_a_long_history_is_gone_through_in_steps(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purged_sets, "DAYS_PER_TICK", 2)
    days = [TODAY - timedelta(days=ago) for ago in (3, 2, 1)]
    for day in days:
        kind.make_due(f"user-{day}")
        kind.purge(day)
    cursor = None
    found = []
    for _ in range(3):
        data = kind.tick(cursor)
        cursor = data.cursor
        found.append([event.partition for event in data.asset_events if event.asset_key == kind.sets.asset])
    assert found == [[str(days[0]), str(days[1])], [str(days[2])], []]


def test_what_a_run_is_working_on_is_left_to_it(kind: Kind) -> None:
    kind.make_due("user-1")
    kind.purge()
    job = build_standalone({SERVICES: kind.services}).resolve_job_def(kind.sets.job)
    run = kind.instance.create_run_for_job(job, status=DagsterRunStatus.STARTED)
    cursor = json.dumps({"sets": {kind.sets.asset.to_user_string(): str(TODAY - timedelta(days=9))}})
    data = kind.tick(cursor)
    assert list(data.asset_events) == []
    assert data.cursor is not None
    assert json.loads(data.cursor)["sets"] == json.loads(cursor)["sets"]
    kind.instance.report_run_canceled(run)
    assert kind.told() == [str(TODAY)]


def test_the_cursor_of_the_release_before_is_read(kind: Kind) -> None:
    kind.make_due("user-1")
    kind.purge()
    data = kind.tick(json.dumps({"day": None, "closed": "1970-01-01T00:00:00+00:00"}))
    assert [event.asset_key for event in data.asset_events] == [kind.sets.asset]


def test_a_purge_of_one_user_is_shown_and_leaves_the_day_to_be_asked_for(
    services: Services, redis_server: EmbeddedRedis, clock: MovableClock, instance: DagsterInstance
) -> None:
    with Redis.from_url(redis_server.url()) as client:
        client.flushall()
        bound = services_of_today(services, clock, checkpoint_redis_url=SecretStr(redis_server.url()))
        kind = Kind("conversations", purged_sets.CONVERSATION_SETS, bound, instance, client, redis_server.url())
        kind.make_due("user-1")
        with open_store(bound.settings) as store:
            Retention(bound, store).purge(selection=Selection("nobody"))
        assert kind.told() == [str(TODAY)]
        assert removed(kind) == 0
        assert conversations.wanted_days(bound) == [TODAY]
