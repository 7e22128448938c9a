"""Services on a PostgreSQL whose lock table is small."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from tests.support.command import Command
from tests.support.logins import login_url, make_logins
from tests.support.servers import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.settings import Settings


@pytest.fixture
def small_database_url(small_postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A fresh migrated database there, as superuser."""
    name = f"small_{uuid.uuid4().hex}"
    small_postgres_server.create_database(name)
    url = small_postgres_server.url(name)
    migrate(url)
    make_logins(url)
    yield url
    small_postgres_server.drop_database(name)


@pytest.fixture
def small_superuser(small_database_url: str) -> Iterator[sqlalchemy.Engine]:
    """The same database, seen by its administrator."""
    engine = create_engine(small_database_url, pool_size=2)
    yield engine
    engine.dispose()


@pytest.fixture
def small_services(services: Services, small_database_url: str, tmp_path: Path) -> Iterator[Services]:
    """Everything opened, on that database."""
    url = login_url(small_database_url, "test_pipeline")
    settings: Settings = services.settings.model_copy(
        update={
            "audit_log_database_url": SecretStr(url),
            "audit_cold_storage_path": tmp_path / "small-cold",
        }
    )
    engine = create_engine(url, pool_size=5)
    store = LocalObjectStore(tmp_path / "small-cold")
    opened = Services(settings=settings, engine=engine, store=store, keys=services.keys, clock=services.clock)
    init_store(opened)
    yield opened
    engine.dispose()


@pytest.fixture
def command(
    small_services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """`compliance` on that database."""
    (tmp_path / "here").mkdir()
    command = Command(monkeypatch, capsys, tmp_path / "here")
    command.use(small_services.settings)
    return command
