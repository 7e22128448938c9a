"""After a recovery the cold store's parts and the catalogue come together again: archived, purged, put back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchivedIds, ArchiveEntryFinder
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.archive.returning import EntriesInTheWayError
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.ledger import recovery, store
from compliance_pipelines.ledger.proofs import prove
from compliance_pipelines.ledger.recovery import RecoveryRefusedError
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.archive.days import entry
from tests.integration.ledger.moves import FAR_AHEAD, set_transaction_ids
from tests.integration.recovery.restoring import (
    assert_sound,
    opened_at,
    recover_as,
    recovered,
    rehearsed,
    remembered,
)
from tests.integration.verification.world import TODAY
from tests.support.logins import login_url, url_of
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

DAY = TODAY - timedelta(days=100)
PURGED = TODAY - timedelta(days=110)


def later(world: World) -> World:
    """The same when what was verified now may be purged."""
    clock = lambda: datetime.now(UTC) + timedelta(days=8)  # noqa: E731
    return replace(world, services=replace(world.services, clock=clock))


def archived_and_purged(world: World) -> None:
    """Archive and purge both days once more, and restore one, as after a recovery that left nothing out."""
    for day in (DAY, PURGED):
        archive_day(world.services, day)
        purge_day(later(world).services, day)
        assert world.days.hot_rows(day) == []
    restored = restore_day(world.services, DAY)
    assert restored.entry_count == len(world.days.cold_rows(DAY))


def test_an_archive_that_the_catalogue_forgot_is_adopted(postgres_server: EmbeddedPostgres, world: World) -> None:
    """Restored to before the archive: the rows are there, and so is the part."""
    world.days.append(DAY, 3)
    world.days.append(PURGED, 2)
    with remembered(postgres_server, world) as moment:
        archive_day(world.services, DAY)
        seal_all(world.services)
        with opened_at(postgres_server, moment, world) as restored:
            recovered(restored)
            seal_all(restored.services)
            assert_sound(restored)
            assert archive_day(restored.services, DAY).adopted
            archived_and_purged(restored)
            seal_all(restored.services)
            assert_sound(restored)


def test_a_purge_that_was_undone_is_done_again(postgres_server: EmbeddedPostgres, world: World) -> None:
    """Restored to before archive and purge: the rows are back."""
    proved = world.days.append(PURGED, 3)[0]
    world.days.append(DAY, 2)
    with remembered(postgres_server, world) as moment:
        archive_day(world.services, PURGED)
        purge_day(later(world).services, PURGED)
        seal_all(world.services)
        with opened_at(postgres_server, moment, world) as restored:
            recovered(restored)
            seal_all(restored.services)
            assert_sound(restored)
            archived_and_purged(restored)
            seal_all(restored.services)
            prove(restored.services, proved.log_entry_id, finder=ArchiveEntryFinder(restored.services))
            assert_sound(restored)


@pytest.mark.parametrize("purged", [True, False])
def test_entries_that_an_archive_alone_holds_are_put_back(
    postgres_server: EmbeddedPostgres, world: World, purged: bool
) -> None:
    """Restored to before some entries were written at all, and they were archived since."""
    world.days.append(PURGED, 3)
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as moment:
        later_entries = world.days.append(PURGED, 4)
        world.days.append(DAY, 2)
        archive_day(world.services, PURGED)
        if purged:
            purge_day(later(world).services, PURGED)
        seal_all(world.services)
        rows = sorted(world.days.cold_rows(PURGED))
        with opened_at(postgres_server, moment, world) as restored:
            planned, done = rehearsed(restored), recovered(restored)

            assert [each.entry_count for each in done.survey.archived] == [4]
            assert planned.survey.archived == done.survey.archived
            assert [each.segment.day for each in done.survey.lost if each.segment.day == PURGED] == []
            assert sorted(restored.days.hot_rows(PURGED)) == rows
            seal_all(restored.services)
            assert_sound(restored)
            archived_and_purged(restored)
            seal_all(restored.services)
            finder = ArchiveEntryFinder(restored.services)
            prove(restored.services, later_entries[0].log_entry_id, finder=finder)
            assert_sound(restored)


@pytest.mark.parametrize("ranges_of_a_record", [1, 3_000])
def test_losses_around_what_an_archive_holds_are_ranges(
    postgres_server: EmbeddedPostgres, world: World, monkeypatch: pytest.MonkeyPatch, ranges_of_a_record: int
) -> None:
    """More ranges than a record can hold are said by several records."""
    monkeypatch.setattr(recovery, "MOST_RANGES", ranges_of_a_record)
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as moment:
        world.days.append(DAY, 2)
        world.days.append(PURGED, 3)
        world.days.append(DAY, 4)
        archive_day(world.services, PURGED)
        with opened_at(postgres_server, moment, world) as restored:
            done = recovered(restored)
            with restored.services.engine.connect() as connection:
                stated = [(loss.ranges, loss.entries) for _, loss in store.losses(connection)]
            expected = [(((1, 2),), 2), (((3, 4),), 4)] if ranges_of_a_record == 1 else [(((1, 2), (3, 4)), 6)]
            assert stated == expected
            assert done.size == 4 + len(expected)
            seal_all(restored.services)
            assert_sound(restored, losses=len(expected))
            archived_and_purged(restored)


def test_a_day_that_was_purged_before_the_moment_stays_purged(postgres_server: EmbeddedPostgres, world: World) -> None:
    """A late part came after the moment; its entries are put back, those of the part before are not."""
    world.days.append(DAY, 1)
    world.days.append(PURGED, 3)
    archive_day(world.services, PURGED)
    purge_day(later(world).services, PURGED)
    with remembered(postgres_server, world) as moment:
        world.days.append(PURGED, 2)
        archive_day(world.services, PURGED)
        purge_day(later(world).services, PURGED)
        seal_all(world.services)
        with opened_at(postgres_server, moment, world) as restored:
            recovered(restored)
            assert len(restored.days.hot_rows(PURGED)) == 2
            seal_all(restored.services)
            assert_sound(restored)
            archived_and_purged(restored)
            seal_all(restored.services)
            assert_sound(restored)


def test_archived_entries_that_were_appended_again_are_named(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(PURGED, 1)
    repeated = [entry(PURGED, number) for number in range(2)]
    with remembered(postgres_server, world) as moment:
        world.days.append_entries(PURGED, repeated)
        archive_day(world.services, PURGED)
        seal_all(world.services)
        with opened_at(postgres_server, moment, world) as restored:
            log = AuditLog(restored.services.engine, archived_ids=ArchivedIds(restored.services))
            log.append_many(repeated[:1])
            with pytest.raises(EntriesInTheWayError, match=repeated[0].log_entry_id):
                recovered(restored)
            restored.execute("DELETE FROM audit_logs WHERE log_entry_id = :id", id=repeated[0].log_entry_id)
            recovered(restored)
            seal_all(restored.services)
            assert_sound(restored)


def test_strangers_in_the_range_of_an_archived_segment_are_named(
    postgres_server: EmbeddedPostgres, world: World
) -> None:
    world.days.append(PURGED, 1)
    with remembered(postgres_server, world) as moment:
        world.days.append(PURGED, 2)
        archive_day(world.services, PURGED)
        seal_all(world.services)
        with opened_at(postgres_server, moment, world) as restored:
            stranger = entry(PURGED, 9)
            AuditLog(restored.services.engine).append(stranger)
            (segment,) = rehearsed(restored).survey.archived
            restored.execute(
                "UPDATE audit_logs SET tx_id = :tx WHERE log_entry_id = :id",
                tx=segment.tx_from,
                id=stranger.log_entry_id,
            )
            with pytest.raises(RecoveryRefusedError, match=f"segment {segment.seq} of {PURGED}"):
                recovered(restored)
            restored.execute("DELETE FROM audit_logs WHERE log_entry_id = :id", id=stranger.log_entry_id)
            recovered(restored)
            seal_all(restored.services)
            assert_sound(restored)


def test_the_owner_needs_to_be_no_superuser(postgres_server: EmbeddedPostgres, world: World) -> None:
    """A loss, an archived segment, transaction ids that went back, and a loss of before that has to be taken over."""
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as early:
        world.days.append(DAY, 2)
        with remembered(postgres_server, world) as late, opened_at(postgres_server, early, world) as first:
            recovered(first)
            set_transaction_ids(first.days, FAR_AHEAD)
            first.days.append(PURGED, 3)
            archive_day(first.services, PURGED)
            seal_all(first.services)
            with opened_at(postgres_server, late, first) as second:
                owner = create_engine(login_url(url_of(second.days.superuser), "test_owner"), pool_size=1)
                done = recover_as(second, owner)
                owner.dispose()
                assert (done.tx_offset, done.survey.withdrawn, done.survey.archived) != (None, (), ())
                assert len(second.days.hot_rows(PURGED)) == 3
                seal_all(second.services)
                assert_sound(second)
