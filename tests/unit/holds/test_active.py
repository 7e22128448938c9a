"""What a hold covers, and that doubt counts as a hold."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.holds import Hold, HoldScope, HoldSet
from compliance_pipelines.holds.errors import InvalidHoldError
from compliance_pipelines.holds.record import NewHold

MARCH = (date(2026, 3, 1), date(2026, 3, 31))
days = st.dates(min_value=date(2026, 2, 20), max_value=date(2026, 4, 10))


def hold(scope: HoldScope, subject: str | None = None, first: date | None = None, last: date | None = None) -> Hold:
    return Hold(1, scope, subject, first, last, "case 7", "counsel", datetime(2026, 1, 1, tzinfo=UTC))


USER = HoldSet((hold(HoldScope.USER, "alice"),))
THREAD = HoldSet((hold(HoldScope.THREAD, "t1"),))
DAYS = HoldSet((hold(HoldScope.DAYS, None, *MARCH),))
ALL = HoldSet((hold(HoldScope.EVERYTHING),))


def test_a_hold_on_everything_covers_everything() -> None:
    answers = (
        ALL.covers_user("x"),
        ALL.covers_thread("x", "y"),
        ALL.covers_day(MARCH[0]),
        ALL.covers_activity(None, None),
    )
    assert set(answers) == {ALL.holds[0]}


def test_a_hold_on_a_user_covers_the_user_and_the_users_threads_and_nothing_else() -> None:
    assert USER.covers_user("alice")
    assert USER.covers_thread("t9", "alice")
    assert not USER.covers_user("Alice")
    assert not USER.covers_user("alice2")
    assert not USER.covers_thread("alice", "bob")
    assert not USER.covers_day(MARCH[0])


def test_a_thread_whose_owner_nobody_knows_may_be_the_held_persons() -> None:
    assert USER.covers_thread("t9", None)
    assert not THREAD.covers_thread("t9", None)


def test_a_hold_on_a_thread_covers_that_thread_alone() -> None:
    assert THREAD.covers_thread("t1", "anybody")
    assert THREAD.covers_thread("t1", None)
    assert not THREAD.covers_thread("T1", "anybody")
    assert not THREAD.covers_user("t1")


@given(days)
def test_a_hold_on_days_covers_exactly_those_days(day: date) -> None:
    assert bool(DAYS.covers_day(day)) == (MARCH[0] <= day <= MARCH[1])


@given(days, days)
def test_a_hold_on_days_covers_whatever_was_active_on_one_of_them(one: date, other: date) -> None:
    first, last = sorted((one, other))
    active = {first + timedelta(days=n) for n in range((last - first).days + 1)}
    held = {MARCH[0] + timedelta(days=n) for n in range(31)}
    assert bool(DAYS.covers_activity(first, last)) == bool(active & held)


def test_activity_of_unknown_days_counts_as_on_every_day() -> None:
    assert DAYS.covers_activity(None, None)
    assert DAYS.covers_activity(None, MARCH[0])
    assert DAYS.covers_activity(MARCH[1], None)
    assert not DAYS.covers_activity(None, MARCH[0] - timedelta(days=1))
    assert not DAYS.covers_activity(MARCH[1] + timedelta(days=1), None)


def test_no_hold_covers_nothing() -> None:
    empty = HoldSet()
    assert not empty
    assert not empty.covers_activity(None, None)
    assert not empty.covers_thread("t", None)


def test_a_hold_says_what_it_covers_by_whom_and_why() -> None:
    assert str(USER.holds[0]) == "hold 1 (user alice) of counsel: case 7"
    assert str(DAYS.holds[0]) == "hold 1 (the days 2026-03-01 to 2026-03-31) of counsel: case 7"


@pytest.mark.parametrize(
    ("scope", "values"),
    [
        (HoldScope.USER, {}),
        (HoldScope.USER, {"subject": ""}),
        (HoldScope.EVERYTHING, {"subject": "u"}),
        (HoldScope.DAYS, {}),
        (HoldScope.DAYS, {"first_day": MARCH[0]}),
        (HoldScope.DAYS, {"first_day": MARCH[1], "last_day": MARCH[0]}),
        (HoldScope.USER, {"subject": "u", "first_day": MARCH[0], "last_day": MARCH[1]}),
        (HoldScope.EVERYTHING, {"reason": " "}),
        (HoldScope.EVERYTHING, {"author": ""}),
    ],
)
def test_a_hold_that_does_not_say_what_why_and_by_whom_is_refused(
    scope: HoldScope, values: dict[str, str | date]
) -> None:
    with pytest.raises(InvalidHoldError):
        NewHold(**{"scope": scope, "reason": "case 7", "author": "counsel", **values})  # type: ignore[arg-type]
