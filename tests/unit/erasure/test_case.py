"""What follows from the events of a request."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.erasure.case import Case, Event, EventKind, Identifiers, Request, State

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
REQUEST = Request(1, "user:alice", "asked", "support", NOW, date(2026, 12, 28), None, NOW)


def event(kind: EventKind, attempt: int = 1, **detail: Any) -> Event:  # noqa: ANN401 - JSON values
    target = "shelf" if kind in {EventKind.FOUND, EventKind.DELETED, EventKind.FAILED} else None
    return Event(attempt, kind, target, detail, NOW)


def corrected(*removed: str) -> Event:
    ids = Identifiers("user:bob").to_json()
    return event(EventKind.CORRECTED, removed=list(removed), identifiers=ids, deleted={"things": 99})


EVENTS = st.one_of(
    st.integers(1, 9).map(lambda count: event(EventKind.DELETED, deleted={"things": count})),
    st.integers(1, 9).map(lambda count: event(EventKind.FOUND, items={}, gone={"things": count})),
    st.sampled_from(
        [
            corrected("user:alice"),
            corrected(),
            event(EventKind.ENDED),
            event(EventKind.ASKED_AGAIN, received_at=NOW.isoformat()),
        ]
    ),
)


@given(st.lists(EVENTS))
def test_only_what_was_deleted_since_nobody_else_was_meant_is_counted(events: list[Event]) -> None:
    case = Case(REQUEST, tuple(events))
    since = max((place + 1 for place, each in enumerate(events) if each.detail.get("removed")), default=0)
    kept = events[since:]
    for kind, name, counted in (
        (EventKind.DELETED, "deleted", case.deleted()),
        (EventKind.FOUND, "gone", case.gone()),
    ):
        assert counted.total() == sum(each.detail[name]["things"] for each in kept if each.kind is kind)
    assert case.deleted_since_last_end() <= case.deleted()
    assert case.is_done("shelf") == any(
        each.kind is EventKind.DELETED
        for each in events[max((place + 1 for place, one in enumerate(events) if one.changes_ids), default=0) :]
    )


def test_records_of_before_that_count_what_a_dead_attempt_left_as_deleted_are_read_as_they_are() -> None:
    case = Case(
        REQUEST, (event(EventKind.STARTED, targets=[]), event(EventKind.FOUND, items={}, deleted={"things": 2}))
    )
    assert (case.deleted(), case.gone(), case.state) == ({"things": 2}, {}, State.PARTIAL)


def test_what_happens_outside_of_attempts_makes_no_attempt_and_postpones_none() -> None:
    noted = Case(REQUEST, (event(EventKind.NOTED, 0), event(EventKind.ASKED_AGAIN, 0, received_at=NOW.isoformat())))
    assert (noted.state, noted.attempts, noted.due_at) == (State.OPEN, 0, NOW)


def test_who_asked_before_what_was_entered_first_has_the_earlier_deadline() -> None:
    earlier = NOW - timedelta(days=10)
    case = Case(REQUEST, (event(EventKind.ASKED_AGAIN, 0, received_at=earlier.isoformat()),))
    assert (case.received_at, case.deadline) == (earlier, date(2026, 12, 18))
