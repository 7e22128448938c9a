"""Databases that are earlier than the cold store: copies of one moment, and recovering them."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compliance_pipelines.archive.returning import ReturningParts
from compliance_pipelines.ledger.recovery import Recovery, recover, rehearse_recovery
from tests.integration.verification.conftest import opened
from tests.support.logins import database_of, login_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

AUTHOR = "Ada Admin"
REASON = "INC-7: the primary's disk is gone"


@contextmanager
def remembered(server: EmbeddedPostgres, world: World) -> Iterator[str]:
    """The database as it is at this moment, as a copy with a name; nobody may be connected to the database."""
    database = database_of(world.days.superuser)
    world.services.engine.dispose()
    world.days.superuser.dispose()
    name = f"moment_{uuid.uuid4().hex}"
    server.create_database(name, template=database)
    try:
        yield name
    finally:
        server.drop_database(name)


@contextmanager
def opened_at(server: EmbeddedPostgres, database: str, world: World) -> Iterator[World]:
    """The database of a moment with the cold store of now."""
    url = server.url(database)
    with contextmanager(opened)(login_url(url, "test_pipeline"), world.cold, url) as restored:
        yield restored


def recovered(world: World, **options: Any) -> Recovery:  # noqa: ANN401 - those of `recover`
    """Recover as the command does."""
    names = {"author": AUTHOR, "reason": REASON, **options}
    return recover(world.services, world.days.superuser, ReturningParts(world.services), **names)


def rehearsed(world: World) -> Recovery:
    """What a recovery would find."""
    return rehearse_recovery(world.services, ReturningParts(world.services))
