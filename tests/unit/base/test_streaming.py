from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.base.streaming import run_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


class Source:
    """Numbers, counted as they are taken; fails where it is told to."""

    def __init__(self, count: int, fail_at: int | None = None) -> None:
        self.taken = 0
        self._count = count
        self._fail_at = fail_at

    def __iter__(self) -> Iterator[int]:
        for number in range(self._count):
            if number == self._fail_at:
                raise ValueError("the source broke")
            self.taken += 1
            yield number


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_items_come_in_order_and_all() -> None:
    with run_ahead(Source(1000), depth=3, name="ordered") as items:
        assert list(items) == list(range(1000))


def test_an_error_of_the_source_is_raised_after_the_items_before_it() -> None:
    with run_ahead(Source(10, fail_at=4), depth=2, name="broken") as items:
        seen = [next(items) for _ in range(4)]
        with pytest.raises(ValueError, match="the source broke"):
            next(items)
    assert seen == [0, 1, 2, 3]
    assert not threads_named("broken")


def test_the_source_is_never_more_than_the_depth_ahead() -> None:
    source = Source(1000)
    with run_ahead(source, depth=2, name="bounded") as items:
        for number in items:
            # Two in the queue, one in the hand of the thread, and the one that is being looked at.
            assert source.taken <= number + 4


def test_a_consumer_that_fails_stops_the_whole_chain() -> None:
    source = Source(10**9)

    def consume() -> None:
        with (
            run_ahead(source, depth=2, name="first") as first,
            run_ahead((number + 1 for number in first), depth=2, name="second") as second,
        ):
            for number in second:
                if number == 5:
                    raise RuntimeError("the consumer broke")

    with pytest.raises(RuntimeError, match="the consumer broke"):
        consume()
    assert not threads_named("first")
    assert not threads_named("second")
    assert source.taken < 100


def test_an_error_at_the_head_of_a_chain_reaches_its_end() -> None:
    with (
        pytest.raises(ValueError, match="the source broke"),
        run_ahead(Source(10, fail_at=7), depth=2, name="head") as first,
        run_ahead((number + 1 for number in first), depth=2, name="tail") as second,
    ):
        list(second)
    assert not threads_named("head")
    assert not threads_named("tail")
