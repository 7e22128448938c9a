"""A ledger with a superuser beside it, and an inspector who believes neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.ledger.inspector import FUNCTIONS, Inspector

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.services import Services


@pytest.fixture
def inspector(services: Services, superuser_engine: sqlalchemy.Engine) -> Inspector:
    """Judges database and cold store without the package."""
    with superuser_engine.begin() as connection:
        connection.exec_driver_sql(FUNCTIONS.read_text(encoding="utf-8"))
    return Inspector(services, superuser_engine)
