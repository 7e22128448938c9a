"""A request that stays open is tried again, the most urgent one first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from compliance_pipelines.erasure.runner import run_due
from tests.integration.erasure.asking import ALICE, BOB, ask
from tests.integration.erasure.flaky import Shelf

if TYPE_CHECKING:
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock


def test_a_request_is_tried_again_after_a_pause_that_doubles_up_to_six_hours(
    services: Services, clock: MovableClock
) -> None:
    case, shelf = ask(services), Shelf().put("a")
    shelf.fails = OSError()
    clock.advance(seconds=1)
    pauses = []
    for _ in range(10):
        (case,) = run_due(services, lambda: [shelf])
        assert case.due_at is not None
        clock.moment = case.due_at - timedelta(seconds=1)
        assert run_due(services, lambda: [shelf]) == []
        pauses.append(case.due_at - case.events[-1].recorded_at)
        clock.moment = case.due_at
    assert [pause.total_seconds() / 60 for pause in pauses] == [5, 10, 20, 40, 80, 160, 320, 360, 360, 360]


def test_the_nearest_deadline_comes_first(services: Services, clock: MovableClock) -> None:
    later = ask(services, ALICE)
    sooner = ask(services, BOB, received_at=clock() - timedelta(days=20))
    clock.advance(seconds=1)
    cases = run_due(services, lambda: [Shelf()])
    assert [case.request.id for case in cases] == [sooner.request.id, later.request.id]


def test_targets_are_not_opened_when_nothing_is_due(services: Services) -> None:
    def fail() -> list[Shelf]:
        raise AssertionError

    assert run_due(services, fail) == []
