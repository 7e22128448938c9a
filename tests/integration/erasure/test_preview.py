"""What would go is seen before it goes, and no more goes than was agreed to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.erasure.case import Case, EventKind, Identifiers, State
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.preview import preview
from compliance_pipelines.erasure.record import NewRequest, load, record_request
from compliance_pipelines.erasure.runner import run_due, run_request
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from tests.integration.erasure.application import EVERYTHING, Application
from tests.integration.erasure.asking import ALICE, ask
from tests.integration.erasure.flaky import SHARED, Shelf
from tests.integration.erasure.test_command import Erase

if TYPE_CHECKING:
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock


@pytest.fixture
def erase(services: Services, settings: Settings) -> Erase:
    return Erase(settings)


def hold(services: Services, scope: HoldScope, **values: object) -> None:
    add_hold(services, NewHold(scope, "case 7", "counsel", **values))  # type: ignore[arg-type]


def limited(services: Services, most: int) -> Services:
    return replace(services, settings=services.settings.model_copy(update={"gdpr_erasure_max_items": most}))


def test_a_plan_is_what_then_goes_and_changes_nothing(services: Services, application: Application) -> None:
    application.meet(ALICE)
    case = ask(services)
    targets = configured_targets(services.settings)
    keys = application.keys()
    seen = preview(services, targets, case.identifiers, request_id=case.request.id)
    assert sum((target.would_go for target in seen.targets), Counter[str]()) == EVERYTHING
    assert seen.would_go == sum(EVERYTHING.values())
    assert application.keys() == keys
    with services.engine.connect() as connection:
        assert load(connection, case.request.id) == case
    assert run_request(services, targets, case.request.id, confirmed=seen.would_go).deleted() == EVERYTHING


def test_a_plan_shows_what_stays_and_why(services: Services) -> None:
    hold(services, HoldScope.DAYS, first_day=date(2026, 3, 1), last_day=date(2026, 3, 31))
    shelf = Shelf(reported=(SHARED,))
    shelf.put("held", first_day=date(2026, 3, 1), last_day=date(2026, 3, 1))
    shelf.put("free", first_day=date(2026, 4, 1), last_day=date(2026, 4, 1))
    broken = Shelf("broken", fails_to_look=ConnectionError("gone"))
    seen = preview(services, [shelf, broken], Identifiers(ALICE))
    one, other = seen.targets
    assert (one.would_go, one.held[0]["count"], one.reported[0]["why"]) == ({"things": 1}, 1, SHARED.why)
    assert other.error == "ConnectionError: gone"
    assert [target.name for target in seen.unseen] == ["broken"]
    assert "delete" not in shelf.calls


def test_under_a_hold_on_any_id_of_the_person_nothing_would_go(services: Services) -> None:
    hold(services, HoldScope.USER, subject="a@example.com")
    seen = preview(services, [Shelf().put("a")], Identifiers(ALICE, {"a@example.com": "given"}))
    assert seen.hold is not None
    assert (seen.hold["reason"], seen.would_go) == ("case 7", 0)


def test_more_than_was_agreed_to_does_not_go(services: Services) -> None:
    shelf, case = Shelf().put("a", "b", "c"), ask(services)
    refused = run_request(services, [shelf], case.request.id, confirmed=2)
    assert (refused.state, len(shelf.things), "delete" in shelf.calls) == (State.PARTIAL, 3, False)
    (failed,) = [event for event in refused.events if event.kind is EventKind.FAILED]
    assert "3 items would go, more than the 2 that were agreed to" in failed.detail["error"]
    assert f"erase run {case.request.id} --confirm 3" in failed.detail["error"]
    closed = run_request(services, [shelf], case.request.id, confirmed=3)
    assert closed.state is State.CLOSED
    assert closed.closure is not None
    assert closed.closure.result == "success"


def test_what_comes_after_the_plan_was_agreed_to_does_not_go_with_it(services: Services) -> None:
    one, two = Shelf("one").put("a"), Shelf("two").put("b")
    case = ask(services)
    one.when_deleting = lambda: two.put("late")
    partial = run_request(services, [one, two], case.request.id, confirmed=2)
    assert (partial.state, one.things, set(two.things)) == (State.PARTIAL, {}, {"b", "late"})
    assert "2 items would go, more than the 1 that are left" in partial.events[-2].detail["error"]
    assert partial.deleted() == {"things": 1}


def test_where_a_target_cannot_be_looked_at_nobody_can_have_agreed(services: Services) -> None:
    shelf, broken = Shelf().put("a"), Shelf("broken", fails_to_look=ConnectionError("gone"))
    case = run_request(services, [shelf, broken], ask(services).request.id, confirmed=10)
    assert set(shelf.things) == {"a"}
    assert "broken could not be looked at" in case.events[-2].detail["error"]


def test_a_limit_of_the_settings_waits_for_a_person_and_stops_no_other_request(
    services: Services, clock: MovableClock
) -> None:
    services = limited(services, 1)
    large, shelf = ask(services), Shelf().put("a", "b")
    record_request(services, NewRequest("user:bob", "asked", "support"))
    clock.advance(seconds=1)
    assert [case.state for case in run_due(services, lambda: [shelf])] == [State.PARTIAL, State.PARTIAL]
    assert "GDPR_ERASURE_MAX_ITEMS" in _last_error(services, large)
    assert len(shelf.things) == 2
    assert run_request(services, [shelf], large.request.id, confirmed=2).state is State.CLOSED


def _last_error(services: Services, case: Case) -> str:
    with services.engine.connect() as connection:
        return str(load(connection, case.request.id).events[-2].detail["error"])


def test_the_command_shows_the_plan_and_goes_by_its_number(erase: Erase, application: Application) -> None:
    application.meet(ALICE)
    erase("request", ALICE, "--requested-by", "support")
    result = erase("plan", "1")
    assert result.exit_code == 0, result.output
    assert "  2 sessions would go\n" in result.output
    total = sum(EVERYTHING.values())
    assert result.output.endswith(f"{total} items would go: compliance erase run 1 --confirm {total}\n")
    assert erase.json("plan", "--subject", ALICE)["would_go"] == total
    fewer = erase("run", "1", "--confirm", "3")
    assert f"{total} items would go, more than the 3 that were agreed to" in str(fewer.exception)
    assert application.has_anything_of(ALICE)
    assert erase("run", "1", "--confirm", str(total)).exit_code == 0
    assert "nothing more would go" in str(erase("plan", "1").exception)
    for wrong in (("plan",), ("plan", "1", "--subject", ALICE), ("run", "--confirm", "3")):
        assert erase(*wrong).exit_code == 2


def test_the_command_fails_where_a_target_cannot_be_looked_at(erase: Erase, application: Application) -> None:
    application.execute("DROP TABLE consent_records")
    result = erase("plan", "--subject", ALICE)
    assert result.exit_code == 1
    assert "could not be looked at: TargetError" in result.output
    assert result.output.endswith("nobody can tell how much would go\n")
