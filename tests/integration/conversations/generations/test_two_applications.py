"""Two applications in one Redis, each with prefixes of its own, that have conversations with the same ids.

What retention or an erasure removes in one must not be missed in the other: its saver sees the same, its keys hold the
same, and a graph that waits there goes on. Registries of writes and mcp-server-langgraph's notes have no prefix, so
that names do not tell whose they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import SecretStr

from compliance_pipelines.erasure.threads import ThreadTarget
from tests.integration.conversations.generations.conftest import LAYOUTS, Layout, each_layout
from tests.savers.client import SaverProcess
from tests.savers.generations import GENERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conversations.conftest import World

_THREADS: Final = ("chat", "question")
_USER: Final = "user:1"


@dataclass
class Application:
    """One of the two: a saver under its own prefixes.

    Attributes:
        process: runs the saver; both applications of a test may share one.
        layout: its layout.
    """

    process: SaverProcess
    layout: Layout

    def opened(self, world: World) -> SaverProcess:
        self.process.open(world.url, self.layout.kind, self.layout.prefixes)
        return self.process

    def begin(self, world: World) -> None:
        """A conversation, and one that waits for an answer, both of old."""
        saver = self.opened(world)
        saver.say("chat", at=world.ago(100))
        saver.say("question", graph="question", at=world.ago(100))

    def look(self, world: World) -> dict[str, Any]:
        saver = self.opened(world)
        return {thread: saver.state(thread) for thread in _THREADS}

    def goes_on(self, world: World) -> bool:
        """Whether the graph that waits goes on where it stood, and the other conversation too."""
        saver = self.opened(world)
        saver.consent("question")
        answered = saver.call("values", graph="question", thread="question")
        (seen,) = saver.say("chat")["seen"]
        return bool(answered["approved"]) and answered["turns"] == 1 and seen["turns"] == 1


def purge(world: World, layout: Layout) -> None:
    layout.retention(world).purge()


def erase(world: World, layout: Layout) -> None:
    settings = world.services.settings.model_copy(
        update={
            "checkpoint_redis_url": SecretStr(world.url),
            **{
                f"checkpoint_redis_{name.removeprefix('checkpoint_')}": value for name, value in layout.prefixes.items()
            },
        }
    )
    target = ThreadTarget(settings)
    assert target.delete(_USER, target.find(_USER).items) == {"conversations": len(_THREADS)}


def own_names(world: World, layout: Layout) -> set[bytes]:
    """Names that begin with an application's own prefixes, or with a note's: nobody else's."""
    own = (layout.prefixes or {"": "checkpoint", "w": "checkpoint_write", "b": "checkpoint_blob"}).values()
    return {key for key in world.names() if key.startswith(tuple(f"{prefix}:".encode() for prefix in own))}


def check(world: World, gone: Application, stays: Application, remove: Callable[[World, Layout], None]) -> None:
    stays.begin(world)
    for thread in _THREADS:
        world.client.set(f"conversation:metadata:{thread}", json.dumps({"user_id": _USER}))
    kept = world.names()
    before = stays.look(world)
    gone.begin(world)

    remove(world, gone.layout)

    assert own_names(world, gone.layout) == set()
    assert kept - world.names() == set()
    assert stays.look(world) == before
    assert stays.goes_on(world)


def can_share(layout: Layout) -> bool:
    """Whether applications of this kind leave each other alone.

    Before 0.5 the pointers of full savers had no prefix: such applications overwrite each other's by themselves.
    """
    return layout.has_prefixes and (layout.is_shallow or layout.generation.is_locked)


@pytest.mark.parametrize("remove", [purge, erase])
@each_layout(lambda layout: can_share(layout) and layout.generation.version != "0.3.9")
def test_an_application_without_prefixes_keeps_what_one_with_prefixes_loses(
    world: World, saver_process: SaverProcess, layout: Layout, remove: Callable[[World, Layout], None]
) -> None:
    plain = replace(layout, has_prefixes=False)
    check(world, Application(saver_process, layout), Application(saver_process, plain), remove)


@each_layout(lambda layout: can_share(layout) and layout.generation.version != "0.4.1")
def test_an_application_with_prefixes_keeps_what_one_without_loses(
    world: World, saver_process: SaverProcess, layout: Layout
) -> None:
    plain = replace(layout, has_prefixes=False)
    check(world, Application(saver_process, plain), Application(saver_process, layout), purge)


@pytest.mark.parametrize("remove", [purge, erase])
@each_layout(lambda layout: str(layout) == "0.0.8-full")
def test_blobs_of_an_application_of_old_stay_where_another_is_removed(
    world: World, saver_process: SaverProcess, layout: Layout, remove: Callable[[World, Layout], None]
) -> None:
    """Savers before 0.1 have no prefixes, nor have their blobs."""
    with SaverProcess(GENERATIONS[-1]) as newest:
        other = next(each for each in LAYOUTS if str(each) == "0.5.2-full-prefixes")
        check(world, Application(newest, other), Application(saver_process, layout), remove)
