"""A database restored to an earlier moment goes on in the ledger, and nothing that was lost is hidden."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.errors import ColdStoreRolledBackError, DatabaseRolledBackError, LedgerForkError
from compliance_pipelines.ledger.log_reading import COSIGNED_KEY
from compliance_pipelines.ledger.losses import InvalidLossError
from compliance_pipelines.ledger.proofs import EntryNotFoundError, prove
from compliance_pipelines.ledger.recovery import ACTION, RecoveryRefusedError
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.verification.findings import Kind, NoteKind
from tests.integration.archive.days import entry
from tests.integration.ledger.moves import (
    FAR_AHEAD,
    move_to_another_cluster,
    seal_without_publishing,
    set_transaction_ids,
)
from tests.integration.recovery.restoring import (
    AUTHOR,
    REASON,
    assert_sound,
    losses_noted,
    opened_at,
    recover_as,
    recovered,
    rehearsed,
    remembered,
)
from tests.integration.verification.world import TODAY
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

DAY = TODAY - timedelta(days=100)
COMING = TODAY + timedelta(days=9)
OTHER_DAY = DAY + timedelta(days=1)


@contextmanager
def set_back(server: EmbeddedPostgres, world: World, *later: tuple[int, int], ahead: int = 0) -> Iterator[World]:
    """Restored to before some passes, each of which sealed entries of DAY and OTHER_DAY.

    `ahead` is how far the transaction ids of the passes lay above those that come after the restoration.
    """
    with remembered(server, world) as moment:
        if ahead:
            set_transaction_ids(world.days, ahead)
        for count, other in later:
            world.days.append(DAY, count, sealed=False)
            world.days.append(OTHER_DAY, other, sealed=False)
            seal_all(world.services)
        with opened_at(server, moment, world) as restored:
            yield restored


def assert_told_as_signed(world: World, lost: int) -> None:
    """Of a coming day the newest records are enough, and yet a note on a loss among them tells what was signed."""
    assert len({note.message for note in losses_noted(world, COMING)}) == 1
    change_last_id = (
        "UPDATE ledger_statements SET record = set_byte(record, 44, get_byte(record, 44) {} 1) WHERE seq = :seq"
    )
    world.execute(change_last_id.format("+"), seq=lost)
    assert lost in {finding.segment for finding in world.verify(COMING).findings}
    world.execute(change_last_id.format("-"), seq=lost)


def recovery_entries(world: World) -> list[dict[str, object]]:
    """What the audit log says about recoveries."""
    found = world.execute("SELECT metadata FROM audit_logs WHERE action = :action ORDER BY id", action=ACTION)
    return [metadata for (metadata,) in found if isinstance(metadata, dict)]


def test_segments_whose_entries_are_gone_are_lost_on_record(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 3)
    with set_back(postgres_server, world, (2, 4)) as restored:
        assert Kind.DATABASE_ROLLED_BACK in {each.kind for each in restored.verify().findings}
        with pytest.raises(DatabaseRolledBackError, match="compliance ledger recover"):
            seal(restored.services)

        planned, done = rehearsed(restored), recovered(restored)

        assert [each.segment.entry_count for each in done.survey.lost] == [2, 4]
        assert planned.survey == done.survey
        assert (done.known, done.published, done.size, done.finished) == (1, 3, 4, (4,))
        restored.days.append(DAY, 1)
        for note in losses_noted(restored, DAY):
            assert f"by {AUTHOR}: {REASON}" in note.message
            assert f"2 segments of {DAY} to {OTHER_DAY} lost (from segment 1 on, 6 entries" in note.message
            assert "of whose entries 0 stood in their place" in note.message
        assert_sound(restored)
        (said,) = recovery_entries(restored)
        assert (said["author"], said["reason"]) == (AUTHOR, REASON)
        assert said["lost_ranges"] == [[1, 3]]
        assert said["lost_days"] == [str(DAY), str(OTHER_DAY)]
        assert (said["segments_lost"], said["entries_sealed_in_lost"]) == (2, 6)


def test_nothing_is_lost_where_the_ledger_alone_is_behind(postgres_server: EmbeddedPostgres, world: World) -> None:
    entries = world.days.append(DAY, 3, sealed=False)
    with remembered(postgres_server, world) as moment:
        seal_all(world.services)
        with opened_at(postgres_server, moment, world) as restored:
            done = recovered(restored)

            assert (len(done.survey.intact), done.survey.lost, done.segments) == (1, (), ())
            (note,) = losses_noted(restored, DAY)[:1]
            assert "recovered without a loss" in note.message
            prove(restored.services, entries[0].log_entry_id, finder=ArchiveEntryFinder(restored.services))
            seal_all(restored.services)
            assert_sound(restored)


def test_what_is_left_of_a_lost_segment_is_sealed_anew(postgres_server: EmbeddedPostgres, world: World) -> None:
    kept = world.days.append(DAY, 2, sealed=False)
    with remembered(postgres_server, world) as moment:
        gone = world.days.append(DAY, 1, sealed=False)
        seal_all(world.services)
        with opened_at(postgres_server, moment, world) as restored:
            done = recovered(restored)

            ((lost,), (made,)) = (done.survey.lost, done.segments)
            assert (lost.segment.entry_count, lost.found, made.entry_count) == (3, 2, 2)
            assert (made.tx_from, made.tx_to, made.day) == (lost.segment.tx_from, lost.segment.tx_to, DAY)
            finder = ArchiveEntryFinder(restored.services)
            assert prove(restored.services, kept[0].log_entry_id, finder=finder)["segment"]["seq"] == made.seq
            with pytest.raises(EntryNotFoundError):
                prove(restored.services, gone[0].log_entry_id, finder=finder)
            assert "of whose entries 2 stood in their place" in losses_noted(restored, DAY)[0].message
            assert_told_as_signed(restored, lost.segment.seq)
            seal_all(restored.services)
            assert_sound(restored)


def test_entries_appended_again_are_new_ones(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    again = [entry(DAY, number) for number in range(3)]
    with remembered(postgres_server, world) as moment:
        world.days.append_entries(DAY, again)
        with opened_at(postgres_server, moment, world) as restored:
            # One before the recovery, the others after it.
            restored.days.append_entries(DAY, again[:1], sealed=False)
            recovered(restored)
            assert AuditLog(restored.services.engine).append_many(again).new == 2
            seal_all(restored.services)
            assert len(restored.days.hot_rows(DAY)) == 4
            assert_sound(restored)


def test_entries_under_transaction_ids_that_were_used_are_sealed_and_later_ones_lie_above(
    postgres_server: EmbeddedPostgres, world: World
) -> None:
    world.days.append(DAY, 2)
    with set_back(postgres_server, world, (2, 1), (3, 2), ahead=FAR_AHEAD) as restored:
        restored.days.append(DAY, 2, sealed=False)
        restored.days.append(DAY + timedelta(days=7), 1, sealed=False)

        done = recovered(restored)

        assert done.tx_offset is not None
        restored.days.append(DAY, 1)
        ((above,),) = restored.execute(
            "SELECT min(tx_id) > :offset FROM audit_logs WHERE id > :last",
            offset=done.tx_offset - 1,
            last=max(each.segment.last_id for each in done.survey.lost),
        )
        assert above
        assert_sound(restored)


def test_a_database_from_before_the_first_segment_is_recovered(postgres_server: EmbeddedPostgres, world: World) -> None:
    with set_back(postgres_server, world, (2, 1)) as restored:
        done = recovered(restored)
        assert (done.known, done.published, len(done.survey.lost)) == (0, 2, 2)
        restored.days.append(DAY, 1)
        assert_sound(restored)


def test_another_cluster_is_adopted_by_the_recovery(postgres_server: EmbeddedPostgres, world: World) -> None:
    """A dump of an earlier moment: what was written there before it is named where no segment can hold it."""
    world.days.append(DAY, 2)
    with set_back(postgres_server, world, (2, 1)) as restored:
        move_to_another_cluster(restored.days)
        (sealed, unreachable) = restored.days.append(DAY, 2, sealed=False)
        restored.execute("UPDATE audit_logs SET tx_id = 1 WHERE log_entry_id = :id", id=unreachable.log_entry_id)
        ((first,),) = restored.execute("SELECT tx_horizon FROM ledger_checkpoints")
        restored.execute("UPDATE audit_logs SET tx_id = :tx WHERE log_entry_id = :id", id=sealed.log_entry_id, tx=first)

        done = recovered(restored)

        assert done.tx_offset is not None
        assert done.entries_in_no_segment == (unreachable.log_entry_id,)
        restored.execute("DELETE FROM audit_logs WHERE log_entry_id = :id", id=unreachable.log_entry_id)
        prove(restored.services, sealed.log_entry_id, finder=ArchiveEntryFinder(restored.services))
        restored.days.append(DAY, 1)
        assert_sound(restored)


def test_ids_are_not_given_twice(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with set_back(postgres_server, world, (5, 5)) as restored:
        ids = max(segment.last_id for segment in [each.segment for each in rehearsed(restored).survey.lost])
        recovered(restored)
        restored.days.append(DAY, 1)
        assert restored.days.hot_rows(DAY)[-1][0] > ids


def test_where_nothing_is_lacking_nothing_is_done(world: World) -> None:
    world.days.append(DAY, 1)
    before = world.execute("SELECT count(*) FROM audit_logs")
    assert not rehearsed(world).needed
    assert not recovered(world).needed
    assert world.execute("SELECT count(*) FROM audit_logs") == before
    assert world.execute("SELECT count(*) FROM ledger_statements") == [(0,)]


def test_a_rehearsal_changes_nothing(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with set_back(postgres_server, world, (2, 2), ahead=FAR_AHEAD) as restored:
        before = [restored.execute(f"SELECT count(*) FROM {table}") for table in ("audit_logs", "ledger_clusters")]
        assert rehearsed(restored).needed
        assert before == [
            restored.execute(f"SELECT count(*) FROM {table}") for table in ("audit_logs", "ledger_clusters")
        ]
        with pytest.raises(DatabaseRolledBackError):
            seal(restored.services)


@pytest.mark.parametrize(("author", "reason"), [("", "why"), ("who", " "), ("who", "two\nlines"), ("w" * 1001, "why")])
def test_who_and_why_must_be_given(world: World, author: str, reason: str) -> None:
    with pytest.raises(InvalidLossError):
        recovered(world, author=author, reason=reason)


def test_a_database_that_sealed_another_ledger_is_refused(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 2)
    with set_back(postgres_server, world, (2, 2)) as restored:
        restored.execute("UPDATE ledger_segments SET entry_count = entry_count + 1")
        with pytest.raises(LedgerForkError, match="verify --all"):
            recovered(restored)
        assert recovery_entries(restored) == []


def test_a_cold_store_that_was_set_back_itself_is_refused(world: World) -> None:
    world.days.append(DAY, 1)
    before = world.checkpoint_path.read_bytes()
    world.days.append(DAY, 1)
    world.write_note(before.decode())
    with pytest.raises(ColdStoreRolledBackError):
        recovered(world)


def test_a_cold_store_and_a_database_that_were_set_back_together_are_told_by_what_witnesses_cosigned(
    postgres_server: EmbeddedPostgres, world: World
) -> None:
    world.days.append(DAY, 1)
    before = world.checkpoint_path.read_bytes()
    with set_back(postgres_server, world, (1, 1)) as restored:
        (world.cold / COSIGNED_KEY).write_bytes(world.checkpoint_path.read_bytes())
        world.write_note(before.decode())
        with pytest.raises(ColdStoreRolledBackError, match="cosigned is the checkpoint of 3 records"):
            recovered(restored)
        assert recovery_entries(restored) == []


def test_the_two_logins_must_lead_to_one_database(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with set_back(postgres_server, world, (1, 1)) as restored, pytest.raises(RecoveryRefusedError, match="two dat"):
        recover_as(restored, world.days.superuser)


def test_the_second_login_must_be_the_owners(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with (
        set_back(postgres_server, world, (1, 1)) as restored,
        pytest.raises(RecoveryRefusedError, match="cannot become audit_owner"),
    ):
        recover_as(restored, restored.services.engine)


def test_a_second_recovery_goes_on_from_the_first(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with set_back(postgres_server, world, (2, 1)) as restored:
        recovered(restored)
        restored.days.append(DAY, 2)
        with set_back(postgres_server, restored, (3, 1)) as again:
            recovered(again, reason="the second time")
            again.days.append(DAY, 1)
            notes = [note for note in again.verify().notes if note.kind is NoteKind.LOSS_ACCEPTED]
            assert [note.message.endswith("the second time") for note in notes] == [False, True]
            assert_sound(again)


def test_a_database_with_what_was_accepted_as_lost_is_recovered_too(
    postgres_server: EmbeddedPostgres, world: World
) -> None:
    """The one that was lost comes back, and knows nothing of the loss."""
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as early:
        world.days.append(DAY, 2)
        with remembered(postgres_server, world) as late, opened_at(postgres_server, early, world) as first:
            recovered(first)
            first.days.append(DAY, 3)
            with opened_at(postgres_server, late, first) as second:
                done = recovered(second, reason="back to the old disk")
                assert [segment.seq for segment in done.survey.withdrawn] == [1]
                # What only the recovered database had is lost now, and what had been lost is there and sealed again.
                assert sorted(each.segment.entry_count for each in done.survey.lost) == [1, 3]
                assert sum(segment.entry_count for segment in done.segments) == 2
                assert len(second.days.hot_rows(DAY)) == 3
                seal_all(second.services)
                assert_sound(second)


def test_checkpoints_of_days_are_taken_over(
    postgres_server: EmbeddedPostgres, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def days_ago(days: int) -> None:
        statement = f"SELECT audit_tx_horizon() AS horizon, clock_timestamp() - interval '{days} days' AS now"
        monkeypatch.setattr(sql, "HORIZON", text(statement))

    days_ago(5)
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as moment:
        for days in (4, 4, 3, 2, 2):
            days_ago(days)
            world.days.append(DAY, 1)
        with opened_at(postgres_server, moment, world) as restored:
            days_ago(1)
            recovered(restored)
            days_ago(0)
            restored.days.append(DAY, 1)
            with restored.services.engine.connect() as connection:
                sizes = [each.size for each in store.checkpoints(connection)]
            assert sizes == [1, 3, 4, 6, 7, 9]
            assert_sound(restored)


def test_what_a_pass_left_that_nobody_knows_is_taken_away(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as moment:
        world.days.append(DAY, 2, sealed=False)
        with pytest.raises(RuntimeError):
            seal_all(world.services, step=stop_at("tiles put"))
        with opened_at(postgres_server, moment, world) as restored:
            restored.days.append(DAY, 3, sealed=False)
            with pytest.raises(LedgerForkError):
                seal_all(restored.services)

            planned, done = rehearsed(restored), recovered(restored)

            assert planned.leftovers == done.leftovers
            assert len(done.leftovers) == 2
            assert done.finished == (2,)
            (said,) = recovery_entries(restored)
            assert said["leftovers"] == list(done.leftovers)
            seal_all(restored.services)
            assert_sound(restored, losses=0)


def test_what_an_interrupted_pass_of_this_database_left_is_no_leftover(world: World) -> None:
    world.days.append(DAY, 1)
    world.days.append(DAY, 2, sealed=False)
    with pytest.raises(RuntimeError):
        seal_all(world.services, step=stop_at("tiles put"))
    assert rehearsed(world).leftovers == ()
    done = recovered(world)
    assert (done.needed, done.finished) == (False, (2,))
    assert recovery_entries(world) == []


def test_a_pass_that_was_never_published_is_lost_with_its_database_and_no_more(
    postgres_server: EmbeddedPostgres, world: World
) -> None:
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as moment:
        world.days.append(DAY, 2, sealed=False)
        seal_without_publishing(world.services)
        with opened_at(postgres_server, moment, world) as restored:
            assert not recovered(restored).needed
            restored.days.append(DAY, 1)
            assert_sound(restored, losses=0)


def stop_at(name: str) -> Callable[[str], None]:
    """A hook that stops the work when this step is done."""

    def step(done: str) -> None:
        if done == name:
            raise RuntimeError(name)

    return step
