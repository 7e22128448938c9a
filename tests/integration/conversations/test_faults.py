"""Killed, or cut off, after any step: the next purge finishes, and the counts are those of an undisturbed one."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import redis.exceptions

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.errors import redis_errors
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.conversations.store import CheckpointStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from tests.integration.conversations.savers import saved_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from redis.exceptions import ResponseError

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from tests.integration.conversations.conftest import World


def purge_in_a_process_that_dies(world: World, step: PurgeStep) -> None:
    """Fork, purge there with connections of its own, and die by SIGKILL after a step."""
    child = os.fork()
    if child == 0:
        try:
            services = world.services

            def die(done: PurgeStep, /) -> None:
                if done is step:
                    os.kill(os.getpid(), signal.SIGKILL)

            engine = create_engine(services.settings.require_database_url(), pool_size=3)
            own = Services(services.settings, engine, services.store, services.keys, services.clock)
            Retention(own, CheckpointStore(connect_url(world.url)), die).purge()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the child ended with {status} and did not reach {step}"


def fill(world: World) -> dict[str, int]:
    """Due conversations, and what an undisturbed purge counts."""
    writer = world.writer()
    writer.ask("waiting", at=world.ago(150))
    writer.say("chat", at=world.ago(100), count=2)
    world.writer("shallow").ask("shallow", at=world.ago(120))
    plan = world.retention().plan()
    counts: dict[str, int] = {}
    for planned in plan.due:
        for kind in planned.thread.keys(plan.survey.layout).values():
            counts[kind.label] = counts.get(kind.label, 0) + 1
    return counts


@pytest.mark.parametrize("step", list(PurgeStep))
def test_a_purge_killed_after_any_step_is_finished_and_counted_truly(world: World, step: PurgeStep) -> None:
    expected = fill(world)
    total = len(world.names())

    purge_in_a_process_that_dies(world, step)
    report = world.retention().purge()

    receipts = [key for key in world.names() if key.startswith(b"compliance_pipelines:")]
    assert world.names() == set(receipts)
    with world.services.engine.connect() as connection:
        sets = record.latest_sets(connection, 10)
        assert not record.open_purges(connection)
    assert len(sets) == 2
    assert sum(each.threads_deleted for each in sets) == 3
    assert sets[-1].key_counts == expected
    assert sets[-1].keys_deleted == total
    assert sets[-1].bytes_unknown == 0
    assert sets[-1].bytes_freed > 0
    assert report.finished == (() if step is PurgeStep.RECORDED else (sets[-1],))


def test_a_dry_run_does_not_even_finish_what_was_begun(world: World, tmp_path: Path) -> None:
    fill(world)
    purge_in_a_process_that_dies(world, PurgeStep.FROZEN)
    before = world.names()
    policy = tmp_path / "retention_policies.yaml"
    for switch in ("dry_run: true", "enabled: false"):
        policy.write_text(f"global: {{{switch}}}\n")
        assert world.retention(retention_policy_file=policy).purge().purged is None
        assert world.names() == before


@pytest.mark.parametrize("step", [PurgeStep.ATTEMPT_NOTED, PurgeStep.VERIFIED])
def test_a_lost_answer_of_redis_is_found_out_and_not_guessed(world: World, step: PurgeStep) -> None:
    """The connection is cut after the deletion and before its answer."""
    expected = fill(world)
    removing: list[PurgeStep] = []

    def hook(done: PurgeStep, /) -> None:
        if done is step:
            removing.append(done)

    retention = world.retention(hook=hook)
    remove = CheckpointStore.each

    def cut(
        self: CheckpointStore, commands: Iterable[tuple[object, ...]], *, answered: tuple[type[ResponseError], ...] = ()
    ) -> list[object]:
        listed = list(commands)
        answers = remove(self, listed, answered=answered)
        if removing and listed and listed[0][0] == "EVALSHA":
            raise ConnectionResetError("cut")
        return answers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "each", cut)
        with pytest.raises(ConnectionResetError):
            retention.purge()
    assert not [key for key in world.names() if b"waiting" in key and not key.startswith(b"compliance_pipelines:")]

    report = world.retention().purge()

    assert report.finished[0].key_counts == expected
    assert report.finished[0].threads_deleted == 3


def test_a_restart_of_redis_in_the_middle_is_survived(world: World, redis_server: EmbeddedRedis) -> None:
    expected = fill(world)

    def restart(step: PurgeStep, /) -> None:
        if step is PurgeStep.ATTEMPT_NOTED:
            redis_server.stop()

    try:
        with pytest.raises(TransientError, match="Redis did not answer"):
            world.retention(hook=restart).purge()
    finally:
        redis_server.start()
    report = world.retention().purge()

    assert report.finished[0].key_counts == expected
    assert not world.names_of("chat")


def test_a_conversation_resumed_between_the_kill_and_the_next_purge_is_not_touched(world: World) -> None:
    writer = world.writer()
    writer.say("resumed", at=world.ago(100))
    writer.say("quiet", at=world.ago(100))
    purge_in_a_process_that_dies(world, PurgeStep.ATTEMPT_NOTED)
    writer.say("resumed", at=world.now)

    report = world.retention().purge()

    assert (report.finished[0].threads_moved, report.finished[0].threads_deleted) == (1, 1)
    saved = saved_in(writer.saver(), "resumed")
    assert len(saved.checkpoint["channel_values"]["messages"]) == 4


def test_a_conversation_begun_anew_after_its_deletion_was_killed_keeps_what_is_new(world: World) -> None:
    """Deleted, then killed before the record, then somebody wrote into the same thread: both are true and counted."""
    writer = world.writer()
    writer.say("thread", at=world.ago(100))
    total = len(world.names())
    purge_in_a_process_that_dies(world, PurgeStep.REMOVED)
    writer.say("thread", at=world.now)
    new = {key: world.client.dump(key) for key in world.names_of("thread")}

    report = world.retention().purge()

    assert {key: world.client.dump(key) for key in world.names_of("thread")} == new
    assert report.finished[0].threads_deleted == 1
    assert report.finished[0].keys_deleted == total
    assert report.finished[0].threads_resurrected == 1


def test_a_server_out_of_memory_is_relieved(world: World) -> None:
    """It refuses what needs memory; a deletion begins by giving some back."""
    expected = fill(world)
    world.client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            world.client.set("more", "x")
        report = world.retention().purge()
    finally:
        world.client.config_set("maxmemory", "0")
    assert report.purged is not None
    assert report.purged.key_counts == expected


def test_a_server_that_refuses_writes_is_called_what_it_is() -> None:
    for error, called in (
        (redis.exceptions.ReadOnlyError("READONLY"), "read-only replica"),
        (redis.exceptions.OutOfMemoryError("OOM"), "out of memory"),
    ):
        with pytest.raises(TransientError, match=called), redis_errors("the deletion"):
            raise error
