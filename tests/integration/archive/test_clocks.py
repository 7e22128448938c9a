"""Nothing is dropped by a clock that runs ahead of the others."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.errors import PurgeRefusedError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.base.clock import clock_at, system_clock
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.postgres import agreed_time as clocks
from compliance_pipelines.postgres.agreed_time import ClocksDisagreeError
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import ConfigurationError
from tests.integration.archive.faulty_store import Fault, FaultyStore

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days

YEAR = timedelta(days=365)


@pytest.fixture
def production(services: Services, days: Days, day: date) -> Services:
    """A day that was verified a moment ago, and services that are not the embedded stack's."""
    days.append(day, 3)
    archive_day(services, day)
    settings = services.settings.model_copy(update={"compliance_local_stack": False})
    return replace(services, settings=settings, clock=system_clock)


def test_a_worker_whose_clock_is_a_year_ahead_purges_nothing(
    production: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = clock_at(datetime.now(UTC) + YEAR)
    monkeypatch.setattr(clocks, "system_clock", ahead)
    with pytest.raises(ClocksDisagreeError, match=r"this machine says .*, the database .*, the cold store ") as refused:
        purge_day(replace(production, clock=ahead), day)
    for year in (datetime.now(UTC).year, (datetime.now(UTC) + YEAR).year):
        assert f" {year}-" in str(refused.value)
    assert len(days.hot_rows(day)) == 3


def test_a_worker_whose_clock_is_ahead_is_stopped_on_the_embedded_stack_too(
    services: Services, production: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "system_clock", clock_at(datetime.now(UTC) + YEAR))
    with pytest.raises(ClocksDisagreeError):
        purge_day(services, day)
    assert len(days.hot_rows(day)) == 3


def test_a_clock_that_was_moved_judges_nothing_outside_of_the_embedded_stack(
    production: Services, days: Days, day: date
) -> None:
    with pytest.raises(ClocksDisagreeError, match="and what is due is judged as of "):
        purge_day(replace(production, clock=clock_at(datetime.now(UTC) + YEAR)), day)
    assert len(days.hot_rows(day)) == 3


def test_services_are_not_even_opened_with_a_moved_clock_outside_of_the_embedded_stack(production: Services) -> None:
    with (
        pytest.raises(ConfigurationError, match="COMPLIANCE_LOCAL_STACK"),
        open_services(production.settings, clock=clock_at(datetime.now(UTC) + YEAR)),
    ):
        pytest.fail("opened")


def test_a_store_whose_clock_is_wrong_stops_the_purge(
    production: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production.store, "now", lambda: datetime.now(UTC) - timedelta(seconds=90))
    with pytest.raises(ClocksDisagreeError):
        purge_day(production, day)
    assert len(days.hot_rows(day)) == 3


def test_a_difference_of_less_than_a_minute_does_not_matter_and_the_databases_time_counts(
    production: Services, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production.store, "now", lambda: datetime.now(UTC) - timedelta(seconds=30))
    with pytest.raises(PurgeRefusedError, match="AUDIT_LOG_PURGE_GRACE_DAYS"):
        purge_day(production, day)
    no_grace = production.settings.model_copy(update={"audit_log_purge_grace_days": 0})
    assert purge_day(replace(production, settings=no_grace), day).entry_count == 3


def test_a_store_that_does_not_tell_the_time_stops_the_purge(production: Services, days: Days, day: date) -> None:
    with pytest.raises(ObjectStoreError, match="does not answer"):
        purge_day(replace(production, store=FaultyStore(production.store, Fault("now"))), day)
    assert len(days.hot_rows(day)) == 3


def test_the_embedded_stack_may_be_moved_on_purpose(services: Services, day: date, production: Services) -> None:
    moved = replace(services, clock=clock_at(datetime.now(UTC) + timedelta(days=8)))
    assert os.environ.get("COMPLIANCE_LOCAL_STACK") is None
    assert purge_day(moved, day).entry_count == 3
