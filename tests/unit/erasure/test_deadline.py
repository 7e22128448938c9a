"""A request is answered within a month, counted as the law counts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.erasure.deadline import days_left, last_day_in_time


@pytest.mark.parametrize(
    ("received", "deadline"),
    [
        (date(2026, 3, 5), date(2026, 4, 5)),
        (date(2026, 1, 31), date(2026, 2, 28)),
        (date(2028, 1, 31), date(2028, 2, 29)),
        (date(2026, 8, 31), date(2026, 9, 30)),
        (date(2026, 12, 15), date(2027, 1, 15)),
        (date(2026, 2, 28), date(2026, 3, 28)),
    ],
)
def test_the_deadline_is_the_same_day_of_the_next_month_or_its_last(received: date, deadline: date) -> None:
    assert last_day_in_time(datetime(received.year, received.month, received.day, 23, 59, tzinfo=UTC)) == deadline


@pytest.mark.parametrize(
    ("received", "deadline"),
    [
        (date(2026, 3, 5), date(2026, 6, 5)),
        (date(2026, 11, 30), date(2027, 2, 28)),
        (date(2026, 10, 31), date(2027, 1, 31)),
        (date(2026, 12, 31), date(2027, 3, 31)),
    ],
)
def test_two_further_months_end_on_the_same_day_of_the_third_month_or_its_last(received: date, deadline: date) -> None:
    at = datetime(received.year, received.month, received.day, tzinfo=UTC)
    assert last_day_in_time(at, months=3) == deadline


def test_the_day_is_that_of_utc() -> None:
    assert last_day_in_time(datetime(2026, 3, 6, 0, 30, tzinfo=timezone(timedelta(hours=2)))) == date(2026, 4, 5)


@given(st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds it
def test_a_month_has_28_to_31_days_and_never_runs_into_the_month_after_next(received: datetime) -> None:
    deadline = last_day_in_time(received)
    assert 28 <= (deadline - received.date()).days <= 31
    assert (deadline.year * 12 + deadline.month) - (received.year * 12 + received.month) == 1


def test_the_last_day_counts_as_in_time() -> None:
    deadline = date(2026, 4, 5)
    assert days_left(deadline, datetime(2026, 4, 5, 23, 59, tzinfo=UTC)) == 0
    assert days_left(deadline, datetime(2026, 4, 6, tzinfo=UTC)) == -1
    assert days_left(deadline, datetime(2026, 3, 29, tzinfo=UTC)) == 7
