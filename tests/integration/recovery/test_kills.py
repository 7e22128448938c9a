"""A recovery that is killed anywhere is finished by the next one, or by sealing, and nothing is doubled."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.returning import ReturningParts
from compliance_pipelines.ledger.errors import LedgerForkError
from compliance_pipelines.ledger.recovery import ACTION, recover
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.postgres.locks import SEALING_LOCK, process_lock
from compliance_pipelines.services import open_services
from tests.integration.archive.faulty_store import Fault, FaultyStore
from tests.integration.recovery.restoring import (
    AUTHOR,
    REASON,
    assert_sound,
    opened_at,
    recovered,
    rehearsed,
    remembered,
)
from tests.integration.verification.world import TODAY
from tests.support.killed import dying_at, is_killed
from tests.support.logins import url_of
from tests.support.sealing import seal_all, settle

if TYPE_CHECKING:
    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

DAY: Final = TODAY - timedelta(days=100)
ARCHIVED: Final = TODAY - timedelta(days=110)

BEFORE_THE_COMMIT: Final = ("ids raised", "put back", "surveyed", "inserted")
AFTER_THE_COMMIT: Final = (
    "committed",
    "leftovers removed",
    "tiles put",
    "partial tiles removed",
    "checkpoint put",
    "published",
    "publication recorded",
)


def recover_and_be_killed(world: World, moment: str) -> None:
    """Recover in a process of its own that kills itself."""
    owner_url = url_of(world.days.superuser)

    def work() -> None:
        with open_services(world.services.settings) as services:
            owner = create_engine(owner_url, pool_size=2)
            recover(services, owner, ReturningParts(services), author=AUTHOR, reason=REASON, step=dying_at(moment))

    assert is_killed(work)


def lose_something_of_everything(world: World) -> None:
    """Seal what will be lost, archive some of it, and leave the tiles of a pass that came to no end."""
    world.days.append(ARCHIVED, 2)
    archive_day(world.services, ARCHIVED)
    world.days.append(DAY, 2)
    world.days.append(DAY, 3, sealed=False)
    settle(world.services)

    def step(done: str) -> None:
        if done == "tiles put":
            raise RuntimeError(done)

    with pytest.raises(RuntimeError):
        seal_all(world.services, step=step)


@pytest.mark.parametrize("moment", [*BEFORE_THE_COMMIT, *AFTER_THE_COMMIT])
def test_a_recovery_killed_at_any_step_is_finished_by_the_next_one(
    postgres_server: EmbeddedPostgres, world: World, moment: str
) -> None:
    world.days.append(DAY, 2)
    world.days.append(ARCHIVED, 1)
    with remembered(postgres_server, world) as database:
        lose_something_of_everything(world)
        with opened_at(postgres_server, database, world) as restored:
            expected = rehearsed(restored)
            assert (len(expected.survey.lost), len(expected.survey.archived)) == (2, 1)
            assert len(expected.leftovers) == 2

            recover_and_be_killed(restored, moment)
            if moment in AFTER_THE_COMMIT:
                assert recovered(restored).size is None
            else:
                assert recovered(restored).survey.lost == expected.survey.lost

            assert not recovered(restored).needed
            restored.days.append(DAY, 1)
            # What takes away objects in a second act says so, too.
            said = [(2 if moment == "committed" else 1,)]
            assert restored.execute("SELECT count(*) FROM audit_logs WHERE action = :action", action=ACTION) == said
            assert restored.execute("SELECT count(*) FROM ledger_statements WHERE get_byte(record, 0) = 3") == [(1,)]
            assert_sound(restored, losses=1)


@pytest.mark.parametrize("moment", ["leftovers removed", "tiles put", "partial tiles removed", "checkpoint put"])
def test_sealing_finishes_it_too(postgres_server: EmbeddedPostgres, world: World, moment: str) -> None:
    world.days.append(DAY, 2)
    world.days.append(ARCHIVED, 1)
    with remembered(postgres_server, world) as database:
        lose_something_of_everything(world)
        with opened_at(postgres_server, database, world) as restored:
            recover_and_be_killed(restored, moment)
            seal_all(restored.services)
            assert_sound(restored, losses=1)


def test_what_was_left_before_is_still_in_the_way_of_sealing(postgres_server: EmbeddedPostgres, world: World) -> None:
    """Only a recovery takes away objects that nobody knows."""
    world.days.append(DAY, 2)
    world.days.append(ARCHIVED, 1)
    with remembered(postgres_server, world) as database:
        lose_something_of_everything(world)
        with opened_at(postgres_server, database, world) as restored:
            recover_and_be_killed(restored, "committed")
            with pytest.raises(LedgerForkError):
                seal_all(restored.services)
            recovered(restored)
            seal_all(restored.services)
            assert_sound(restored, losses=1)


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done and not said"])
def test_a_store_that_fails_at_any_call_stops_it_and_the_next_one_finishes_it(
    postgres_server: EmbeddedPostgres, world: World, done: bool
) -> None:
    world.days.append(DAY, 2)
    world.days.append(ARCHIVED, 1)
    with remembered(postgres_server, world) as database:
        lose_something_of_everything(world)
        with opened_at(postgres_server, database, world) as restored:
            failures = 0
            for call in count(1):
                store = FaultyStore(restored.services.store, Fault(call=call, done=done))
                faulty = replace(restored, services=replace(restored.services, store=store))
                try:
                    recovered(faulty)
                except ObjectStoreError:
                    failures += 1
                else:
                    break
            assert failures > 15
            assert not recovered(restored).needed
            restored.days.append(DAY, 1)
            assert restored.execute("SELECT count(*) FROM ledger_statements WHERE get_byte(record, 0) = 3") == [(1,)]
            assert_sound(restored, losses=1)


def test_a_transaction_that_fails_changes_nothing(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as database:
        world.days.append(DAY, 1)
        with opened_at(postgres_server, database, world) as restored:

            def step(done: str) -> None:
                if done == "inserted":
                    raise RuntimeError(done)

            with pytest.raises(RuntimeError):
                recovered(restored, step=step)
            assert restored.execute("SELECT count(*) FROM ledger_statements") == [(0,)]
            assert rehearsed(restored).needed


@pytest.mark.usefixtures("impatient")
def test_two_recoveries_exclude_each_other_and_sealing(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as database:
        world.days.append(DAY, 1)
        with (
            opened_at(postgres_server, database, world) as restored,
            restored.days.superuser.connect() as other,
            process_lock(other, SEALING_LOCK, doing="another recovery"),
            pytest.raises(LockBusyError),
        ):
            recovered(restored)
