"""Logs and imports on a migrated database."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.audit_log import batches
from compliance_pipelines.audit_log.importing import ImportResult, import_file
from compliance_pipelines.audit_log.log import AsyncAuditLog, AuditLog
from compliance_pipelines.postgres.engine import create_asynchronous_engine, create_engine
from tests.support.command import Command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    import sqlalchemy
    from sqlalchemy.ext.asyncio import AsyncEngine

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

    Import = Callable[..., ImportResult]


@pytest.fixture
def writer(writer_database_url: str) -> Iterator[sqlalchemy.Engine]:
    """The database as an application sees it, which is a member of audit_writer and of nothing else."""
    engine = create_engine(writer_database_url, pool_size=10)
    yield engine
    engine.dispose()


@pytest.fixture
def log(writer: sqlalchemy.Engine) -> AuditLog:
    """The application's log."""
    return AuditLog(writer)


@pytest_asyncio.fixture
async def async_writer(writer_database_url: str) -> AsyncIterator[AsyncEngine]:
    """The same for asynchronous code."""
    engine = create_asynchronous_engine(writer_database_url, pool_size=10)
    yield engine
    await engine.dispose()


@pytest.fixture
def async_log(async_writer: AsyncEngine) -> AsyncAuditLog:
    """The application's asynchronous log."""
    return AsyncAuditLog(async_writer)


@pytest.fixture
def command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """`compliance`, on the test's database and cold store."""
    (tmp_path / "here").mkdir()
    command = Command(monkeypatch, capsys, tmp_path / "here")
    command.use(settings)
    return command


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of entries needs several chunks, and each chunk several pieces."""
    monkeypatch.setattr(batches, "_CHUNK_ENTRIES", 4)
    monkeypatch.setattr(batches, "_PIECE_CHARACTERS", 300)


@pytest.fixture
def importing(services: Services) -> Import:
    """Import a file as the command does."""

    def run(file: Path, **options: Any) -> ImportResult:  # noqa: ANN401 - those of import_file
        return import_file(
            services.engine,
            file,
            **{
                "actor": "pipelines",
                "first_day": date(2015, 1, 1),
                "archived_ids": ArchivedIds(services),
                **options,
            },
        )

    return run
