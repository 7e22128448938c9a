"""The system of world.py: filled once for each worker, then copied for each test."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings
from tests.integration.archive.days import Days
from tests.integration.verification.world import KEY, World, copied, fill
from tests.support.logins import login_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres


def opened(url: str, cold: Path, superuser_url: str = "") -> Iterator[World]:
    """The system on this database and this cold store."""
    superuser = create_engine(superuser_url or url, pool_size=2)
    engine = create_engine(url, pool_size=5)
    settings = Settings(
        _env_file=None,
        audit_log_database_url=url,
        audit_cold_storage_provider="local",
        audit_cold_storage_path=cold,
        ledger_signing_key=KEY.to_note_string(),
        compliance_local_stack=True,
    )
    moment = datetime.now(UTC)
    services = Services(settings, engine, LocalObjectStore(cold), Keyring.of(KEY), lambda: moment)
    try:
        yield World(services, Days(services, superuser))
    finally:
        engine.dispose()
        superuser.dispose()


def opened_database(superuser_url: str, cold: Path) -> Iterator[World]:
    """The system as the pipelines' own login sees it."""
    for world in opened(login_url(superuser_url, "test_pipeline"), cold, superuser_url):
        init_store(world.services)
        yield world


@dataclass(frozen=True)
class Template:
    """The filled system: the name of its database, which nobody is connected to, and its cold store."""

    database: str
    cold: Path


@pytest.fixture(scope="session")
def template(
    postgres_server: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Template]:
    database, cold = f"verification_{uuid.uuid4().hex}", tmp_path_factory.mktemp("world") / "cold"
    postgres_server.create_database(database, template=template_database)
    try:
        for world in opened_database(postgres_server.url(database), cold):
            fill(world.services, world.days)
        yield Template(database, cold)
    finally:
        postgres_server.drop_database(database)


@pytest.fixture
def world(postgres_server: EmbeddedPostgres, template: Template, tmp_path: Path) -> Iterator[World]:
    """A copy of the filled system."""
    database, cold = f"test_{uuid.uuid4().hex}", tmp_path / "cold"
    postgres_server.create_database(database, template=template.database)
    copied(template.cold, cold)
    try:
        yield from opened_database(postgres_server.url(database), cold)
    finally:
        postgres_server.drop_database(database)


@pytest.fixture
def bucket(template: Template, tmp_path: Path) -> Iterator[World]:
    """A copy of the filled system's cold store; its database does not answer."""
    cold = tmp_path / "cold"
    copied(template.cold, cold)
    yield from opened("postgresql://nobody:nothing@127.0.0.1:1/nowhere", cold)


@pytest.fixture
def empty_world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """The system before the first entry."""
    yield from opened_database(database_url, tmp_path / "cold")
