"""Databases that are earlier than the cold store: copies of one moment, and recovering them."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive.returning import ReturningParts
from compliance_pipelines.ledger.recovery import Recovery, recover, rehearse_recovery
from compliance_pipelines.verification.findings import NoteKind
from tests.integration.verification.conftest import opened
from tests.support.logins import database_of, login_url
from tests.unit.ledger import stranger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.verification.findings import Note
    from tests.integration.verification.world import World

_SEALED_OTHER_THAN_ONCE: Final = """
    SELECT entry.id FROM audit_logs AS entry
    WHERE entry.tx_id < (SELECT tx_horizon FROM ledger_checkpoints ORDER BY size DESC LIMIT 1)
      AND (SELECT count(*) FROM ledger_segments AS segment
           WHERE segment.day = (entry."timestamp" AT TIME ZONE 'UTC')::date
             AND segment.tx_from <= entry.tx_id AND entry.tx_id < segment.tx_to) <> 1
"""
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


def recover_as(world: World, owner: sqlalchemy.Engine) -> Recovery:
    """Recover with the owner's login of some database."""
    archives = ReturningParts(world.services)
    return recover(world.services, owner, archives, author=AUTHOR, reason=REASON)


def losses_noted(world: World, day: date) -> list[Note]:
    """The notes on losses of all verifications: of everything, of a day, and of a copy of the cold store."""
    reports = (world.verify(), world.verify(day), world.verify_offline())
    return [note for report in reports for note in report.notes if note.kind is NoteKind.LOSS_ACCEPTED]


def assert_sound(world: World, *, losses: int | None = None) -> None:
    """Both stores are as they were signed, as far as they were not accepted as lost; each loss is shown each time."""
    whole, copy = world.verify(), world.verify_offline()
    for report in (whole, copy):
        assert (report.findings, report.undecided) == ((), ()), report
    noted = [[note for note in report.notes if note.kind is NoteKind.LOSS_ACCEPTED] for report in (whole, copy)]
    assert noted[0] == noted[1]
    assert noted[0] if losses is None else len(noted[0]) == losses
    assert world.execute(_SEALED_OTHER_THAN_ONCE) == []
    assert _standing_in_cold_store(world) == [
        seq for (seq,) in world.execute("SELECT seq FROM ledger_segments ORDER BY 1")
    ]


def _standing_in_cold_store(world: World) -> list[int]:
    """The segments that a stranger looks for entries in."""
    paths = [path for path in (world.cold / "audit-ledger").rglob("*") if path.is_file()]
    objects = {str(path.relative_to(world.cold)): path.read_bytes() for path in paths}
    key = stranger.read_public_key(world.services.verifier_key.to_note_string())
    return [record["seq"] for record in stranger.standing(stranger.rebuild(objects, key))]
