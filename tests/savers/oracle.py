"""What somebody who goes on with conversations may see while retention removes some of them, and what he may not.

Here: the rules. Not here: who goes on (driver.py), who removes.

All conversations are old before the first turn, and every turn is younger than any period. Moments are of one monotonic
clock, in nanoseconds; a removal lies somewhere between two of them. Then:

1. A turn finds exactly what the turn before it left, or what the conversation was begun with.
2. Only the first turn may find nothing instead, and only where the conversation may have been removed by then.
3. Never anything in between: a channel that is missing, an answer that nobody waits for any more. Of an answer to what
   was removed meanwhile nothing is asked.
4. A turn leaves what it found and what it adds. The history has no gaps, and begins with the conversation; where it was
   removed between what the first turn read and what it wrote, with that turn.
5. What has an acknowledged turn is not removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Content:
    """What a conversation holds, as its saver gives it.

    Attributes:
        turns: how many, as the graph counts.
        messages: how many.
        origin: a channel that the first turn writes, and no other.
        echo: a channel that each turn writes.
        waits: whether the graph waits for an answer.
    """

    turns: int = 0
    messages: int = 0
    origin: str | None = None
    echo: str | None = None
    waits: bool = False

    @classmethod
    def of_values(cls, values: Mapping[str, Any], *, waits: bool) -> Content:
        """From the channels of a state."""
        return cls(
            values.get("turns", 0),
            len(values.get("messages", ())),
            values.get("origin"),
            values.get("echo"),
            waits,
        )


NOTHING: Final = Content()


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes:
        thread: id of the conversation.
        began: before anything was read.
        ended: when it was acknowledged.
        found: what it read.
        left: what was there when it had been acknowledged.
        answers: whether it is the answer that the graph waited for; otherwise a new message.
        waiting_graph: whether its graph waits for an answer after each message.
        steps: the number of turns in each checkpoint of the history, the oldest first; None where nothing keeps one.
        error: what went wrong; None for a turn that was acknowledged.
    """

    thread: str
    began: int
    ended: int
    found: Content
    left: Content
    answers: bool = False
    waiting_graph: bool = False
    steps: Sequence[int] | None = None
    error: str | None = None

    @classmethod
    def of_ack(cls, ack: Mapping[str, Any]) -> Turn:
        """From what driver.py acknowledges."""
        answers = bool(ack.get("waited"))
        found = Content.of_values(ack.get("found", {}), waits=answers)
        if ack["seen"]:
            # The node that runs says what it was given. None of them runs for an answer, unless nothing waits for it.
            found = NOTHING if answers else Content(**ack["seen"][0])
        return cls(
            ack["thread"],
            ack["began"],
            ack["ended"],
            found,
            Content.of_values(ack.get("values", {}), waits=bool(ack.get("waits"))),
            answers,
            ack["graph"] != "chat",
            ack.get("steps"),
            ack["error"],
        )


@dataclass(frozen=True)
class Removal:
    """A conversation that was removed, at a moment between two."""

    thread: str
    earliest: int
    latest: int


def violations(turns: Iterable[Turn], removals: Iterable[Removal], begun: Mapping[str, Content]) -> list[str]:
    """What must not have been, in words; empty where all is well.

    Args:
        turns: of one writer, who does one thing after another.
        removals: what was removed meanwhile.
        begun: what each conversation held before its first turn.
    """
    by_thread: dict[str, list[Turn]] = {thread: [] for thread in begun}
    for turn in turns:
        by_thread[turn.thread].append(turn)
    removed: dict[str, list[Removal]] = {}
    for removal in removals:
        removed.setdefault(removal.thread, []).append(removal)
    return [
        f"{thread}: {what}"
        for thread, of_thread in by_thread.items()
        for what in _of_thread(of_thread, removed.get(thread, []), begun[thread])
    ]


def _of_thread(turns: Sequence[Turn], removals: Sequence[Removal], begun: Content) -> Iterator[str]:
    before = begun
    may_begin_late = False
    for number, turn in enumerate(turns, 1):
        may_be_gone = number == 1 and any(removal.earliest <= turn.ended for removal in removals)
        if turn.answers and may_be_gone and (turn.error is not None or turn.found == NOTHING):
            # What waited was removed after a look had shown that it waits. What LangGraph makes of an answer to
            # nothing, an error or a graph that runs without any input, is its own affair.
            return
        if turn.error is not None:
            yield f"turn {number} failed: {turn.error}"
            return
        may_begin_late = may_begin_late or may_be_gone
        if turn.found != before and not (may_be_gone and turn.found == NOTHING):
            yield f"turn {number} found {turn.found}, where there was {before}"
        expected = _after(turn)
        if turn.left != expected:
            yield f"turn {number} left {turn.left} instead of {expected}"
        if turn.steps is not None:
            yield from _gaps(number, turn, may_begin_late=may_begin_late)
        if any(removal.earliest > turn.ended for removal in removals):
            yield f"it was removed after turn {number} had been acknowledged"
        before = turn.left


def _after(turn: Turn) -> Content:
    """What a turn must leave, after what it found."""
    found = turn.found
    if turn.answers:
        return Content(found.turns, found.messages + 1, found.origin, found.echo)
    turns = found.turns + 1
    origin = found.origin or turn.left.origin or "one of its own"
    return Content(turns, found.messages + 2, origin, f"echo {turns}", turn.waiting_graph)


def _gaps(number: int, turn: Turn, *, may_begin_late: bool) -> Iterator[str]:
    steps = list(turn.steps or ())
    first = steps[0] if steps else -1
    whole = steps == sorted(steps) and sorted(set(steps)) == list(range(first, turn.left.turns + 1))
    if not steps or not whole or (first > 0 and not may_begin_late):
        yield f"turn {number} left a history with gaps: {steps}"
