"""Days of entries, which the tests of several packages fill, seal, archive and damage."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.archive.days import Days

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock

# More than a day stays in PostgreSQL alone.
_AGE_IN_DAYS: Final = 120


@pytest.fixture
def day(clock: MovableClock) -> date:
    """A day that is due for its archive."""
    return clock.moment.date() - timedelta(days=_AGE_IN_DAYS)


@pytest.fixture
def days(services: Services, superuser_engine: sqlalchemy.Engine) -> Days:
    """Appends to days, seals, looks, and damages."""
    return Days(services, superuser_engine)
