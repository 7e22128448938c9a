"""The rules by which the tests with real savers tell a loss from what is right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.savers.oracle import NOTHING, Content, Removal, Turn, violations

OLD = Content(2, 4, "origin", "echo 2")
FIRST = Turn("t", 10, 20, OLD, Content(3, 6, "origin", "echo 3"), steps=[0, 0, 1, 1, 1, 2, 2, 2, 3])
SECOND = Turn("t", 30, 40, FIRST.left, Content(4, 8, "origin", "echo 4"), steps=[0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4])
ANEW = Turn("t", 10, 20, NOTHING, Content(1, 2, "another", "echo 1"), steps=[0, 0, 1])
BEFORE = Removal("t", 5, 8)
DURING = Removal("t", 12, 18)
AFTER = Removal("t", 22, 28)


def judged(*turns: Turn, removals: tuple[Removal, ...] = (), begun: Content = OLD) -> list[str]:
    return violations(turns, removals, {"t": begun})


def test_turns_one_after_another_are_right() -> None:
    assert judged(FIRST, SECOND) == []


@pytest.mark.parametrize("removal", [BEFORE, DURING])
def test_to_begin_anew_after_a_removal_is_right(removal: Removal) -> None:
    second = Turn("t", 30, 40, ANEW.left, Content(2, 4, "another", "echo 2"), steps=[0, 0, 1, 1, 1, 2])
    assert judged(ANEW, second, removals=(removal,)) == []


def test_to_find_nothing_without_a_removal_is_a_loss() -> None:
    assert len(judged(ANEW)) == 1
    assert len(judged(ANEW, removals=(AFTER,))) == 2


def test_to_write_after_a_removal_what_was_read_before_it_is_right() -> None:
    assert judged(replace(FIRST, steps=[2, 2, 3]), removals=(DURING,)) == []
    assert judged(replace(FIRST, steps=[2, 2, 3])) == ["t: turn 1 left a history with gaps: [2, 2, 3]"]


@pytest.mark.parametrize("lost", [{"origin": None}, {"echo": None}, {"messages": 0}, {"turns": 0}])
def test_a_channel_that_is_missing_is_a_loss_whether_something_was_removed_or_not(lost: dict[str, Any]) -> None:
    found = replace(FIRST, found=replace(OLD, **lost))
    left = replace(FIRST, left=replace(FIRST.left, **lost))
    for removals in ((), (DURING,)):
        assert judged(found, removals=removals)
        assert judged(left, removals=removals)


def test_a_removal_after_an_acknowledged_turn_is_a_loss() -> None:
    assert judged(FIRST, removals=(AFTER,)) == ["t: it was removed after turn 1 had been acknowledged"]


def test_a_later_turn_that_finds_nothing_is_a_loss_whatever_was_removed() -> None:
    assert judged(FIRST, replace(ANEW, began=30, ended=40), removals=(DURING,))


@pytest.mark.parametrize("steps", [[], [0, 0, 1, 3], [0, 2, 1, 3], [1, 2, 3]])
def test_a_history_with_gaps_is_a_loss(steps: list[int]) -> None:
    assert judged(replace(FIRST, steps=steps)) == [f"t: turn 1 left a history with gaps: {steps}"]


def test_a_turn_that_failed_is_a_loss() -> None:
    assert judged(replace(FIRST, error="ValueError: what")) == ["t: turn 1 failed: ValueError: what"]


def test_an_answer_that_nobody_waits_for_any_more_is_a_loss() -> None:
    waiting = replace(OLD, waits=True)
    answer = Turn("t", 10, 20, waiting, Content(2, 5, "origin", "echo 2"), answers=True, waiting_graph=True)
    assert judged(answer, begun=waiting) == []
    message = replace(FIRST, waiting_graph=True, left=replace(FIRST.left, waits=True))
    assert len(judged(message, begun=waiting)) == 1
    assert judged(message) == []


def test_an_answer_to_what_was_removed_meanwhile_may_fail() -> None:
    waiting = replace(OLD, waits=True)
    answer = Turn("t", 10, 20, waiting, NOTHING, answers=True, waiting_graph=True, error="nothing to resume")
    assert judged(answer, removals=(DURING,), begun=waiting) == []
    assert judged(answer, begun=waiting) == ["t: turn 1 failed: nothing to resume"]
