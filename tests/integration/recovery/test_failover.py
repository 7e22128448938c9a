"""A real replica is promoted before it has everything, and a real backup is restored to an earlier moment."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.returning import ReturningParts
from compliance_pipelines.ledger.errors import DatabaseRolledBackError
from compliance_pipelines.ledger.proofs import EntryNotFoundError, prove
from compliance_pipelines.ledger.recovery import recover
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.postgres.replica import ReadOnlyReplicaError
from tests.integration.recovery.restoring import (
    AUTHOR,
    REASON,
    assert_sound,
    losses_noted,
    opened_at,
    recovered,
    rehearsed,
)
from tests.integration.verification.conftest import opened_database
from tests.integration.verification.world import TODAY
from tests.support.logins import database_of, make_logins
from tests.support.replica import another_replica, restored_to
from tests.support.sealing import seal_all
from tests.support.servers import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.verification.world import World
    from tests.support.replica import Replica

DAY: Final = TODAY - timedelta(days=100)
OTHER_DAY: Final = DAY + timedelta(days=1)


@pytest.fixture
def primary(replica: Replica, tmp_path: Path) -> Iterator[World]:
    """An empty system on the primary."""
    server, database = replica.primary, f"test_{uuid.uuid4().hex}"
    server.create_database(database)
    url = server.url(database)
    migrate(url)
    make_logins(url)
    try:
        with contextmanager(opened_database)(url, tmp_path / "cold") as world:
            yield world
    finally:
        server.drop_database(database)


def go_on(world: World) -> None:
    """Seal, archive, purge and prove, as if nothing had happened."""
    proved = world.days.append(DAY, 2)[0]
    seal_all(world.services)
    assert_sound(world)
    later = replace(world.services, clock=lambda: datetime.now(UTC) + timedelta(days=8))
    for day in (DAY, OTHER_DAY):
        if world.days.hot_rows(day):
            archive_day(world.services, day)
            purge_day(later, day)
    seal_all(world.services)
    prove(world.services, proved.log_entry_id, finder=ArchiveEntryFinder(world.services))
    assert_sound(world)


def test_a_replica_that_was_promoted_too_early_goes_on(replica: Replica, primary: World, tmp_path: Path) -> None:
    primary.days.append(DAY, 3)
    with another_replica(replica.primary, tmp_path) as promoted:
        kept = primary.days.append(DAY, 2, sealed=False)
        promoted.catch_up()
        promoted.disconnect()
        gone = primary.days.append(DAY, 1, sealed=False)
        seal_all(primary.services)
        primary.days.append(OTHER_DAY, 4)
        with opened_at(promoted, database_of(primary.days.superuser), primary) as world:
            assert len(rehearsed(world).survey.lost) == 2
            with pytest.raises(ReadOnlyReplicaError):
                recovered(world)
            promoted.promote()
            # The application goes on at once, under transaction ids and ids that the former primary has given, too.
            written = world.days.append(DAY, 2, sealed=False)
            world.days.append(OTHER_DAY, 1, sealed=False)
            with pytest.raises(DatabaseRolledBackError):
                seal(world.services)

            done = recovered(world)

            assert done.tx_offset is not None
            assert [each.segment.entry_count for each in done.survey.lost] == [3, 4]
            assert f"by {AUTHOR}: {REASON}" in losses_noted(world, DAY)[0].message
            finder = ArchiveEntryFinder(world.services)
            seal_all(world.services)
            for entry in (*kept, *written):
                prove(world.services, entry.log_entry_id, finder=finder)
            with pytest.raises(EntryNotFoundError):
                prove(world.services, gone[0].log_entry_id, finder=finder)
            go_on(world)
            # Who was lost and comes back does not seal into the ledger any more.
            primary.days.append(DAY, 1, sealed=False)
            with pytest.raises(DatabaseRolledBackError):
                seal_all(primary.services)


def test_a_replica_that_has_everything_needs_no_recovery(replica: Replica, primary: World, tmp_path: Path) -> None:
    primary.days.append(DAY, 3)
    with another_replica(replica.primary, tmp_path) as promoted:
        promoted.catch_up()
        promoted.promote()
        with opened_at(promoted, database_of(primary.days.superuser), primary) as world:
            assert not recovered(world).needed
            world.days.append(DAY, 1)
            assert_sound(world, losses=0)


def test_a_backup_restored_to_a_point_in_time_goes_on(replica: Replica, primary: World, tmp_path: Path) -> None:
    primary.days.append(DAY, 3)

    def wanted() -> str:
        primary.days.append(DAY, 2)
        primary.days.append(OTHER_DAY, 2, sealed=False)
        name = f"before_{uuid.uuid4().hex}"
        primary.execute("SELECT pg_create_restore_point(:name)", name=name)
        seal_all(primary.services)
        later = replace(primary.services, clock=lambda: datetime.now(UTC) + timedelta(days=8))
        primary.days.append(OTHER_DAY, 3)
        archive_day(primary.services, OTHER_DAY)
        purge_day(later, OTHER_DAY)
        primary.days.append(DAY, 4)
        seal_all(primary.services)
        return name

    with (
        restored_to(replica.primary, tmp_path, wanted) as restored,
        opened_at(restored, database_of(primary.days.superuser), primary) as world,
    ):
        done = recovered(world)
        assert [each.entry_count for each in done.survey.intact] == [2]
        assert [each.entry_count for each in done.survey.archived] == [3]
        assert 4 in [each.segment.entry_count for each in done.survey.lost]
        assert len(world.days.hot_rows(OTHER_DAY)) == 5
        go_on(world)


@pytest.mark.parametrize("moment", ["ids raised", "inserted", "checkpoint put"])
def test_a_recovery_whose_server_crashes_is_finished_by_the_next_one(
    replica: Replica, primary: World, tmp_path: Path, moment: str
) -> None:
    primary.days.append(DAY, 3)
    with another_replica(replica.primary, tmp_path) as promoted:
        promoted.catch_up()
        promoted.disconnect()
        primary.days.append(DAY, 2)
        promoted.promote()
        with opened_at(promoted, database_of(primary.days.superuser), primary) as world:
            world.days.append(DAY, 1, sealed=False)

            def step(done: str) -> None:
                if done == moment:
                    promoted.crash()

            archives = ReturningParts(world.services)
            with pytest.raises(Exception, match=r"connection|lock"):
                recover(world.services, world.days.superuser, archives, author=AUTHOR, reason=REASON, step=step)
            recovered(world)
            assert not recovered(world).needed
            go_on(world)
            assert_sound(world, losses=1)
