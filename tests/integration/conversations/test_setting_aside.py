"""A conversation that somebody goes on with while it goes is kept whole: nothing old and nothing new is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langgraph.checkpoint.base.id import uuid6

from compliance_pipelines.conversations.keys import ASIDE
from compliance_pipelines.conversations.steps import PurgeStep
from tests.integration.conversations.savers import config_of, saved_in
from tests.integration.conversations.test_purge import at_step
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from langgraph.checkpoint.base import CheckpointTuple, PendingWrite

    from tests.integration.conversations.conftest import World

LATER = (PurgeStep.SET_ASIDE, PurgeStep.VERIFIED)


def states(world: World, thread_id: str) -> list[tuple[str, object]]:
    """Every checkpoint of a thread and what it holds, newest first, as the saver reads it."""
    found = world.writer().saver().list(config_of(thread_id))
    return [(each.config["configurable"]["checkpoint_id"], each.checkpoint["channel_values"]) for each in found]


def pending(saved: CheckpointTuple) -> list[PendingWrite]:
    """The writes on a checkpoint, which may be none but must be told."""
    assert saved.pending_writes is not None
    return saved.pending_writes


@pytest.mark.parametrize("step", [PurgeStep.FROZEN, PurgeStep.ATTEMPT_NOTED, *LATER])
def test_a_graph_that_had_read_and_writes_later_keeps_the_whole_conversation(world: World, step: PurgeStep) -> None:
    writer = world.writer()
    writer.say("thread", at=world.ago(100), count=2)
    writer.say("other", at=world.ago(100))
    before = {key: world.client.dump(key) for key in world.names_of("thread")}
    history = states(world, "thread")
    saver = writer.saver()
    read = saved_in(saver, "thread")
    newer = read.checkpoint | {"id": str(uuid6()), "ts": world.now.isoformat()}

    def go_on() -> None:
        saver.put(read.config, newer, {"source": "loop", "step": 9, "parents": {}}, {})

    report = world.retention(hook=at_step(step, go_on)).purge()

    assert report.purged is not None
    assert (report.purged.threads_moved, report.purged.threads_deleted) == (1, 1)
    assert states(world, "thread")[1:] == history
    assert saved_in(saver, "thread").checkpoint["id"] == newer["id"]
    left = {key: world.client.dump(key) for key in world.names_of("thread")}
    assert {key: value for key, value in before.items() if left.get(key) != value}.keys() <= {
        b"checkpoint_latest:thread:__empty__"
    }
    assert not [key for key in world.names() if key.startswith(ASIDE)]


@pytest.mark.parametrize("step", LATER)
def test_an_answer_to_an_interrupt_brings_the_conversation_back_with_the_answer(world: World, step: PurgeStep) -> None:
    writer = world.writer()
    writer.ask("thread", at=world.ago(100))
    saver = writer.saver()
    read = saved_in(saver, "thread")

    def answer() -> None:
        saver.put_writes(read.config, [("__resume__", "yes")], "00000000-0000-0000-0000-000000000000")

    report = world.retention(hook=at_step(step, answer)).purge()

    assert report.purged is not None
    assert (report.purged.threads_moved, report.purged.threads_deleted) == (1, 0)
    now = saved_in(saver, "thread")
    assert now.checkpoint == read.checkpoint
    answered = [write for write in pending(now) if write[1] == "__resume__"]
    assert len(answered) == 1
    assert sorted(write[:2] for write in pending(now) if write not in answered) == sorted(
        write[:2] for write in pending(read)
    )


def test_an_answer_that_overwrites_another_is_noticed(world: World) -> None:
    """It changes no pointer and no registry, only the write itself."""
    writer = world.writer()
    writer.ask("thread", at=world.ago(100))
    saver = writer.saver()
    read = saved_in(saver, "thread")
    saver.put_writes(read.config, [("__resume__", "no")], "00000000-0000-0000-0000-000000000000")

    def answer() -> None:
        saver.put_writes(read.config, [("__resume__", "yes")], "00000000-0000-0000-0000-000000000000")

    report = world.retention(hook=at_step(PurgeStep.FROZEN, answer)).purge()

    assert report.purged is not None
    assert report.purged.threads_moved == 1
    (resumed,) = [value for _, channel, value in pending(saved_in(saver, "thread")) if "resume" in channel]
    assert resumed == "yes"


def test_a_planned_conversation_that_expired_is_gone_and_was_not_resumed(world: World) -> None:
    world.writer().ask("thread", at=world.ago(100))

    def expire() -> None:
        for key in world.names():
            world.client.delete(key)

    report = world.retention(hook=at_step(PurgeStep.FROZEN, expire)).purge()

    assert report.purged is not None
    assert (report.purged.threads_gone, report.purged.threads_moved) == (1, 0)


def test_a_conversation_of_which_a_part_is_gone_is_left_to_the_next_plan(world: World) -> None:
    """A saver that begins to write may begin with removing."""
    world.writer().ask("thread", at=world.ago(100))

    def expire() -> None:
        world.client.delete(*[key for key in world.names() if key.startswith((b"checkpoint_write:", b"write_keys"))])

    report = world.retention(hook=at_step(PurgeStep.FROZEN, expire)).purge()

    assert report.purged is not None
    assert report.purged.threads_moved == 1
    world.retention().purge()
    assert not world.names()


def test_a_time_to_live_survives_being_set_aside(world: World) -> None:
    writer = world.writer()
    writer.say("thread", at=world.ago(100))
    for key in world.names():
        world.client.pexpireat(key, 4_000_000_000_000)
    saver = writer.saver()
    read = saved_in(saver, "thread")
    ending = {key: world.client.pexpiretime(key.decode()) for key in world.names()}

    def go_on() -> None:
        saver.put_writes(read.config, [("messages", "new")], "00000000-0000-0000-0000-000000000000")

    world.retention(hook=at_step(PurgeStep.SET_ASIDE, go_on)).purge()

    left = {key: world.client.pexpiretime(key.decode()) for key in world.names() if key in ending}
    registry = [key for key in ending if key.startswith(b"write_keys_zset:")]
    assert {key: left[key] for key in left if key not in registry} == {
        key: ending[key] for key in ending if key not in registry
    }


def test_a_large_conversation_goes_in_one_step_and_comes_back_in_one(world: World) -> None:
    writer = world.writer()
    writer.say("thread", at=world.ago(100), count=2)
    (latest,) = [world.client.get(key) for key in world.names() if b"latest" in key]
    assert latest is not None
    document = execute(world.store.client, "JSON.GET", latest)
    for number in range(3_000):
        copy = f"checkpoint:thread:__empty__:1eec0000-{number:04x}-6000-8000-000000000000"
        execute(world.client, "JSON.SET", copy, "$", document)
        execute(world.client, "JSON.SET", copy, "$.checkpoint_id", f'"{copy.rpartition(":")[2]}"')
    before = {key: world.client.dump(key) for key in world.names()}
    seen: list[int] = []

    def count() -> None:
        seen.append(len([key for key in world.names() if not key.startswith(b"compliance_pipelines:")]))

    def go_on() -> None:
        count()
        world.client.set(b"checkpoint_latest:thread:__empty__", latest)

    moved = world.retention(hook=at_step(PurgeStep.SET_ASIDE, go_on)).purge()
    assert moved.purged is not None
    assert moved.purged.threads_moved == 1
    assert {key: world.client.dump(key) for key in world.names()} == before

    report = world.retention(hook=at_step(PurgeStep.SET_ASIDE, count)).purge()
    assert seen == [0, 0]
    assert report.purged is not None
    assert report.purged.keys_deleted == len(before)
    assert not world.names()


def test_a_note_about_another_users_thread_of_the_same_id_stays(world: World) -> None:
    world.writer().say("thread", at=world.ago(100))
    world.client.set("conversation:metadata:thread", f'{{"user_id": "somebody", "last_activity": "{world.now}"}}')

    report = world.retention().purge()

    assert report.purged is not None
    assert report.purged.threads_deleted == 1
    assert world.names() == {b"conversation:metadata:thread"}
