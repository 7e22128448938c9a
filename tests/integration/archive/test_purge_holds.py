"""A day that a legal hold covers stays in PostgreSQL until the hold is released."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.archive.catalogue import due
from compliance_pipelines.archive.errors import PurgeRefusedError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import AddedHold, NewHold, add_hold, release_hold
from tests.support.stops import PATIENCE_SECONDS, somebody_waits, until

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days, Row


@pytest.fixture
def purgeable(services: Services, days: Days, day: date, clock: MovableClock) -> list[Row]:
    """The rows of the day, which is archived, verified, and out of its grace; its users are user-0 to user-4."""
    days.append(day, 10)
    archive_day(services, day)
    clock.advance(days=8)
    return days.hot_rows(day)


def hold(services: Services, scope: HoldScope, **values: Any) -> AddedHold:  # noqa: ANN401 - a hold's fields
    return add_hold(services, NewHold(scope, "case 7", "counsel", **values))


def test_a_held_day_is_not_purged_and_the_refusal_names_the_hold_and_its_reason(
    services: Services, days: Days, day: date, purgeable: list[Row]
) -> None:
    one = timedelta(days=1)
    scopes: tuple[tuple[HoldScope, dict[str, Any]], ...] = (
        (HoldScope.EVERYTHING, {}),
        (HoldScope.DAYS, {"first_day": day - one, "last_day": day}),
        (HoldScope.USER, {"subject": "user-3"}),
    )
    for number, (scope, values) in enumerate(scopes, 1):
        added = hold(services, scope, **values)
        with pytest.raises(PurgeRefusedError, match=rf"{day} was not purged: hold {number} .* of counsel: case 7"):
            purge_day(services, day)
        assert days.hot_rows(day) == purgeable
        assert day not in due(services).purge
        release_hold(services, added.hold.id, reason="over", author="judge")
    assert day in due(services).purge
    purge_day(services, day)
    assert days.hot_rows(day) == []


def test_holds_on_other_days_and_people_stop_nothing(
    services: Services, days: Days, day: date, purgeable: list[Row]
) -> None:
    one = timedelta(days=1)
    hold(services, HoldScope.DAYS, first_day=day + one, last_day=day + 9 * one)
    hold(services, HoldScope.USER, subject="user-9")
    hold(services, HoldScope.THREAD, subject="thread-1")
    assert day in due(services).purge
    assert purge_day(services, day).entry_count == len(purgeable)


def test_a_held_day_is_archived_all_the_same(services: Services, days: Days, day: date) -> None:
    hold(services, HoldScope.EVERYTHING)
    days.append(day, 3)
    assert archive_day(services, day).entry_count == 3


def test_a_hold_that_is_added_while_a_day_is_purged_waits_for_the_end_of_the_purge(
    services: Services, days: Days, day: date, purgeable: list[Row]
) -> None:
    added: list[AddedHold] = []
    adding = threading.Thread(target=lambda: added.append(hold(services, HoldScope.EVERYTHING)))

    def add_and_wait_until_it_waits(step: PurgeStep, /) -> None:
        if step is not PurgeStep.CHECKED:
            return
        adding.start()
        until("the hold waits for the purge", lambda: somebody_waits(services.engine, "advisory"))
        assert not added

    purge_day(services, day, hook=add_and_wait_until_it_waits)
    adding.join(PATIENCE_SECONDS)
    assert [each.settled for each in added] == [True]
    assert days.cold_rows(day) == purgeable


def test_a_hold_that_was_added_before_the_purge_took_its_locks_stops_it(
    services: Services, days: Days, day: date, purgeable: list[Row]
) -> None:
    def add(step: PurgeStep, /) -> None:
        if step is PurgeStep.ARCHIVES_READ:
            hold(services, HoldScope.EVERYTHING)

    with pytest.raises(PurgeRefusedError, match="hold 1"):
        purge_day(services, day, hook=add)
    assert days.hot_rows(day) == purgeable
