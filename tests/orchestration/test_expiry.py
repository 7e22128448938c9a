"""Archives whose retention is over, in Dagster: asked for day by day, removed, and shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.catalogue import DayState, parts_of_day
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.orchestration.backlog import Action, Step, due_steps, overdue_days
from compliance_pipelines.orchestration.checks import cold_verdicts
from compliance_pipelines.orchestration.keys import ARCHIVE_EXPIRY, COLD_ARCHIVE

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Archives are kept for a year."""
    return settings.model_copy(update={"audit_cold_storage_retention_years": 1})


@pytest.fixture
def day(project: Project, clock: MovableClock) -> date:
    """One that is purged, and whose retention is over by a month."""
    day = project.sealed(days_ago=400)
    archive_day(project.services, day)
    clock.advance(days=8)
    purge_day(project.services, day)
    return day


def test_a_day_is_asked_for_removed_and_shown(project: Project, day: date) -> None:
    services = project.services
    assert due_steps(services) == [Step(day, Action.EXPIRE)]
    assert overdue_days(services, Action.EXPIRE) == [day]

    result = project.step(Action.EXPIRE, day)

    assert result.success
    (made,) = [event for event in result.get_asset_materialization_events() if event.asset_key == ARCHIVE_EXPIRY]
    assert made.materialization.metadata["parts"].value == "1"
    assert project.state(day) is DayState.EXPIRED
    assert due_steps(services) == []
    shown = project.instance.get_latest_materialization_event(COLD_ARCHIVE)
    assert shown is not None
    assert shown.asset_materialization is not None
    assert shown.asset_materialization.metadata["expired parts"].value == 1
    verdicts = cold_verdicts(services, day)
    assert {verdict.problem for verdict in verdicts.values()} == {None}
    assert "expired, and no other is left" in next(iter(verdicts.values())).summary


def test_what_is_held_is_not_asked_for_and_a_run_of_it_leaves_the_partition_as_it_is(
    project: Project, day: date
) -> None:
    services = project.services
    hold = add_hold(services, NewHold(HoldScope.EVERYTHING, "case", "counsel")).hold
    assert due_steps(services) == []

    assert project.step(Action.EXPIRE, day).success

    assert project.state(day) is DayState.PURGED
    assert project.instance.get_materialized_partitions(ARCHIVE_EXPIRY) == set()
    release_hold(services, hold.id, reason="over", author="judge")
    assert project.step(Action.EXPIRE, day).success
    assert project.instance.get_materialized_partitions(ARCHIVE_EXPIRY) == {day.isoformat()}
    with services.engine.connect() as connection:
        assert parts_of_day(connection, day)[0].expired_at is not None


def test_nothing_is_due_before_the_retention_is_over(project: Project, day: date) -> None:
    services = project.services
    end = services.clock() - timedelta(days=60)
    assert due_steps(replace(services, clock=lambda: end)) == []
