"""Legal holds stop an erasure, whenever they are added, and are on its record."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.erasure.record import (
    EventKind,
    State,
)
from compliance_pipelines.erasure.runner import RunStep, run_due, run_request
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from tests.integration.erasure.asking import ALICE, BOB, ask, deletion_records, erase
from tests.integration.erasure.flaky import Shelf

if TYPE_CHECKING:
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock


def hold(services: Services, scope: HoldScope, **values: Any) -> int:  # noqa: ANN401 - a hold's fields
    return add_hold(services, NewHold(scope, "case 7", "counsel", **values)).hold.id


@pytest.mark.parametrize("scope", [HoldScope.USER, HoldScope.EVERYTHING])
def test_a_hold_on_the_person_stops_the_erasure_with_its_reason_on_record(
    services: Services, clock: MovableClock, scope: HoldScope
) -> None:
    number = hold(services, scope, **({"subject": ALICE} if scope is HoldScope.USER else {}))
    shelf = Shelf().put("a")
    case = erase(services, ask(services), shelf)
    assert case.state is State.HELD
    assert shelf.calls == []
    (held,) = [event.detail["holds"][0] for event in case.events if event.kind is EventKind.HELD]
    assert (held["hold"], held["reason"], held["author"]) == (number, "case 7", "counsel")
    assert "17(3)" in held["exception"]
    release_hold(services, number, reason="over", author="judge")
    assert case.due_at is not None
    clock.moment = case.due_at
    (closed,) = run_due(services, lambda: [shelf])
    assert closed.state is State.CLOSED
    assert shelf.things == {}
    assert closed.closure is not None
    assert "case 7" in closed.closure.statement


def test_a_hold_on_somebody_else_stops_nothing(services: Services) -> None:
    hold(services, HoldScope.USER, subject=BOB)
    assert erase(services, ask(services), Shelf().put("a")).state is State.CLOSED


def test_a_held_thread_and_held_days_are_kept_and_the_rest_goes(services: Services) -> None:
    thread = hold(services, HoldScope.THREAD, subject="t1")
    days = hold(services, HoldScope.DAYS, first_day=date(2026, 3, 1), last_day=date(2026, 3, 31))
    shelf = Shelf()
    shelf.put("held thread", thread_id="t1", first_day=date(2026, 5, 1), last_day=date(2026, 5, 1))
    shelf.put("free thread", thread_id="t2", first_day=date(2026, 5, 1), last_day=date(2026, 5, 1))
    shelf.put("of march", first_day=date(2026, 2, 1), last_day=date(2026, 3, 1))
    shelf.put("of april", first_day=date(2026, 4, 1), last_day=date(2026, 4, 2))
    shelf.put("nobody knows when")
    case = erase(services, ask(services), shelf)
    assert set(shelf.things) == {"held thread", "of march", "nobody knows when"}
    assert case.state is State.HELD
    kept = [each for event in case.events if event.kind is EventKind.HELD for each in event.detail["holds"]]
    assert {(each["hold"], each["count"]) for each in kept} == {(thread, 1), (days, 2)}
    (record,) = deletion_records(services)
    assert (record["result"], record["metadata"]["deletion_count"]) == ("partial", 2)
    assert record["metadata"]["errors"] == [f"shelf: legal hold {thread}", f"shelf: legal hold {days}"]
    release_hold(services, thread, reason="over", author="judge")
    release_hold(services, days, reason="over", author="judge")
    closed = erase(services, case, shelf)
    assert closed.state is State.CLOSED
    assert closed.deleted() == {"things": 5}


@pytest.mark.parametrize("moment", [(RunStep.DELETED, "one"), (RunStep.FOUND, "two")])
def test_a_hold_added_after_the_first_target_and_before_the_deletion_of_the_second_stops_that(
    services: Services, moment: tuple[RunStep, str]
) -> None:
    one, two = Shelf("one").put("a"), Shelf("two").put("b")

    def hook(step: RunStep, target: str | None, /) -> None:
        if (step, target) == moment:
            hold(services, HoldScope.USER, subject=ALICE)

    held = run_request(services, [one, two], ask(services).request.id, hook=hook)
    assert held.state is State.HELD
    assert (one.things, set(two.things)) == ({}, {"b"})
    assert "delete" not in two.calls


def test_no_hold_can_be_added_while_a_target_is_being_erased(services: Services) -> None:
    shelf = Shelf().put("a")
    added: list[bool] = []
    shelf.when_deleting = lambda: added.append(
        add_hold(
            services, NewHold(HoldScope.USER, "case 7", "counsel", subject=ALICE), wait=timedelta(milliseconds=100)
        ).settled
    )
    erase(services, ask(services), shelf)
    assert added == [False]
