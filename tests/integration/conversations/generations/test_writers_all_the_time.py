"""A real saver goes on with conversations all the time, while retention plans, freezes and removes, again and again.

What the writer may see and what he may not, tests/savers/oracle.py says. How much is written is given by counts: the
purge waits, in its survey and between plan and removal, until somebody has gone on some more. `make stress` takes
thousands of turns of each saver.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from compliance_pipelines.conversations.pseudonyms import pseudonyms_of
from compliance_pipelines.conversations.steps import PurgeStep
from tests.integration.conversations.generations.conftest import Layout, each_layout
from tests.integration.conversations.generations.copies import copy_thread
from tests.savers.oracle import NOTHING, Content, Purged, Turn, missing_in_history, violations

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World
    from tests.savers.client import Resumer, SaverProcess

_TURNS: Final = int(os.environ.get("STRESS_TURNS", "30"))
_CONVERSATIONS: Final = 18
# Turns that the purge waits for: in its survey, between plan and removal, and in its pause, which takes no time here.
_IN_SURVEY: Final = 5
_IN_BETWEEN: Final = 10
# The turn that is going on has ended then; the acknowledgement of the one before may come first.
_IN_PAUSE: Final = 2


@dataclass
class Round:
    """Some old conversations, somebody who goes on with them, and one purge.

    Attributes:
        aside: before anything was set aside.
        removed: after everything was removed.
    """

    world: World
    layout: Layout
    resumer: Resumer
    aside: int = 0
    removed: int = 0
    _has_waited: bool = False

    def purge(self) -> None:
        self.layout.retention(self.world, hook=self._hook, progress=self._progress).purge()

    def _progress(self, _: int) -> None:
        if not self._has_waited:
            self._has_waited = True
            self.resumer.wait_for_more(_IN_SURVEY)

    def _hook(self, step: PurgeStep, /) -> None:
        if step is PurgeStep.FROZEN:
            self.resumer.wait_for_more(_IN_BETWEEN)
        elif step is PurgeStep.ATTEMPT_NOTED:
            self.aside = self.aside or time.monotonic_ns()
        elif step is PurgeStep.SET_ASIDE:
            # What had been read by then is written within the pause, whatever the machine does meanwhile.
            self.resumer.wait_for_more(_IN_PAUSE)
        elif step is PurgeStep.REMOVED:
            self.removed = time.monotonic_ns()


@dataclass
class Seen:
    """What was done and seen over all rounds; conversations by their ids."""

    begun: dict[str, Content] = field(default_factory=dict)
    graphs: dict[str, str] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    purged: dict[str, Purged] = field(default_factory=dict)

    def turns_of(self, thread: str) -> list[Turn]:
        return [turn for turn in self.turns if turn.thread == thread]


def as_kept(layout: Layout, content: Content) -> Content:
    """A content without the channel that the saver loses by itself."""
    loses = layout.kind in layout.generation.loses_channels
    return replace(content, origin="not kept" if content.turns else None) if loses else content


def look(saver: SaverProcess, layout: Layout, graph: str, thread: str) -> Content:
    waits = graph != "chat" and saver.call("is_waiting", graph=graph, thread=thread)
    return as_kept(layout, Content.of_values(saver.call("values", graph=graph, thread=thread), waits=waits))


def begin(world: World, saver: SaverProcess, layout: Layout, seen: Seen, number: int) -> list[tuple[str, str]]:
    """Old conversations, copied from one of each kind that the saver wrote; each with its graph."""
    threads: list[tuple[str, str]] = []
    graphs = ["chat"]
    if layout.generation.can_stop and layout.kind not in layout.generation.loses_channels:
        graphs.append("question")
    for graph in graphs:
        template = f"{graph}-{number:02}-template"
        saver.say(template, graph=graph, at=world.ago(100))
        copies = [f"{graph}-{number:02}-copy-{each:02}" for each in range(_CONVERSATIONS // len(graphs) - 1)]
        copy_thread(world.url, template, copies)
        content = look(saver, layout, graph, template)
        assert content.turns == 1
        assert content.waits == (graph == "question")
        for thread in (template, *copies):
            seen.begun[thread], seen.graphs[thread] = content, graph
            threads.append((graph, thread))
    return threads


def removed_in(world: World, seen: Seen) -> set[str]:
    """Ids of conversations of which the record says that they were removed."""
    names = pseudonyms_of(world.services)
    hashes = {names.thread(thread): thread for thread in seen.begun}
    with world.services.engine.connect() as connection:
        rows = connection.execute(text("SELECT thread_hash FROM conversation_purged_threads WHERE outcome = 'deleted'"))
        return {hashes[row.thread_hash] for row in rows}


def go_round(world: World, saver: SaverProcess, layout: Layout, seen: Seen, number: int) -> None:
    """A purge of some conversations, while the saver goes on with them."""
    threads = begin(world, saver, layout, seen, number)
    with saver.resuming(threads, seed=number) as resumer:
        resumer.wait_for_more(1)
        purge = Round(world, layout, resumer)
        purge.purge()
        resumer.wait_for_more(_IN_SURVEY)
    for turn in map(Turn.of_ack, resumer.acks):
        seen.turns.append(replace(turn, found=as_kept(layout, turn.found), left=as_kept(layout, turn.left)))
    gone = removed_in(world, seen)
    for _, thread in threads:
        seen.purged[thread] = Purged(thread, purge.aside, purge.removed if thread in gone else None)


@each_layout()
def test_nobody_loses_anything_however_much_is_written(world: World, saver: SaverProcess, layout: Layout) -> None:
    seen = Seen()
    number = 0
    while len(seen.turns) < _TURNS:
        go_round(world, saver, layout, seen, number)
        number += 1

    held = {thread: look(saver, layout, graph, thread) for thread, graph in seen.graphs.items()}
    assert violations(seen.turns, seen.purged.values(), seen.begun, held) == []
    # Those with whom nobody went on are gone.
    resumed = {turn.thread for turn in seen.turns}
    removed = {thread for thread, purged in seen.purged.items() if purged.removed is not None}
    assert removed
    assert seen.begun.keys() - resumed <= removed
    if layout.is_shallow:
        return
    for thread in (thread for thread in resumed if held[thread] != NOTHING):
        history = [tuple(each) for each in saver.call("history", thread=thread)]
        assert not missing_in_history(seen.turns_of(thread), seen.purged[thread], seen.begun[thread], history), thread
