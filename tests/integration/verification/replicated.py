"""The system of world.py on a primary, and the same as its streaming replica shows it."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration.verification.conftest import opened, opened_database
from tests.integration.verification.world import World, copied, fill
from tests.support.logins import login_url, make_logins
from tests.support.sealing import seal_all
from tests.support.servers import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.replica import Replica


@dataclass(frozen=True)
class Filled:
    """A filled system on a primary: the name of its database, which nobody is connected to, and its cold store."""

    database: str
    cold: Path


@dataclass(frozen=True)
class Pair:
    """One system, seen twice.

    Attributes:
        replica: the replica's server.
        database: name of the database, the same on both.
        primary: the system as the pipelines see it on the primary.
        seen: the system as an auditor, who may read alone, sees it on the replica; the cold store is the same.
    """

    replica: Replica
    database: str
    primary: World
    seen: World

    @property
    def pipelines_on_replica(self) -> str:
        """The URL with which the pipelines would work on the replica."""
        return login_url(self.replica.url(self.database), "test_pipeline")


@pytest.fixture(scope="session")
def filled(replica: Replica, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    database, cold = f"filled_{uuid.uuid4().hex}", tmp_path_factory.mktemp("replicated") / "cold"
    replica.primary.create_database(database)
    url = replica.primary.url(database)
    migrate(url)
    make_logins(url)
    with contextmanager(opened_database)(url, cold) as world:
        fill(world.services, world.days)
        # What the project has put on record about itself, so that nothing but the test's own doing is behind.
        seal_all(world.services)
    return Filled(database, cold)


@pytest.fixture
def pair(replica: Replica, filled: Filled, tmp_path: Path) -> Iterator[Pair]:
    """A copy of the filled system, which the replica has, too; the test may hold the replica back."""
    with pair_of(replica, filled, tmp_path / "cold") as made:
        yield made


@contextmanager
def pair_of(replica: Replica, filled: Filled, cold: Path) -> Iterator[Pair]:
    """A copy of the filled system; at the end the replica replays again and the copy is dropped."""
    database = f"test_{uuid.uuid4().hex}"
    replica.primary.create_database(database, template=filled.database)
    copied(filled.cold, cold)
    replica.catch_up()
    try:
        with (
            contextmanager(opened_database)(replica.primary.url(database), cold) as primary,
            seen_on(replica, database, cold) as seen,
        ):
            yield Pair(replica, database, primary, seen)
    finally:
        replica.connect()
        replica.resume()
        replica.primary.drop_database(database)
        replica.catch_up()


@contextmanager
def seen_on(replica: Replica, database: str, cold: Path) -> Iterator[World]:
    """The system as an auditor sees it on a replica."""
    url = replica.url(database)
    with contextmanager(opened)(login_url(url, "test_reader"), cold, url) as world:
        yield world
