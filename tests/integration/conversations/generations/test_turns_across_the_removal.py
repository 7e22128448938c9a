"""A writer who has begun when retention removes, and ends afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.conversations.steps import PurgeStep
from tests.integration.conversations.generations.conftest import Layout, each_layout
from tests.savers.client import Paused

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World
    from tests.savers.client import SaverProcess

_SOME = {
    "0.0.1-async_full", "0.0.8-full", "0.1.3-shallow", "0.2.1-async_full", "0.3.9-async_shallow",
    "0.4.1-full-prefixes", "0.5.2-full", "0.5.2-shallow",
}  # fmt: skip


# A writer of these that goes on after the purge finds its blobs gone: the pause is the time that it has.
_WITHOUT_BLOBS = _SOME - {"0.0.1-async_full", "0.0.8-full"}


def purge_before_packet(  # noqa: PLR0917 - as the driver takes them
    packet: int,
    op: str,
    world: World,
    saver: SaverProcess,
    layout: Layout,
    goes_on: PurgeStep = PurgeStep.RECORDED,
    **rest: object,
) -> None:
    """A purge while a writer stands still before its Nth packet; then he goes on."""
    begun: list[object] = []

    def hook(step: PurgeStep) -> None:
        if step is PurgeStep.FROZEN:
            begun.append(saver.begin(op, packet, thread="thread", **rest))
        elif step is goes_on:
            (writer,) = begun
            assert isinstance(writer, Paused), f"it sends fewer packets: {writer}"
            writer.go_on()

    layout.retention(world, hook=hook).purge()


@each_layout(lambda layout: str(layout) in _SOME)
@pytest.mark.parametrize("packet", [1, 2])
def test_who_has_read_before_and_writes_while_it_is_set_aside_keeps_everything(
    world: World, saver: SaverProcess, layout: Layout, packet: int
) -> None:
    saver.say("thread", at=world.ago(100))
    before = saver.call("values", graph="chat", thread="thread")
    history = saver.state("thread")["history"]

    purge_before_packet(packet, "say", world, saver, layout, goes_on=PurgeStep.SET_ASIDE, graph="chat", at=None)

    after = saver.call("values", graph="chat", thread="thread")
    expected = {"turns": 2, "echo": "echo 2", "messages": [*before["messages"], "turn", "answer 2"]}
    assert after == {**before, **expected}
    if not layout.is_shallow:
        # Some savers overwrite a checkpoint of their own with the next.
        saver.say("undisturbed", at=world.ago(100))
        undisturbed = _ids(saver.state("undisturbed")["history"])
        saver.say("undisturbed")
        overwritten = len(undisturbed - _ids(saver.state("undisturbed")["history"]))
        assert len(_ids(history) - _ids(saver.state("thread")["history"])) == overwritten


def _ids(history: list[dict[str, Any]]) -> set[str]:
    return {each["id"] for each in history}


@each_layout(lambda layout: str(layout) in _WITHOUT_BLOBS)
def test_who_has_read_before_the_removal_and_writes_after_it_has_a_whole_state(
    world: World, saver: SaverProcess, layout: Layout
) -> None:
    """Nothing in Redis tells of somebody who has only read; what he then writes does not refer to what is gone."""
    saver.say("thread", at=world.ago(100))
    before = saver.call("values", graph="chat", thread="thread")

    purge_before_packet(1, "say", world, saver, layout, graph="chat", at=None)

    after = saver.call("values", graph="chat", thread="thread")
    expected = {"turns": 2, "echo": "echo 2", "messages": [*before["messages"], "turn", "answer 2"]}
    assert after == {**before, **expected}


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
