"""A plan is carried out where it was made, or given up, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import Redis
from sqlalchemy import text

from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.errors import ConversationError
from compliance_pipelines.conversations.place import STORE_KEY
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.conversations.store import CheckpointStore
from tests.integration.conversations.conftest import bind
from tests.integration.conversations.test_faults import purge_in_a_process_that_dies
from tests.support.redis_commands import dump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from tests.integration.conversations.conftest import World


@pytest.fixture
def elsewhere(world: World, redis_server: EmbeddedRedis) -> Iterator[CheckpointStore]:
    """Another database of the same server, of the same environment."""
    url = redis_server.url().replace("/0", "/1")
    with Redis.from_url(url) as client:
        client.flushdb()
        store = CheckpointStore(connect_url(url))
        bind(world.services, store)
        yield store
        store.close()
        client.flushdb()


def dumps(world: World) -> dict[bytes, bytes]:
    return {key: dump(world.client, key) for key in world.names()}


def unfinished(world: World) -> list[record.OpenPurge]:
    with world.services.engine.connect() as connection:
        return record.open_purges(connection)


@pytest.mark.parametrize("step", [PurgeStep.FROZEN, PurgeStep.SET_ASIDE])
def test_another_redis_plan_is_not_finished_here(world: World, elsewhere: CheckpointStore, step: PurgeStep) -> None:
    world.writer().ask("thread", at=world.ago(100))
    purge_in_a_process_that_dies(world, step)

    report = Retention(world.services, elsewhere).purge()

    assert report.finished == ()
    assert [each.id for each in unfinished(world)] == [1]
    assert world.retention().purge().finished[0].threads_deleted == 1
    assert not world.names()


def test_another_applications_plan_is_not_finished_here(world: World) -> None:
    prefixes = {"checkpoint_redis_prefix": "agents", "checkpoint_redis_write_prefix": "agents_write"}
    world.writer().ask("thread", at=world.ago(100))
    purge_in_a_process_that_dies(world, PurgeStep.SET_ASIDE)
    before = dumps(world)

    assert world.retention(**prefixes).purge().finished == ()

    assert dumps(world) == before
    assert world.retention().purge().finished[0].threads_deleted == 1


def test_sets_and_what_came_back_are_told_by_place(world: World, elsewhere: CheckpointStore) -> None:
    writer = world.writer()
    writer.say("thread", at=world.ago(100))
    saved = dumps(world)
    purged = world.retention().purge().purged
    assert purged is not None
    assert purged.place == world.retention().place()
    store_id = world.client.get(STORE_KEY)
    assert isinstance(store_id, bytes)
    assert purged.as_json()["place"] == {
        "store_id": store_id.decode(),
        "checkpoint_prefix": "checkpoint",
        "write_prefix": "checkpoint_write",
    }
    with world.services.engine.connect() as connection:
        metadata = connection.execute(
            text("SELECT metadata FROM audit_logs WHERE action = 'conversations.purge'")
        ).scalar_one()
    assert metadata["place"] == purged.as_json()["place"]

    for key, value in saved.items():
        elsewhere.client.restore(key, 0, value)
    there = Retention(world.services, elsewhere)
    assert there.resurrected(there.survey()) == []
    for key, value in saved.items():
        world.client.restore(key, 0, value)
    here = world.retention()
    assert here.resurrected(here.survey()) == ["thread"]


@pytest.mark.parametrize("step", [PurgeStep.FROZEN, PurgeStep.SET_ASIDE, PurgeStep.VERIFIED])
def test_a_plan_that_is_given_up_leaves_everything_as_it_was(world: World, step: PurgeStep) -> None:
    world.writer().ask("thread", at=world.ago(100))
    world.writer("shallow").say("other", at=world.ago(100))
    before = dumps(world)
    purge_in_a_process_that_dies(world, step)

    given_up = world.retention().abandon(1, "the period was wrong")

    assert dumps(world) == before
    assert (given_up.threads_abandoned, given_up.threads_deleted) == (2, 0)
    assert unfinished(world) == []
    with world.services.engine.connect() as connection:
        assert record.last_day_done(connection, world.retention().layout) is None
        entry = connection.execute(
            text("SELECT result, metadata FROM audit_logs WHERE action = 'conversations.purge'")
        ).one()
        assert connection.execute(text("SELECT count(*) FROM conversation_purge_work")).scalar_one() == 0
    assert entry.result == "partial"
    assert entry.metadata["abandoned"] == "the period was wrong"


def test_a_removal_that_was_begun_stays_one_when_the_plan_is_given_up(world: World) -> None:
    world.writer().ask("thread", at=world.ago(100))
    purge_in_a_process_that_dies(world, PurgeStep.REMOVED)

    given_up = world.retention().abandon(1, "too late")

    assert (given_up.threads_abandoned, given_up.threads_deleted) == (0, 1)


def test_the_plan_of_a_redis_that_is_lost_is_given_up_without_looking_there(
    world: World, elsewhere: CheckpointStore
) -> None:
    world.writer().ask("thread", at=world.ago(100))
    purge_in_a_process_that_dies(world, PurgeStep.FROZEN)
    there = Retention(world.services, elsewhere)
    with pytest.raises(ConversationError, match="another Redis"):
        there.abandon(1, "lost")

    assert there.abandon(1, "lost", is_lost=True).threads_abandoned == 1
    assert unfinished(world) == []
    with pytest.raises(ConversationError, match="no unfinished plan 1"):
        there.abandon(1, "lost")


def test_a_flushed_redis_is_another_one(world: World) -> None:
    world.writer().ask("thread", at=world.ago(100))
    purge_in_a_process_that_dies(world, PurgeStep.FROZEN)
    world.client.flushall()
    bind(world.services, world.store)
    world.writer().ask("thread", at=world.ago(100))

    assert world.retention().purge().finished == ()
    assert [each.id for each in unfinished(world)] == [1]


def test_what_carries_no_identity_is_told(world: World) -> None:
    world.client.set(STORE_KEY, "mine")
    with pytest.raises(ConversationError, match="no identity of a store"):
        world.retention().purge()
