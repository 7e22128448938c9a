"""Other projects' savers, and caches, in the Redis of our savers, with conversations of the same ids.

Each is handled entirely or left entirely: of what somebody wrote either every key is there, as it was, and its own
reader gives the same, or none. Never half, whatever is due or erased.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import SecretStr

from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.erasure.threads import ThreadTarget
from tests.savers.others import Other, aws, caches, javascript
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.integration.conversations.conftest import World

_OURS: Final = ("both", "ours")
_USER: Final = "user:1"
# Ids that both have; that only the other has; and one of the other's with which somebody went on yesterday.
_SHARED, _THEIRS, _YOUNG = "both", "theirs", "theirs-young"

SAVERS: Final[dict[str, Callable[[], Other]]] = {
    "javascript-full": lambda: javascript("full"),
    "javascript-shallow": lambda: javascript("shallow"),
    "aws-valkey": aws,
}
CACHE_NAMES: Final = (
    "toolcache", "checkpoint", "checkpoint_write", "checkpoint_blob", "checkpoint_latest", "current_checkpoint",
    "write_keys_zset", "write_registry", "conversation:metadata",
)  # fmt: skip


def purge(world: World) -> None:
    """Retention with everything due but what is of yesterday."""
    world.retention().purge()


def erase(world: World) -> None:
    """An erasure of the person whose all conversations are."""
    settings = world.services.settings.model_copy(update={"checkpoint_redis_url": SecretStr(world.url)})
    target = ThreadTarget(settings)
    target.delete(_USER, target.find(_USER).items)


def drop_indexes(world: World) -> None:
    """Our savers and LangGraph.js' have indexes of one name, whose fields differ; each makes its own where none is."""
    for index in execute(world.client, "FT._LIST"):
        execute(world.client, "FT.DROPINDEX", index)


def write(world: World, other: Other, threads: Sequence[str], days: float) -> dict[bytes, bytes | None]:
    """Every key that the other writes for some conversations, with what it holds."""
    before = world.names()
    drop_indexes(world)
    other.write(world.url, world.ago(days), threads)
    written = {key: world.client.dump(key) for key in world.names() - before}
    assert all(any(thread.encode() in key for key in written) for thread in threads), f"{other.name} wrote nothing"
    return written


def read(world: World, other: Other, threads: Sequence[str]) -> dict[str, Any]:
    drop_indexes(world)
    return other.read(world.url, threads)


@pytest.mark.parametrize("remove", [purge, erase])
@pytest.mark.parametrize("name", SAVERS)
def test_a_saver_of_another_project_keeps_all_of_a_conversation_or_nothing(
    world: World, name: str, remove: Callable[[World], None]
) -> None:
    other = SAVERS[name]()
    for thread in _OURS:
        world.writer().say(thread, at=world.ago(100))
    ours = world.names()
    threads = (_SHARED, _THEIRS, _YOUNG)
    written = write(world, other, threads[:2], 100) | write(world, other, threads[2:], 1)
    before = read(world, other, threads)

    remove(world)

    names = world.names()
    after = read(world, other, threads)
    for thread in threads:
        of_thread = {key for key in written if re.search(rb"[:{]%b[:}]" % thread.encode(), key)}
        left = of_thread & names
        if not left and (remove is erase or thread is not _YOUNG):
            continue
        assert of_thread - left == set(), f"{len(left)} of {len(of_thread)} keys of {thread} are left"
        assert [key for key in left if world.client.dump(key) != written[key]] == []
        assert after[thread] == before[thread]
    assert not any(b":ours:" in key for key in names)
    # Of what both wrote ours goes, or stays, as a whole too.
    assert ours & names in (set(), {key for key in ours if b":both:" in key})


@pytest.mark.parametrize("name", SAVERS)
def test_who_goes_on_with_another_projects_saver_after_the_plan_keeps_everything(world: World, name: str) -> None:
    other = SAVERS[name]()
    write(world, other, (_THEIRS,), 100)
    before: dict[str, Any] = {}
    dumps: dict[bytes, bytes | None] = {}

    def go_on(step: PurgeStep) -> None:
        if step is PurgeStep.FROZEN:
            write(world, other, (_THEIRS,), 0)
            before.update(read(world, other, (_THEIRS,)))
            dumps.update({key: world.client.dump(key) for key in world.names()})

    world.retention(hook=go_on).purge()

    assert {key for key in dumps if world.client.dump(key) is None} == set()
    assert {key: world.client.dump(key) for key in world.names()} == dumps
    assert read(world, other, (_THEIRS,)) == before


@pytest.mark.parametrize("remove", [purge, erase])
def test_caches_stay_whatever_their_names_are(world: World, remove: Callable[[World], None]) -> None:
    """Their names are the application's choice; what a cache holds is a string or a hash, and no saver's document."""
    threads = ("both", "theirs")
    world.writer().say("both", at=world.ago(100))
    other = caches(CACHE_NAMES)
    written = write(world, other, threads, 100)

    remove(world)

    assert sorted(written.keys() - world.names()) == []
    assert {key: world.client.dump(key) for key in world.names()} == written
