"""A real saver goes on with some of many conversations while the survey looks at them, step by step.

What the survey then knows of such a conversation is partly of before, partly of after: it must not be taken for idle.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.enumeration import names
from compliance_pipelines.conversations.keys import KeyKind
from tests.integration.conversations.generations.conftest import Layout, each_layout
from tests.integration.conversations.generations.copies import copy_thread
from tests.integration.conversations.savers import config_of, saved_in

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World
    from tests.savers.client import SaverProcess

_THREADS: Final = 1_500
_RESUMED: Final = 60
# Steps that the survey fetches ahead of those that it tells of, and some more.
_AHEAD: Final = 8


@dataclass
class Resumes:
    """Goes on with conversations when the survey has taken so many steps; notes what their saver sees afterwards.

    Attributes:
        after_step: ids of conversations by the step after which somebody goes on with them.
    """

    saver: SaverProcess
    after_step: dict[int, list[str]]
    states: dict[str, Any] = field(default_factory=dict)
    _taken: int = 0

    def __call__(self, _: int) -> None:
        self._taken += 1
        for thread in self.after_step.pop(self._taken, []):
            seen = self.saver.say(thread)["seen"]
            assert [each["turns"] for each in seen] == [1], thread
            self.states[thread] = self.saver.state(thread)


def prepare(world: World, saver: SaverProcess, count: int = _THREADS) -> list[str]:
    """Ids of so many old conversations with one turn each, but for one."""
    saver.say("the-template", at=world.ago(100))
    threads = [f"thread-{number:04}" for number in range(count - 1)]
    copy_thread(world.url, "the-template", threads)
    return threads


def lost(saver: SaverProcess, resumes: Resumes) -> list[str]:
    """What became of the conversations that somebody went on with, unless they are as they were."""
    found: list[str] = []
    for thread, before in resumes.states.items():
        after = saver.state(thread)
        if after["latest"] is None:
            found.append(f"{thread} is gone")
        elif after["latest"] != before["latest"]:
            found.append(f"{thread} has another state")
        elif after != before:
            found.append(f"{thread} has {len(after['history'])} of {len(before['history'])} checkpoints")
    return found


def count_steps(world: World, layout: Layout) -> int:
    return sum(1 for _ in names(world.store, layout.retention(world).pace))


@each_layout(lambda layout: str(layout) in {"0.0.8-full", "0.4.1-full-prefixes", "0.5.2-full", "0.5.2-shallow"})
def test_nobody_who_goes_on_during_the_survey_loses_anything(world: World, saver: SaverProcess, layout: Layout) -> None:
    count = _THREADS if layout.generation.is_locked else _THREADS // 3
    threads = prepare(world, saver, count)
    number_of_steps = count_steps(world, layout)
    chosen = random.Random(1)  # noqa: S311 - nothing secret
    after_step: dict[int, list[str]] = {}
    for thread in chosen.sample(threads, _RESUMED):
        after_step.setdefault(chosen.randint(1, number_of_steps), []).append(thread)
    resumes = Resumes(saver, after_step)

    report = layout.retention(world, progress=resumes).purge(confirmed=_THREADS)

    assert len(resumes.states) == _RESUMED
    assert lost(saver, resumes) == []
    assert report.purged is not None
    assert report.purged.threads_deleted == count - _RESUMED


@each_layout(lambda layout: str(layout) in {"0.5.2-full", "0.5.2-async_full-prefixes"})
def test_a_pointer_to_a_checkpoint_that_the_survey_has_not_seen_tells_of_a_writer(
    world: World, saver: SaverProcess, layout: Layout
) -> None:
    """The new checkpoints have names in the part that was looked through already; the pointer is yet to come."""
    threads = prepare(world, saver)
    key_layout = layout.retention(world).layout
    found = [
        [named[1] for key in keys if (named := key_layout.classify(key)) and named[0] is KeyKind.LATEST_POINTER]
        for keys in names(world.store, layout.retention(world).pace)
    ]
    # Which keys come late is the server's chance: of a third of all there are always enough.
    late = len(found) * 2 // 3
    coming = [rest.partition(b":")[0].decode() for step in found[late + _AHEAD :] for rest in step]
    chosen = sorted(set(coming) & set(threads))[:_RESUMED]
    assert len(chosen) == _RESUMED
    resumes = Resumes(saver, {late: chosen})

    report = layout.retention(world, progress=resumes).purge(confirmed=_THREADS)

    assert len(resumes.states) == _RESUMED
    assert lost(saver, resumes) == []
    assert report.purged is not None
    assert report.purged.threads_deleted == _THREADS - _RESUMED


def test_a_copied_conversation_is_one_that_its_saver_reads(world: World) -> None:
    """What the copies above rest on."""
    writer = world.writer()
    writer.say("the-template", at=world.ago(100), count=2)
    copy_thread(world.url, "the-template", ["copy"])
    saver = writer.saver()
    assert saved_in(saver, "copy").checkpoint == saved_in(saver, "the-template").checkpoint
    copied, original = (list(saver.list(config_of(thread_id))) for thread_id in ("copy", "the-template"))
    assert len(copied) == len(original)
