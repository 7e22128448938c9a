"""Pauses leave others their share of the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.conversations.pacing import Pace


class Time:
    """Seconds that pass when a step takes them or somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@given(share=st.floats(0.05, 1.0), steps=st.lists(st.floats(0.0, 0.01), max_size=200))
def test_steps_take_no_more_than_their_share(share: float, steps: list[float]) -> None:
    time = Time()
    pace = Pace(share, clock=time, sleep=time.sleep)
    for seconds in steps:
        with pace.step():
            time.now += seconds
    busy = sum(steps)
    # What is shorter than a millisecond may still be owed.
    assert sum(time.slept) == pytest.approx(busy * (1 / share - 1), abs=0.001 + 1e-9)
    assert all(each >= 0.001 for each in time.slept)


def test_a_full_pace_has_no_pauses() -> None:
    time = Time()
    pace = Pace(clock=time, sleep=time.sleep)
    with pace.step():
        time.now += 5
    assert pace.is_full
    assert not time.slept


def test_a_step_that_fails_is_not_followed_by_a_pause() -> None:
    time = Time()
    pace = Pace(0.1, clock=time, sleep=time.sleep)

    def fail() -> None:
        with pace.step():
            time.now += 5
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert not time.slept


@pytest.mark.parametrize("share", [0, -1, 1.01, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of the time"):
        Pace(share)
