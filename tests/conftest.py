"""Fixtures that every test may use: the opened services on real servers, and a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.postgres import locks
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings
from tests.support.logins import login_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy

pytest_plugins = ["tests.support.memory", "tests.support.servers", "tests.support.replica"]

# How long an example takes, or its making, is a property of the machine and of what else it does.
hypothesis_settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("any_machine")


class MovableClock:
    """A clock that stands still until the test moves it."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **amount: float) -> None:
        """Move forward by a timedelta's arguments."""
        self.moment += timedelta(**amount)


@pytest.fixture
def clock() -> MovableClock:
    """The real time at the start of the test; it moves only by hand."""
    return MovableClock(datetime.now(UTC))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests in which a lock is held all the time: waiting longer for it tells nothing more."""
    monkeypatch.setattr(locks, "_PATIENCE", timedelta(milliseconds=50))


@pytest.fixture
def patient_for_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests in which a holder of a lock may be idle for one second: who has waited longer knows."""
    monkeypatch.setattr(locks, "_PATIENCE", timedelta(seconds=2))


@pytest.fixture
def pipeline_database_url(database_url: str) -> str:
    """The migrated database as the login of the pipelines: writer, archiver and reader, owner of nothing."""
    return login_url(database_url, "test_pipeline")


@pytest.fixture
def writer_database_url(database_url: str) -> str:
    """The migrated database as an application that may only append and read."""
    return login_url(database_url, "test_writer")


@pytest.fixture
def reader_database_url(database_url: str) -> str:
    """The migrated database as an auditor who may only read."""
    return login_url(database_url, "test_reader")


@pytest.fixture
def superuser_engine(database_url: str) -> Iterator[sqlalchemy.Engine]:
    """The migrated database, seen by its administrator."""
    engine = create_engine(database_url, pool_size=5)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(pipeline_database_url: str) -> Iterator[sqlalchemy.Engine]:
    """The migrated database, seen by the pipelines' own login with no more than its privileges."""
    engine = create_engine(pipeline_database_url, pool_size=5)
    yield engine
    engine.dispose()


@pytest.fixture
def signing_key() -> SigningKey:
    """A new key."""
    return SigningKey.generate("tests.example/audit")


@pytest.fixture
def object_store(tmp_path: Path) -> LocalObjectStore:
    """A cold store that holds nothing yet; `services` binds it."""
    store = LocalObjectStore(tmp_path / "cold")
    store.create()
    return store


@pytest.fixture
def settings(pipeline_database_url: str, tmp_path: Path, signing_key: SigningKey) -> Settings:
    """The settings of one test, whatever the environment says."""
    return Settings(
        _env_file=None,
        audit_log_database_url=pipeline_database_url,
        audit_log_connection_pool_size=5,
        audit_cold_storage_provider="local",
        audit_cold_storage_path=tmp_path / "cold",
        ledger_signing_key=signing_key.to_note_string(),
        compliance_local_stack=True,
        conversation_purge_pause_seconds=0,
    )


@pytest.fixture
def services(
    settings: Settings,
    engine: sqlalchemy.Engine,
    object_store: LocalObjectStore,
    signing_key: SigningKey,
    clock: MovableClock,
) -> Services:
    """Everything opened, as the domain gets it; the store is made and bound."""
    services = Services(settings=settings, engine=engine, store=object_store, keys=Keyring.of(signing_key), clock=clock)
    init_store(services)
    return services
