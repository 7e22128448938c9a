"""Verification on a streaming replica: what it lacks is said and is no finding, what contradicts the ledger is one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.reading import ReadingError, open_snapshot
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint
from compliance_pipelines.postgres.engine import conninfo_of, create_engine
from compliance_pipelines.postgres.errors import is_recovery_conflict
from compliance_pipelines.postgres.replica import replica_state
from compliance_pipelines.verification.findings import NoteKind
from compliance_pipelines.verification.online import verify
from compliance_pipelines.verification.progress import Stage
from tests.integration.verification.replicated import filled, pair, pair_of, seen_on
from tests.integration.verification.world import ARCHIVED, HOT, KEY, OTHER_ARCHIVED, PURGED, forked, kinds
from tests.support.replica import Replica
from tests.support.sealing import seal_all
from tests.support.servers import in_use

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.postgres.replica import ReplicaState
    from compliance_pipelines.verification.findings import Report
    from tests.integration.verification.replicated import Filled, Pair

__all__ = ["filled", "pair"]  # fixtures


def _notes(report: Report, kind: NoteKind) -> list[str]:
    return [note.message for note in report.notes if note.kind is kind]


def _state(replica: Replica) -> ReplicaState:
    engine = create_engine(replica.url("postgres"), pool_size=1)
    with engine.connect() as connection:
        state = replica_state(connection)
    engine.dispose()
    assert state is not None
    return state


def _is_behind(report: Report, segments: int, entries: int) -> None:
    """No finding; but not everything was looked at, and how much was not is said."""
    assert kinds(report) == []
    assert not report.ok
    (undecided,) = report.undecided
    counted = "1 record" if segments == 1 else f"{segments} records"
    assert f"the replica is {counted} behind the newest checkpoint of the cold store" in undecided.message
    assert report.replica is not None
    assert (report.replica.segments_behind, report.replica.entries_behind) == (segments, entries)


def test_a_replica_that_has_everything_is_verified_as_its_primary_is(pair: Pair) -> None:
    report, of_primary = pair.seen.verify(), pair.primary.verify()
    assert report.ok
    assert of_primary.replica is None
    assert report.checked == of_primary.checked
    assert [note.kind for note in report.notes] == [NoteKind.REPLICA, *(note.kind for note in of_primary.notes)]
    assert report.replica is not None
    assert report.replica.state.unreplayed_bytes == 0
    assert report.replica.state.connected
    assert report.replica.state.last_heard is None  # an auditor may not know
    assert _state(pair.replica).last_heard is not None
    assert report.replica.segments_behind == 0


@pytest.mark.parametrize("day", [PURGED, ARCHIVED, OTHER_ARCHIVED, HOT])
def test_single_days_are_verified_on_a_replica(pair: Pair, day: date) -> None:
    assert pair.seen.verify(day).ok


def test_what_was_sealed_since_is_a_lag_and_no_rollback(pair: Pair) -> None:
    pair.replica.pause()
    pair.primary.days.append(HOT, 3)
    pair.primary.days.append(ARCHIVED - timedelta(days=1), 2)
    pair.replica.receive_all()
    report = pair.seen.verify()
    _is_behind(report, segments=2, entries=5)
    (note,) = _notes(report, NoteKind.REPLICA)
    assert "bytes are received and not replayed" in note
    assert "replay is paused" in note
    for day in (HOT, ARCHIVED, PURGED, ARCHIVED - timedelta(days=1)):
        _is_behind(pair.seen.verify(day), segments=2, entries=5)
    pair.replica.resume()
    pair.replica.catch_up()
    assert pair.seen.verify().ok


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("DELETE FROM audit_logs WHERE id = (SELECT min(id) FROM audit_logs)", "entry_deleted"),
        ("UPDATE audit_logs SET result = 'x' WHERE id = (SELECT min(id) FROM audit_logs)", "entry_altered"),
        ("UPDATE ledger_segments SET entry_count = entry_count + 1 WHERE seq = 3", "segment_altered"),
        ("DELETE FROM ledger_segments WHERE seq = 9", "segment_missing"),
        ("DELETE FROM archived_audit_logs WHERE purged_at IS NOT NULL", "catalogue_altered"),
    ],
)
def test_what_the_replica_has_is_still_compared(pair: Pair, damage: str, finding: str) -> None:
    pair.primary.execute(damage)
    pair.replica.catch_up()
    pair.replica.pause()
    pair.primary.days.append(HOT, 3, sealed=False)
    seal_all(pair.primary.services)
    report = pair.seen.verify()
    assert finding in kinds(report)
    assert "database_rolled_back" not in kinds(report)


def test_a_transaction_that_never_was_is_found_on_a_replica(pair: Pair) -> None:
    pair.primary.execute("UPDATE audit_logs SET tx_id = 900000000 WHERE id = (SELECT min(id) FROM audit_logs)")
    pair.replica.catch_up()
    assert kinds(pair.seen.verify()) == ["entry_deleted", "entry_inserted"]


def test_archives_and_purges_that_the_replica_does_not_know_are_no_findings(pair: Pair) -> None:
    pair.replica.pause()
    days = pair.primary.days
    archive_day(pair.primary.services, HOT)
    later = replace(pair.primary.services, clock=lambda: datetime.now(UTC) + timedelta(days=8))
    purge_day(later, ARCHIVED)
    report = pair.seen.verify()
    # The archive's own entries are not sealed yet: the ledger is the same, and so all of it could be compared.
    assert kinds(report) == []
    assert report.ok
    (unrecorded,) = _notes(report, NoteKind.PART_UNRECORDED)
    assert "the replica alone does not know of it yet" in unrecorded
    # A whole day that was appended, archived and purged meanwhile.
    new = HOT - timedelta(days=50)
    days.append(new, 6)
    archive_day(pair.primary.services, new)
    purge_day(later, new)
    report = pair.seen.verify()
    assert kinds(report) == []
    assert not report.ok
    assert kinds(pair.seen.verify(new)) == []
    assert pair.primary.verify().ok


def test_a_late_part_of_a_day_that_the_replica_has_in_part(pair: Pair) -> None:
    pair.replica.pause()
    pair.primary.days.append(ARCHIVED, 4)
    archive_day(pair.primary.services, ARCHIVED)
    later = replace(pair.primary.services, clock=lambda: datetime.now(UTC) + timedelta(days=8))
    purge_day(later, ARCHIVED)
    assert kinds(pair.seen.verify()) == []
    _is_behind(pair.seen.verify(ARCHIVED), segments=1, entries=4)


def test_the_same_state_on_a_primary_is_the_finding(pair: Pair, tmp_path: Path) -> None:
    """A replica of its own, which is promoted with what it had."""
    other = Replica(pair.replica.primary, tmp_path / "other")
    with in_use(other, "postgres", tmp_path / "other.users"):
        other.disconnect()
        pair.primary.days.append(HOT, 3)
        with seen_on(other, pair.database, pair.primary.cold) as seen:
            behind = seen.verify()
            _is_behind(behind, segments=1, entries=3)
            (note,) = _notes(behind, NoteKind.REPLICA)
            assert "it is not connected to its primary" in note
            other.promote()
            report = seen.verify()
        assert "database_rolled_back" in kinds(report)
        assert report.replica is None


def test_a_signature_over_another_root_is_a_fork_on_a_replica_too(pair: Pair) -> None:
    pair.replica.pause()
    pair.primary.days.append(HOT, 3)
    pair.primary.write_note(forked(pair.primary.records(), KEY))
    assert "checkpoint_forked" in kinds(pair.seen.verify())


def test_how_far_behind_it_is_is_told_by_signed_checkpoints_alone(pair: Pair) -> None:
    stranger = SigningKey.generate(KEY.name)
    pair.primary.write_note(sign_checkpoint(Checkpoint(origin=KEY.name, size=11, root=bytes(32)), stranger))
    report = pair.seen.verify()
    assert kinds(report) == ["checkpoint_of_another_key"]
    assert report.undecided == ()
    assert report.replica is not None
    assert report.replica.segments_behind == 0


def test_two_ledgers_that_grew_apart_are_a_fork_however_far_the_replica_is(
    pair: Pair, filled: Filled, tmp_path: Path
) -> None:
    with pair_of(pair.replica, filled, tmp_path / "other") as other:
        pair.primary.days.append(HOT, 3)
        pair.replica.catch_up()
        for count in (2, 1):
            other.primary.days.append(HOT, count)
        with seen_on(pair.replica, pair.database, other.primary.cold) as seen:
            report = seen.verify()
        assert "checkpoint_forked" in kinds(report)


def test_what_is_replayed_while_it_is_verified_is_left_for_the_next_time(pair: Pair) -> None:
    pair.replica.pause()
    pair.primary.days.append(HOT, 3)
    resumed: list[int] = []

    def resume(stage: Stage, done: int, total: int | None) -> None:
        if stage is Stage.CHECKPOINTS and not resumed:
            resumed.append(done)
            pair.replica.resume()
            pair.replica.catch_up()

    report = verify(pair.seen.services, progress=resume)
    assert resumed
    assert report.ok
    assert report.replica is not None
    assert report.replica.segments_behind == 0


def test_a_reading_that_the_replay_ended_says_what_to_do(pair: Pair) -> None:
    pair.replica.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    pair.replica.execute("SELECT pg_reload_conf()")

    def lock(stage: Stage, done: int, total: int | None) -> None:
        del stage, done, total
        pair.primary.execute("LOCK TABLE ledger_checkpoints, ledger_publications IN ACCESS EXCLUSIVE MODE")
        pair.replica.catch_up()

    try:
        with pytest.raises(TransientError, match=r"conflict with recovery.*max_standby_streaming_delay"):
            verify(pair.seen.services, progress=lock)
    finally:
        pair.replica.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        pair.replica.execute("SELECT pg_reload_conf()")
    assert pair.seen.verify().ok


def test_nothing_is_known_about_a_replica_that_says_nothing(pair: Pair) -> None:
    pair.replica.disconnect()
    pair.replica.stop()
    pair.replica.start()
    report = pair.seen.verify()
    assert report.replica is not None
    state = report.replica.state
    assert (state.unreplayed_bytes, state.connected) == (None, False)
    (note,) = _notes(report, NoteKind.REPLICA)
    assert "how much was received and not replayed is unknown" in note
    assert "not connected to its primary, so that what happened there since is unknown" in note


def test_a_reading_of_rows_that_the_replay_ended_is_known_as_such(pair: Pair) -> None:
    pair.replica.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    pair.replica.execute("SELECT pg_reload_conf()")
    engine = pair.seen.services.engine
    try:
        with open_snapshot(engine) as snapshot:
            snapshot.row_versions(HOT)
            pair.primary.execute("LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE")
            pair.replica.catch_up()
            with pytest.raises(ReadingError) as caught:
                snapshot.row_versions(HOT)
        assert is_recovery_conflict(caught.value, conninfo_of(engine))
        assert not is_recovery_conflict(caught.value, conninfo_of(pair.primary.services.engine))
    finally:
        pair.replica.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        pair.replica.execute("SELECT pg_reload_conf()")
