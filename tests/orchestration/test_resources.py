"""What runs and ticks work with: opened from the settings; the clock can be moved on the embedded stack only."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final

import pytest
from dagster import build_init_resource_context
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from compliance_pipelines.base import clock
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.orchestration import resources
from compliance_pipelines.orchestration.resources import ServicesResource, clock_as_of
from compliance_pipelines.settings import ConfigurationError, Settings

LATER: Final = date(2099, 12, 31)


def test_they_are_opened_for_a_run_and_closed_after_it(environment: pytest.MonkeyPatch) -> None:
    with ServicesResource().yield_for_execution(build_init_resource_context()) as services:
        with services.engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
        before = system_clock()
        assert before <= services.clock() <= system_clock()
        pool = services.engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedin() == 1
    assert pool.checkedin() == 0


def test_as_of_moves_the_clock_to_that_day_at_the_present_time_of_day(environment: pytest.MonkeyPatch) -> None:
    present = datetime(2026, 11, 27, 14, 30, tzinfo=UTC)
    environment.setattr(clock, "system_clock", lambda: present)
    environment.setattr(resources, "system_clock", lambda: present)
    with ServicesResource(as_of="2099-12-31").yield_for_execution(build_init_resource_context()) as services:
        assert services.clock() == datetime.combine(LATER, present.timetz())


def test_as_of_is_refused_elsewhere(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("COMPLIANCE_LOCAL_STACK")
    with (
        pytest.raises(ConfigurationError, match="embedded stack only"),
        ServicesResource(as_of="2099-12-31").yield_for_execution(build_init_resource_context()),
    ):
        pass


def test_as_of_that_is_no_date_is_refused(environment: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(ConfigurationError, match="no date"),
        ServicesResource(as_of="tomorrow").yield_for_execution(build_init_resource_context()),
    ):
        pass


def test_without_a_date_the_clock_is_the_real_one_everywhere() -> None:
    assert clock_as_of(Settings(_env_file=None, compliance_local_stack=False), None) is system_clock
