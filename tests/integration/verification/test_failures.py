"""What cannot be told is an error or said to be undecided; it is never 'ok', and hides no finding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.ledger.tiles import Tile
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.verification import parts
from compliance_pipelines.verification.errors import VerificationError
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from tests.integration.verification.stores import FailingStore
from tests.integration.verification.world import ARCHIVED, BUNDLE, HOT, KEY, LEAVES, OTHER_ARCHIVED, PURGED, kinds
from tests.support.logins import database_of

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.verification.findings import Finding
    from compliance_pipelines.verification.progress import Stage
    from tests.integration.verification.world import World


def _key(world: World, path: Path) -> str:
    return path.relative_to(world.cold).as_posix()


@pytest.mark.parametrize("days", [None, [HOT]])
def test_a_store_that_cannot_be_listed_is_an_error(world: World, days: list[date] | None) -> None:
    services = replace(world.services, store=FailingStore(world.services.store, listing=True))
    with pytest.raises(ObjectStoreError, match="does not list"):
        verify(services, days)


@pytest.mark.parametrize("what", ["object", "manifest"])
def test_a_part_that_the_store_does_not_give_is_undecided_and_the_others_are_verified(world: World, what: str) -> None:
    path = world.object_path(ARCHIVED) if what == "object" else world.manifest_path(ARCHIVED)
    world.alter_object(PURGED)
    services = replace(world.services, store=FailingStore(world.services.store, key=_key(world, path)))
    report = verify(services)
    assert (report.ok, kinds(report)) == (False, ["object_altered"])
    (undecided,) = report.undecided
    assert undecided.day == ARCHIVED
    assert "does not give" in undecided.message


def test_nothing_but_something_undecided_is_not_ok(world: World) -> None:
    key = _key(world, world.object_path(OTHER_ARCHIVED))
    report = verify(replace(world.services, store=FailingStore(world.services.store, key=key)))
    assert (report.ok, report.findings, len(report.undecided)) == (False, (), 1)


def test_a_checkpoint_that_the_store_does_not_give_is_undecided_and_not_missing(world: World) -> None:
    services = replace(world.services, store=FailingStore(world.services.store, key=CHECKPOINT_KEY))
    report = verify(services)
    assert (report.ok, report.findings) == (False, ())
    assert f"{CHECKPOINT_KEY} could not be read" in report.undecided[0].message
    with pytest.raises(ObjectStoreError, match="does not give"):
        verify(services, [HOT])


@pytest.mark.parametrize("tile", [BUNDLE, LEAVES, Tile(0, 0, 5)])
def test_a_tile_that_the_store_does_not_give_is_undecided_and_not_missing(world: World, tile: Tile) -> None:
    report = verify(replace(world.services, store=FailingStore(world.services.store, key=tile.key)))
    assert (report.ok, report.findings) == (False, ())
    (undecided,) = report.undecided
    assert f"{tile.key} could not be read" in undecided.message


def test_a_database_that_does_not_answer_is_an_error(world: World) -> None:
    engine = create_engine("postgresql://nobody:nothing@127.0.0.1:1/nowhere")
    with pytest.raises(TransientError, match="the verification had to stop"):
        verify(replace(world.services, engine=engine))


def test_findings_before_a_lost_connection_are_not_lost(world: World, postgres_server: EmbeddedPostgres) -> None:
    world.remove(world.tile_path(LEAVES))
    name = database_of(world.services.engine)
    world.days.superuser.dispose()
    administrator = create_engine(postgres_server.url("postgres"), pool_size=1)
    found: list[Finding] = []

    def lock_out(stage: Stage, done: int, total: int | None) -> None:
        if done == len((2, 4, 5, 8)):
            with administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
                connection.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
                )

    try:
        with pytest.raises((TransientError, VerificationError)):
            verify(world.services, progress=lock_out, on_finding=found.append)
    finally:
        with administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))
        administrator.dispose()
    assert [str(finding.kind) for finding in found] == ["tile_missing"]


def test_rows_that_cannot_be_read_are_an_error(world: World) -> None:
    world.execute("ALTER TABLE audit_logs RENAME COLUMN result TO outcome")
    with pytest.raises(VerificationError, match=r"nothing is known about it: column entry\.result does not exist"):
        world.verify(HOT)


def test_values_that_nothing_can_read_are_an_error(world: World) -> None:
    world.execute("UPDATE ledger_checkpoints SET signed_at = 'infinity' WHERE size = 4")
    with pytest.raises(VerificationError, match="the database cannot be read, so that nothing is known about it"):
        world.verify()


def test_a_manifest_larger_than_any_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_MOST_MANIFEST_BYTES", 100)
    report = verify_copy(world.cold, KEY.verifier_key())
    assert kinds(report) == ["manifest_altered"] * 4
    assert "and no manifest has more than 100" in report.findings[0].message
    assert report.checked.archived_entries == 50
