"""A writer who has begun when retention removes, and ends afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.conversations.purge import PurgeStep
from tests.integration.conversations.generations.conftest import Layout, each_layout
from tests.savers.client import Paused

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World
    from tests.savers.client import SaverProcess

_SOME = {
    "0.0.1-async_full", "0.0.8-full", "0.1.3-shallow", "0.2.1-async_full", "0.3.9-async_shallow",
    "0.4.1-full-prefixes", "0.5.2-full", "0.5.2-shallow",
}  # fmt: skip


def purge_before_packet(
    packet: int, op: str, world: World, saver: SaverProcess, layout: Layout, **rest: object
) -> None:
    """A purge while a writer stands still before its Nth packet; then he goes on."""
    begun: list[object] = []

    def begin(step: PurgeStep) -> None:
        if step is PurgeStep.FROZEN:
            begun.append(saver.begin(op, packet, thread="thread", **rest))

    layout.retention(world, hook=begin).purge()
    (writer,) = begun
    assert isinstance(writer, Paused), f"it sends fewer packets: {writer}"
    writer.go_on()


@each_layout(lambda layout: str(layout) in _SOME)
def test_who_has_read_before_the_removal_and_writes_after_it_has_a_whole_state(
    world: World, saver: SaverProcess, layout: Layout
) -> None:
    """Nothing in Redis tells of somebody who has only read; but what he then writes must not refer to what is gone."""
    saver.say("thread", at=world.ago(100))
    before = saver.call("values", graph="chat", thread="thread")

    purge_before_packet(1, "say", world, saver, layout, graph="chat", at=None)

    after = saver.call("values", graph="chat", thread="thread")
    expected = {"turns": 2, "echo": "echo 2", "messages": [*before["messages"], "turn", "answer 2"]}
    assert after == {**before, **expected}


@each_layout(lambda layout: str(layout) in _SOME)
def test_who_has_written_something_before_the_removal_keeps_everything(
    world: World, saver: SaverProcess, layout: Layout
) -> None:
    saver.say("thread", at=world.ago(100))
    before = saver.call("values", graph="chat", thread="thread")
    checkpoints = len(saver.state("thread")["history"])

    purge_before_packet(2, "say", world, saver, layout, graph="chat", at=None)

    after = saver.call("values", graph="chat", thread="thread")
    expected = {"turns": 2, "echo": "echo 2", "messages": [*before["messages"], "turn", "answer 2"]}
    assert after == {**before, **expected}
    if not layout.is_shallow:
        assert len(saver.state("thread")["history"]) == checkpoints + 3


@each_layout(lambda layout: str(layout) in _SOME)
def test_what_a_pending_write_after_the_removal_leaves_goes_with_the_next_purge(
    world: World, saver: SaverProcess, layout: Layout
) -> None:
    """Savers since 0.1 then make a checkpoint anew that has nothing but a mark, and neither ids nor a time."""
    saver.say("thread", at=world.ago(100))

    purge_before_packet(
        1, "put_writes", world, saver, layout, namespace="", writes=[["messages", ["late"]]], task="task-1"
    )
    assert world.names()
    layout.retention(world).purge()

    assert world.names() == set()
