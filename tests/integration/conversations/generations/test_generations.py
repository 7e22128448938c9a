"""Every generation of LangGraph's Redis savers runs here, writes, and loads what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.conversations.generations.conftest import Layout, each_layout

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World
    from tests.savers.client import SaverProcess


@each_layout()
def test_a_saver_goes_on_with_what_it_wrote(world: World, saver: SaverProcess, layout: Layout) -> None:
    first = saver.say("chat", at=world.ago(100))
    second = saver.say("chat", at=world.ago(99))

    assert first["sent"]
    assert [each["turns"] for each in second["seen"]] == [1]
    assert saver.state("chat")["latest"]["values"]["turns"] == 2
    (thread,) = layout.retention(world).survey().threads.values()
    assert thread.thread_id == "chat"
