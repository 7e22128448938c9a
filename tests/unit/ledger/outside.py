"""A log in a store and the settings with which somebody outside is asked about it; no database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy

from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings
from tests.unit.ledger.logs import KEY

if TYPE_CHECKING:
    from compliance_pipelines.base.clock import Clock
    from compliance_pipelines.object_store.port import ObjectStore

NOW = datetime(2026, 7, 9, 12, tzinfo=UTC)


def standing() -> datetime:
    """A moment that stands still."""
    return NOW


def services_of(store: ObjectStore, *, clock: Clock = standing, **settings: Any) -> Services:  # noqa: ANN401 - theirs
    """Services without a database."""
    nowhere = sqlalchemy.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    made = Settings(_env_file=None, **settings)
    return Services(made, nowhere, store, Keyring.of(KEY), clock)
