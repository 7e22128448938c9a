"""The rules by which the tests with real savers tell a loss from what is right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.savers.oracle import NOTHING, Content, Purged, Turn, missing_in_history, violations

OLD = Content(2, 4, "origin", "echo 2")
FIRST = Turn("t", 10, 20, OLD, Content(3, 6, "origin", "echo 3"))
SECOND = Turn("t", 30, 40, FIRST.left, Content(4, 8, "origin", "echo 4"))
ANEW = Turn("t", 10, 20, NOTHING, Content(1, 2, "another", "echo 1"))
BEFORE = Purged("t", 5, 8)
DURING = Purged("t", 12, 18)
AFTER = Purged("t", 22, 28)
PUT_BACK = Purged("t", 12)


def judged(
    *turns: Turn, purged: Purged | None = None, begun: Content = OLD, at_the_end: Content | None = None
) -> list[str]:
    held = {} if at_the_end is None else {"t": at_the_end}
    return violations(turns, [] if purged is None else [purged], {"t": begun}, held)


def test_turns_one_after_another_are_right() -> None:
    assert judged(FIRST, SECOND) == []


@pytest.mark.parametrize("purged", [BEFORE, DURING, PUT_BACK])
def test_to_begin_anew_while_it_may_be_set_aside_is_right(purged: Purged) -> None:
    second = Turn("t", 30, 40, ANEW.left, Content(2, 4, "another", "echo 2"))
    assert judged(ANEW, second, purged=purged) == []


def test_to_find_nothing_where_nothing_was_set_aside_is_a_loss() -> None:
    assert len(judged(ANEW)) == 1
    assert len(judged(ANEW, purged=AFTER)) == 2


def test_to_write_after_a_removal_what_was_read_before_it_is_right() -> None:
    assert judged(FIRST, purged=DURING) == []


@pytest.mark.parametrize("lost", [{"origin": None}, {"echo": None}, {"messages": 0}, {"turns": 0}])
def test_a_channel_that_is_missing_is_a_loss_whether_something_was_removed_or_not(lost: dict[str, Any]) -> None:
    found = replace(FIRST, found=replace(OLD, **lost))
    left = replace(FIRST, left=replace(FIRST.left, **lost))
    for purged in (None, DURING, PUT_BACK):
        assert judged(found, purged=purged)
        assert judged(left, purged=purged)


def test_a_removal_after_an_acknowledged_turn_is_a_loss() -> None:
    assert judged(FIRST, purged=AFTER) == ["t: it was removed after turn 1 had been acknowledged"]


def test_a_later_turn_that_finds_nothing_is_a_loss_whatever_was_removed() -> None:
    assert judged(FIRST, replace(ANEW, began=30, ended=40), purged=DURING)


def test_what_is_there_at_the_end_is_what_the_last_turn_left() -> None:
    assert judged(FIRST, at_the_end=FIRST.left) == []
    assert len(judged(FIRST, at_the_end=OLD)) == 1
    assert len(judged(FIRST, at_the_end=NOTHING)) == 1
    assert judged(at_the_end=OLD) == []
    assert len(judged(at_the_end=NOTHING)) == 1
    assert judged(at_the_end=NOTHING, purged=DURING) == []
    assert len(judged(at_the_end=OLD, purged=DURING)) == 1


@pytest.mark.parametrize(
    ("purged", "history", "missing"),
    [
        (None, [(2, "origin"), (3, "origin"), (4, "origin")], []),
        (None, [(3, "origin"), (4, "origin")], [(2, "origin")]),
        (DURING, [(3, "origin"), (4, "origin")], []),
        (PUT_BACK, [(3, "origin"), (4, "origin")], [(2, "origin")]),
        (DURING, [(2, "origin"), (4, "origin")], [(3, "origin")]),
        (None, [(2, "another"), (3, "origin"), (4, "origin")], [(2, "origin")]),
    ],
)
def test_a_history_without_an_acknowledged_turn_is_a_loss(
    purged: Purged | None, history: list[tuple[int, str | None]], missing: list[tuple[int, str | None]]
) -> None:
    assert missing_in_history([FIRST, SECOND], purged, OLD, history) == missing


def test_a_turn_that_failed_is_a_loss() -> None:
    assert judged(replace(FIRST, error="ValueError: what")) == ["t: turn 1 failed: ValueError: what"]


def test_an_answer_that_nobody_waits_for_any_more_is_a_loss() -> None:
    waiting = replace(OLD, waits=True)
    answer = Turn("t", 10, 20, waiting, Content(2, 5, "origin", "echo 2"), answers=True, waiting_graph=True)
    assert judged(answer, begun=waiting) == []
    message = replace(FIRST, waiting_graph=True, left=replace(FIRST.left, waits=True))
    assert len(judged(message, begun=waiting)) == 1
    assert judged(message) == []


@pytest.mark.parametrize("error", [None, "nothing to resume"])
@pytest.mark.parametrize("purged", [DURING, PUT_BACK])
def test_an_answer_to_what_is_set_aside_changes_nothing(purged: Purged, error: str | None) -> None:
    waiting = replace(OLD, waits=True)
    answer = Turn("t", 10, 20, waiting, NOTHING, answers=True, waiting_graph=True, error=error)
    again = Turn("t", 30, 40, waiting, Content(2, 5, "origin", "echo 2"), answers=True, waiting_graph=True)
    anew = replace(ANEW, began=30, ended=40, left=replace(ANEW.left, waits=True), waiting_graph=True)
    for left in (NOTHING, waiting):
        unanswered = replace(answer, left=left)
        assert judged(unanswered, purged=purged, begun=waiting) == []
        assert judged(unanswered, again, purged=purged, begun=waiting, at_the_end=again.left) == []
        assert judged(unanswered, anew, purged=purged, begun=waiting, at_the_end=anew.left) == []
        assert judged(unanswered, begun=waiting)
        assert judged(unanswered, purged=AFTER, begun=waiting)
    assert judged(replace(answer, left=replace(waiting, origin=None)), purged=purged, begun=waiting)


def test_what_langgraph_makes_of_answers_to_nothing_is_its_own_affair() -> None:
    waiting, empty = replace(OLD, waits=True), replace(NOTHING, waits=True)
    answer = Turn("t", 10, 20, waiting, empty, answers=True, waiting_graph=True)
    another = replace(answer, began=30, ended=40, found=empty, error="no input")
    assert judged(answer, another, another, purged=PUT_BACK, begun=waiting) == []
    assert judged(answer, replace(another, found=waiting, left=waiting), purged=PUT_BACK, begun=waiting)
    assert judged(replace(another, found=empty), begun=waiting)
