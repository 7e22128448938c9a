"""What the savers' own `delete_thread` leaves, seen first; then the same with retention, which leaves nothing.

When one of the first halves fails, the saver was mended: then the promise about it in docs/conversations.md can go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.conversations.savers import saved_in
from tests.support.redis_commands import dump

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World


def _purge_leaves_nothing(world: World) -> None:
    report = world.retention().purge()
    assert world.names() == set()
    assert report.purged is not None
    assert report.purged.orphan_keys_left == 0


@pytest.mark.parametrize("kind", ["full", "shallow"])
def test_an_id_with_a_comma(world: World, kind: str) -> None:
    """RediSearch splits a TAG at commas, so that the saver's query finds nothing."""
    writer = world.writer(kind)
    writer.say("one,two", at=world.ago(100))
    before = world.names()

    writer.delete_thread("one,two")

    assert world.names() == before
    _purge_leaves_nothing(world)


def test_more_than_ten_thousand_documents(world: World) -> None:
    """The saver asks for 10,000 results and takes them for all."""
    writer = world.writer()
    writer.say("long", at=world.ago(100))
    saver = writer.saver()
    saved = saved_in(saver, "long")
    for number in range(11):
        saver.put_writes(saved.config, [("messages", [index]) for index in range(950)], f"task-{number}")

    writer.delete_thread("long")

    left = world.names_of("long")
    assert len(left) > 400
    assert all(key.startswith(b"checkpoint_write:") for key in left)
    _purge_leaves_nothing(world)


def test_pointers_and_registries_of_expired_checkpoints(world: World) -> None:
    """With a time to live the documents go by themselves; what points to them is found by nobody any more."""
    writer = world.writer()
    writer.ask("expired", at=world.ago(100))
    for key in world.names():
        if key.startswith((b"checkpoint:", b"checkpoint_write:")):
            world.client.delete(key)
    left = world.names()

    writer.delete_thread("expired")

    assert world.names() == left
    assert {key.split(b":")[0] for key in left} == {b"checkpoint_latest", b"write_keys_zset"}
    survey = world.retention().survey()
    assert survey.orphan_keys == len(left)
    _purge_leaves_nothing(world)


@pytest.mark.parametrize("kind", ["shallow", "async_shallow"])
def test_registries_of_shallow_savers_whose_checkpoint_expired(world: World, kind: str) -> None:
    """The shallow savers look for registries by way of the checkpoint, which went first."""
    writer = world.writer(kind)
    writer.ask("shallow", at=world.ago(100))
    for key in world.names():
        if key.startswith((b"checkpoint:", b"checkpoint_write:")):
            world.client.delete(key)

    writer.delete_thread("shallow")

    assert {key.rpartition(b":")[2] for key in world.names()} == {b"shallow"}
    _purge_leaves_nothing(world)


def test_checkpoints_of_the_asynchronous_shallow_saver_under_its_own_prefix(world: World) -> None:
    """Its deletion builds the names with the default prefix."""
    writer = world.writer("async_shallow", checkpoint_prefix="agents")
    writer.say("shallow", at=world.ago(100))

    writer.delete_thread("shallow")

    assert b"agents:shallow:" in world.names()
    report = world.retention(checkpoint_redis_prefix="agents").purge()
    assert report.purged is not None
    assert world.names() == set()


def test_writes_without_their_checkpoint(world: World) -> None:
    writer = world.writer()
    writer.ask("half", at=world.ago(100))
    for key in world.names():
        if key.startswith(b"checkpoint:"):
            world.client.delete(key)
    assert any(key.startswith(b"checkpoint_write:") for key in world.names())
    _purge_leaves_nothing(world)


def test_blobs_and_pointers_of_older_savers(world: World) -> None:
    """Savers before 0.1 kept each channel's value in a document of its own; shallow ones a current checkpoint."""
    for thread_id in ("old", "with-checkpoint"):
        for version in range(3):
            world.client.json().set(
                f"checkpoint_blob:{thread_id}:__empty__:messages:{version:032}.0.5",
                "$",
                {"thread_id": thread_id, "checkpoint_ns": "", "channel": "messages", "version": str(version)},
            )
        world.client.set(f"current_checkpoint:{thread_id}:__empty__:shallow", "x")
    world.writer().say("with-checkpoint", at=world.ago(10))

    world.retention().purge()

    assert not world.names_of("old")
    assert len([key for key in world.names_of("with-checkpoint") if key.startswith(b"checkpoint_blob:")]) == 3
    assert world.client.exists("current_checkpoint:with-checkpoint:__empty__:shallow")


def test_an_orphan_whose_target_came_back_stays(world: World) -> None:
    writer = world.writer()
    writer.say("thread", at=world.ago(100))
    documents = {key: dump(world.client, key) for key in world.names() if key.startswith(b"checkpoint:")}
    for key in documents:
        world.client.delete(key)
    for key in world.names():
        if key.startswith(b"checkpoint_write:"):
            world.client.delete(key)
    before = world.names()

    def come_back(step: str) -> None:
        if step == "frozen":
            for key, value in documents.items():
                world.client.restore(key, 0, value, replace=True)

    report = world.retention(hook=come_back).purge()

    assert report.purged is not None
    assert report.purged.threads_moved == 1
    assert before <= world.names()
