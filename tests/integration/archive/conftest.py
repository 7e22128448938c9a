"""A day in the past with sealed entries, and hands to do damage with."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.archive.days import Days
from tests.integration.archive.worker import Worker, running_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock

AGE_IN_DAYS: Final = 120


@pytest.fixture
def day(clock: MovableClock) -> date:
    """A day that is due for its archive."""
    return clock.moment.date() - timedelta(days=AGE_IN_DAYS)


@pytest.fixture
def noon(day: date) -> datetime:
    """The middle of that day."""
    return datetime.combine(day, time(12), UTC)


@pytest.fixture
def days(services: Services, superuser_engine: sqlalchemy.Engine) -> Days:
    """Appends to days, seals, looks, and damages."""
    return Days(services, superuser_engine)


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """A process of its own that dies where it is told to."""
    with running_worker() as worker:
        yield worker
