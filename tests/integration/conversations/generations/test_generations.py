"""Every generation of LangGraph's Redis savers runs here, writes, and loads what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.conversations.generations.conftest import LAYOUTS
from tests.savers.generations import GENERATIONS, ROOT, Generation, draft_of

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World
    from tests.savers.client import SaverProcess


@pytest.mark.parametrize(
    ("saver_process", "generation"),
    [(generation, generation) for generation in GENERATIONS],
    indirect=["saver_process"],
    ids=[generation.version for generation in GENERATIONS],
)
def test_a_saver_goes_on_with_what_it_wrote(world: World, saver_process: SaverProcess, generation: Generation) -> None:
    saver = saver_process
    for layout in LAYOUTS:
        if layout.generation is not generation:
            continue
        thread = f"chat-{layout}"
        saver.open(world.url, layout.kind, layout.prefixes)
        first = saver.say(thread, at=world.ago(100))
        second = saver.say(thread, at=world.ago(99))

        assert first["sent"]
        assert [each["turns"] for each in second["seen"]] == [1], layout
        assert saver.state(thread)["latest"]["values"]["turns"] == 2
        assert thread in layout.retention(world).survey().threads


def test_no_two_generations_are_installed_in_one_place() -> None:
    """Several are installed at once, and 0.0.1 and 0.0.8 differ in what looks like a suffix."""
    drafts = [draft_of(ROOT / f"{generation.version}-0123456789abcdef") for generation in GENERATIONS]
    assert len(set(drafts)) == len(GENERATIONS)
