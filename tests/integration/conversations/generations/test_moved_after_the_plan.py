"""A real saver of each generation goes on between the freezing of a plan and the removal, in every way that there is.

A conversation that somebody wrote to stays as that saver left it: the same through the saver's own interface, the same
key by key. The others are gone without a trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compliance_pipelines.conversations.steps import PurgeStep
from tests.integration.conversations.generations.conftest import Layout, each_layout
from tests.savers.client import Paused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conversations.conftest import World
    from tests.savers.client import SaverProcess


def stop_before(packet: int, op: str, **arguments: object) -> Callable[[SaverProcess], bool]:
    """Let a writer die before it sends its Nth packet; False where it does not send so many."""

    def move(saver: SaverProcess) -> bool:
        begun = saver.begin(op, packet, **arguments)
        if isinstance(begun, Paused):
            begun.stop()
            return True
        return False

    return move


@dataclass
class Case:
    """A conversation, how it was begun, and who goes on with it after the plan."""

    thread: str
    begin: Callable[[SaverProcess], object]
    move: Callable[[SaverProcess], object]


def cases(world: World, layout: Layout) -> list[Case]:
    old = world.ago(100)

    def chat(thread: str) -> Callable[[SaverProcess], object]:
        return lambda saver: (saver.say(thread, at=old), saver.say(thread, at=old))

    def answered(thread: str) -> Callable[[SaverProcess], object]:
        return lambda saver: (chat(thread)(saver), write(saver, thread, "yes"))

    def question(thread: str) -> Callable[[SaverProcess], object]:
        return lambda saver: saver.say(thread, graph="question", at=old)

    def write(saver: SaverProcess, thread: str, value: str) -> object:
        channel = "__resume__" if layout.generation.can_stop else "messages"
        return saver.call("put_writes", thread=thread, namespace="", writes=[[channel, value]], task="task-1")

    found = [
        Case("turn", chat("turn"), lambda saver: saver.say("turn")),
        Case("write", chat("write"), lambda saver: write(saver, "write", "yes")),
        Case("put", chat("put"), lambda saver: saver.call("put", thread="put", namespace="", at=None)),
        Case(
            "namespace",
            chat("namespace"),
            lambda saver: saver.call("put", thread="namespace", namespace="sub", at=None),
        ),
        # A writer that stands still after its first packet: the checkpoint without its pointer, or without its blobs.
        Case("half-put", chat("half-put"), stop_before(2, "put", thread="half-put", namespace="", at=None)),
        Case("half-new", chat("half-new"), stop_before(2, "put", thread="half-new", namespace="sub", at=None)),
        Case(
            "half-write",
            chat("half-write"),
            stop_before(
                2, "put_writes", thread="half-write", namespace="", writes=[["messages", ["late"]]], task="task-1"
            ),
        ),
        *(
            Case(
                f"half-turn-{packet}",
                chat(f"half-turn-{packet}"),
                stop_before(packet, "say", thread=f"half-turn-{packet}", graph="chat", at=None),
            )
            for packet in (2, 3, 5)
        ),
    ]
    if layout.generation.can_stop:
        found += [
            # The same key again: the second answer to one question.
            Case("rewrite", answered("rewrite"), lambda saver: write(saver, "rewrite", "no")),
            Case("consent", question("consent"), lambda saver: saver.consent("consent")),
            Case(
                "child",
                lambda saver: saver.say("child", graph="approval", at=old),
                lambda saver: saver.consent("child", graph="approval"),
            ),
        ]
    return found


@dataclass
class Look:
    """A conversation as it is: through the saver's interface, and key by key."""

    keys: dict[bytes, bytes | None]
    state: Any

    @classmethod
    def at(cls, world: World, saver: SaverProcess, thread: str) -> Look:
        names = {key for key in world.names() if f":{thread}:".encode() in key}
        return cls({key: world.client.dump(key) for key in names}, saver.state(thread))

    def lost(self, after: Look) -> str:
        """What is not there any more, or not as it was; empty where nothing is lost."""
        gone = sorted(self.keys - after.keys.keys())
        changed = sorted(key for key in self.keys.keys() & after.keys.keys() if self.keys[key] != after.keys[key])
        found = [f"{len(gone)} of {len(self.keys)} keys, such as {gone[0]!r}"] if gone else []
        found += [f"what {key!r} held" for key in changed]
        if after.state != self.state:
            found.append("its state" if after.state["latest"] else "its whole state")
        return " and ".join(found)


@each_layout()
def test_who_goes_on_after_the_plan_keeps_everything_and_the_others_go(
    world: World, saver: SaverProcess, layout: Layout
) -> None:
    prepared = cases(world, layout)
    quiet = ["quiet-chat", "quiet-answered"]
    for case in prepared:
        case.begin(saver)
    for thread in quiet:
        saver.say(thread, at=world.ago(100))
    saver.call("put_writes", thread=quiet[1], namespace="", writes=[["messages", ["more"]]], task="task-1")
    before: dict[str, Look] = {}

    def go_on(step: PurgeStep) -> None:
        if step is PurgeStep.FROZEN:
            for case in prepared:
                case.move(saver)
            before.update({case.thread: Look.at(world, saver, case.thread) for case in prepared})

    report = layout.retention(world, hook=go_on).purge()

    lost = {thread: look.lost(Look.at(world, saver, thread)) for thread, look in before.items()}
    assert [f"{thread} lost {what}" for thread, what in lost.items() if what] == []
    assert world.names() - {key for look in before.values() for key in look.keys} == set()
    assert report.purged is not None
    assert (report.purged.threads_moved, report.purged.threads_deleted) == (len(prepared), len(quiet))
