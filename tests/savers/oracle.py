"""What somebody who goes on with conversations may see while retention removes some of them, and what he may not.

Here: the rules. Not here: who goes on (driver.py), who removes.

All conversations are old before the first turn, and every turn is younger than any period. Moments are of one monotonic
clock, in nanoseconds. From some moment on a conversation may be set aside; then it is removed, or put back. So:

1. A turn finds exactly what the turn before it left, or what the conversation was begun with; so does who looks at the
   end.
2. Only the first turn may find nothing instead, and only where the conversation may have been set aside before the turn
   ended. What was there before is removed then, or put back beside what the turn adds.
3. Never anything in between: a channel that is missing, an answer that nobody waits for any more. An answer that finds
   nothing changes nothing: what had waited is gone, or waits.
4. A turn leaves what it found and what it adds.
5. What has an acknowledged turn is not removed.
6. At the end, the history has every turn that was acknowledged, and what the conversation was begun with unless that
   was removed. What was removed between a turn's reading and its writing is missing in the history alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


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
        error: what went wrong; None for a turn that was acknowledged.
    """

    thread: str
    began: int
    ended: int
    found: Content
    left: Content
    answers: bool = False
    waiting_graph: bool = False
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
            ack["error"],
        )


@dataclass(frozen=True)
class Purged:
    """What a purge did with a conversation.

    Attributes:
        thread: its id.
        aside: before it was set aside, if it was.
        removed: after it was removed; None where it is not known to have been.
    """

    thread: str
    aside: int
    removed: int | None = None


def violations(
    turns: Iterable[Turn],
    purged: Iterable[Purged],
    begun: Mapping[str, Content],
    at_the_end: Mapping[str, Content] | None = None,
) -> list[str]:
    """What must not have been, in words; empty where all is well.

    Args:
        turns: of one writer, who does one thing after another.
        purged: at most one for each conversation.
        begun: what each conversation held before its first turn.
        at_the_end: what conversations hold when all is over.
    """
    by_thread: dict[str, list[Turn]] = {thread: [] for thread in begun}
    for turn in turns:
        by_thread[turn.thread].append(turn)
    purges = {each.thread: each for each in purged}
    return [
        f"{thread}: {what}"
        for thread, of_thread in by_thread.items()
        for what in _of_thread(of_thread, purges.get(thread), begun[thread], (at_the_end or {}).get(thread))
    ]


def _of_thread(
    turns: Sequence[Turn], purged: Purged | None, begun: Content, at_the_end: Content | None
) -> Iterator[str]:
    before = {begun}
    if purged is not None and purged.removed is not None and not turns:
        before = {NOTHING}
    is_unanswered = False
    for number, turn in enumerate(turns, 1):
        may_be_aside = number == 1 and purged is not None and purged.aside <= turn.ended
        may_find_nothing = may_be_aside or (is_unanswered and _is_nothing(turn.found))
        is_unanswered = False
        if may_find_nothing and turn.answers and (after := _after_no_answer(turn, begun)):
            before, is_unanswered = after, True
            continue
        if turn.error is not None:
            yield f"turn {number} failed: {turn.error}"
            return
        if turn.found not in before and not (may_be_aside and turn.found == NOTHING):
            yield f"turn {number} found {turn.found}, where there was {' or '.join(map(str, before))}"
        expected = _after(turn)
        if turn.left != expected:
            yield f"turn {number} left {turn.left} instead of {expected}"
        if purged is not None and purged.removed is not None and purged.aside > turn.ended:
            yield f"it was removed after turn {number} had been acknowledged"
        before = {turn.left}
    if at_the_end is not None and at_the_end not in before:
        yield f"at the end it holds {at_the_end}, where there was {' or '.join(map(str, before))}"


def _after_no_answer(turn: Turn, begun: Content) -> set[Content]:
    """What may be there after an answer that found nothing; empty where it found what it answers.

    A look had shown that the conversation waits, and then the graph found nothing. What LangGraph makes of an answer to
    nothing, an error or a graph that runs without any input, is its own affair; so is an answer to that.
    """
    if turn.found == NOTHING:
        return {turn.left}
    if turn.left == begun or _is_nothing(turn.left):
        # Nothing bears the time of the answer, so that a later purge may remove what was put back.
        return {turn.left, NOTHING, begun, replace(begun, waits=False)}
    return set()


def _is_nothing(content: Content) -> bool:
    """Whether nothing is there, but perhaps a graph that waits for its first input."""
    return replace(content, waits=False) == NOTHING


def _after(turn: Turn) -> Content:
    """What a turn must leave, after what it found."""
    found = turn.found
    if turn.answers:
        return Content(found.turns, found.messages + 1, found.origin, found.echo)
    turns = found.turns + 1
    origin = found.origin or turn.left.origin or "one of its own"
    return Content(turns, found.messages + 2, origin, f"echo {turns}", turn.waiting_graph)


def missing_in_history(
    turns: Sequence[Turn], purged: Purged | None, begun: Content, history: Collection[tuple[int, str | None]]
) -> list[tuple[int, str | None]]:
    """What the history of one conversation must have and has not.

    Args:
        turns: of the conversation, all of them.
        purged: what was done with it.
        begun: what it held before.
        history: of each checkpoint the number of turns, and the first turn's channel.
    """
    wanted = {turn.left for turn in turns} - {NOTHING, begun}
    if purged is None or purged.removed is None:
        wanted.add(begun)
    return sorted({(content.turns, content.origin) for content in wanted} - set(history), key=str)
