"""A system in good order, made once and copied for each drill: database, encrypted archives, keyring, signing key.

Here: the copy, and what is lost of it. Not here: what brings it back (steps.py).
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from compliance_pipelines.encryption.keyring import Keyring as ArchiveKeyring
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings
from tests.integration.archive.days import Days
from tests.integration.verification.world import KEY, World
from tests.support.logins import login_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.drills.steps import Steps
    from tests.support.command import Command

AUTHOR: Final = "A. Admin"
REASON: Final = "INC-7: the disk"


def new_keyring(path: Path) -> None:
    """Make the keyring that wraps the keys of archives."""
    ArchiveKeyring.create(path, datetime.now(UTC))


@contextmanager
def opened_site(superuser_url: str, cold: Path, keyring: Path) -> Iterator[World]:
    """The system on this database and this cold store, as the pipelines' own login sees it."""
    url = login_url(superuser_url, "test_pipeline")
    superuser, engine = create_engine(superuser_url, pool_size=2), create_engine(url, pool_size=5)
    settings = Settings(
        _env_file=None,
        audit_log_database_url=url,
        audit_cold_storage_provider="local",
        audit_cold_storage_path=cold,
        audit_archive_encryption=True,
        audit_archive_keyring_file=keyring,
        ledger_signing_key=KEY.to_note_string(),
        compliance_local_stack=True,
    )
    services = Services(settings, engine, LocalObjectStore(cold), Keyring.of(KEY), lambda: datetime.now(UTC))
    try:
        yield World(services, Days(services, superuser))
    finally:
        engine.dispose()
        superuser.dispose()


@dataclass(frozen=True)
class Site:
    """One copy of the system, and the hands of whoever runs it.

    Attributes:
        server: where its database is.
        elsewhere: another cluster, with nothing of it.
        database: its name.
        directory: for what the drill needs beside the system.
        world: the system.
        command: runs `compliance` with its settings.
        steps: the commands of the drill.
    """

    server: EmbeddedPostgres
    elsewhere: EmbeddedPostgres
    database: str
    directory: Path
    world: World
    command: Command
    steps: Steps

    @property
    def cold(self) -> Path:
        """The directory of the cold store."""
        return self.world.cold

    def point_to(self, server: EmbeddedPostgres, database: str) -> None:
        """Let the settings name another database."""
        url = server.url(database)
        self.command.set(AUDIT_LOG_DATABASE_URL=login_url(url, "test_pipeline"), AUDIT_LOG_MIGRATION_DATABASE_URL=url)

    def psql_goes_to(self, server: EmbeddedPostgres) -> None:
        """Let PostgreSQL's own programs connect to a server."""
        self.command.set(PGHOST="127.0.0.1", PGPORT=str(server.port), PGUSER="postgres", PGPASSWORD=server.password)

    def lose_database(self) -> None:
        """Drop it, and all that is connected to it."""
        self.world.services.engine.dispose()
        self.world.days.superuser.dispose()
        self.server.drop_database(self.database)

    @contextmanager
    def opened_at(self, server: EmbeddedPostgres, database: str, cold: Path | None = None) -> Iterator[World]:
        """The system after the drill, on another database or another store."""
        keyring = self.world.services.settings.audit_archive_keyring_file
        assert keyring is not None
        with opened_site(server.url(database), self.cold if cold is None else cold, keyring) as world:
            yield world

    def copy_of_the_store(self, name: str = "copy") -> Path:
        """What a replica of the bucket holds at this moment."""
        copy = self.directory / name
        shutil.copytree(self.cold, copy)
        return copy
