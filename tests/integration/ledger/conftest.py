"""A ledger with a superuser beside it, and an inspector who believes neither."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.integration.archive.days import Days
from tests.integration.ledger.inspector import FUNCTIONS, Inspector

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock


@pytest.fixture
def day(clock: MovableClock) -> date:
    """A day that is due for its archive."""
    return clock.moment.date() - timedelta(days=120)


@pytest.fixture
def days(services: Services, superuser_engine: sqlalchemy.Engine) -> Days:
    """Appends to days, seals, looks, and damages."""
    return Days(services, superuser_engine)


@pytest.fixture
def inspector(services: Services, superuser_engine: sqlalchemy.Engine) -> Inspector:
    """Judges database and cold store without the package."""
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql(FUNCTIONS.read_text(encoding="utf-8"))
    return Inspector(services, superuser_engine)
