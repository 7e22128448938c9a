"""Where nothing is wrong, nothing is found, whatever state the system is in; and verifying changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.ledger.sealing import SealStep, seal
from compliance_pipelines.ledger.tiles import PREFIX, TILES
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.verification.errors import VerificationError
from compliance_pipelines.verification.findings import Checked, NoteKind
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from compliance_pipelines.verification.progress import Stage
from tests.integration.verification.stores import BusyStore
from tests.integration.verification.world import (
    ARCHIVED,
    HOT,
    KEY,
    OTHER_ARCHIVED,
    PURGED,
    SIZES,
    copied,
    kinds,
)
from tests.support.logins import database_of, login_url
from tests.support.sealing import seal_all, settle

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.verification.findings import Report
    from tests.integration.verification.world import World


class _InterruptedError(Exception):
    pass


def _note_kinds(report: Report) -> list[str]:
    return sorted(str(note.kind) for note in report.notes)


def test_a_system_with_hot_archived_purged_late_and_unsealed_entries_gives_no_finding(world: World) -> None:
    report = world.verify()
    assert (report.ok, report.findings, report.notes, report.undecided) == (True, (), (), ())
    assert report.checked == Checked(
        checkpoints=len(SIZES), segments=SIZES[-1], days=6, hot_entries=17 + 5 + 10 + 6, parts=4, archived_entries=50
    )


@pytest.mark.parametrize("day", [PURGED, ARCHIVED, OTHER_ARCHIVED, HOT])
def test_a_day_alone_gives_no_finding(world: World, day: object) -> None:
    assert isinstance(day, type(PURGED))
    report = world.verify(day)
    assert (report.ok, report.notes, report.checked.days) == (True, (), 1)
    assert report.checked.segments == SIZES[-1]


def test_the_bucket_alone_gives_no_finding_and_says_what_it_cannot_know(world: World) -> None:
    report = world.verify_offline()
    assert report.ok
    assert report.checked == Checked(
        # One of the day on which the system was filled, and another if that is over by now.
        checkpoints=report.checked.checkpoints,
        segments=SIZES[-1],
        days=3,
        parts=4,
        archived_entries=50,
    )
    (note,) = report.notes
    assert note.kind is NoteKind.NOT_ARCHIVED
    # What the project recorded about itself is of the day on which the system was filled, which may be over by now.
    with world.services.engine.connect() as connection:
        (own_day,) = connection.execute(
            text("SELECT DISTINCT day FROM ledger_segments WHERE day > :hot"), {"hot": HOT}
        ).one()
    assert f"of 2 days from {HOT} to {own_day}, 16 sealed entries are in no part" in note.message


def test_a_plain_copy_without_the_stores_own_directory_is_verified(world: World, tmp_path: Path) -> None:
    copied(world.cold / "audit-ledger", tmp_path / "copy" / "audit-ledger")
    copied(world.cold / "audit-archives", tmp_path / "copy" / "audit-archives")
    assert verify_copy(tmp_path / "copy", KEY.verifier_key()).ok


def test_an_empty_system_gives_no_finding(empty_world: World) -> None:
    report = empty_world.verify()
    assert (report.ok, report.findings, report.notes, report.checked) == (True, (), (), Checked())


def test_entries_that_nobody_sealed_yet_give_no_finding(empty_world: World) -> None:
    empty_world.days.append(HOT, 5, sealed=False)
    assert empty_world.verify().findings == ()
    (note,) = empty_world.verify(HOT).notes
    assert note.kind is NoteKind.NOTHING_KNOWN


def test_nothing_at_all_is_never_taken_for_a_clean_bucket(empty_world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(VerificationError, match="holds neither checkpoints nor archives"):
        verify_copy(tmp_path / "empty", KEY.verifier_key())
    with pytest.raises(VerificationError, match="holds neither checkpoints nor archives"):
        empty_world.verify_offline()
    with pytest.raises(VerificationError, match="is not a directory"):
        verify_copy(tmp_path / "unmounted", KEY.verifier_key())


def test_a_day_of_which_nothing_is_known_is_said_to_be_unknown(world: World) -> None:
    report = world.verify(HOT - timedelta(days=1))
    assert (report.ok, _note_kinds(report)) == (True, ["nothing_known"])


def test_restored_tables_give_no_finding(world: World) -> None:
    restore_day(world.services, PURGED)
    seal_all(world.services)
    assert world.verify().findings == ()
    assert world.verify_offline().ok


def test_entries_in_a_default_partition_give_no_finding(world: World) -> None:
    world.days.append(HOT - timedelta(days=40), 4, sealed=False, partition=False)
    seal_all(world.services)
    report = world.verify()
    assert (report.findings, report.checked.days) == ((), 7)


def test_a_checkpoint_that_an_interrupted_pass_did_not_publish_is_a_note(world: World) -> None:
    def interrupt(step: str) -> None:
        if step == SealStep.COMMITTED:
            raise _InterruptedError

    world.days.append(HOT, 3, sealed=False)
    settle(world.services)
    with pytest.raises(_InterruptedError):
        seal(world.services, step=interrupt)
    report = world.verify()
    assert (report.ok, report.findings, _note_kinds(report)) == (True, (), ["checkpoint_unpublished"])
    assert world.verify(HOT).ok
    assert world.verify_offline().ok


@pytest.mark.parametrize(
    ("step", "online", "offline"),
    [
        (ArchiveStep.OBJECT_PUT, ["object_uncommitted"], ["manifest_missing"]),
        (ArchiveStep.MANIFEST_PUT, ["part_unrecorded"], []),
        (ArchiveStep.RECORDED, [], []),
    ],
)
def test_an_interrupted_archive_is_a_note_where_the_database_tells_that_nothing_is_lost(
    world: World, step: ArchiveStep, online: list[str], offline: list[str]
) -> None:
    def interrupt(done: ArchiveStep, /) -> None:
        if done is step:
            raise _InterruptedError

    with pytest.raises(_InterruptedError):
        archive_day(world.services, HOT, hook=interrupt)
    report = world.verify()
    assert (report.findings, _note_kinds(report)) == ((), online)
    assert kinds(world.verify_offline()) == offline


def test_a_part_that_the_catalogue_alone_calls_expired_is_a_finding_whenever_that_is(world: World) -> None:
    world.execute("UPDATE archived_audit_logs SET expired_at = now() WHERE day = :day", day=OTHER_ARCHIVED)
    world.remove(world.manifest_path(OTHER_ARCHIVED), world.object_path(OTHER_ARCHIVED))
    moment = world.services.clock() + timedelta(days=7 * 366)
    report = verify(replace(world.services, clock=lambda: moment))
    assert kinds(report) == ["catalogue_altered"]


def test_what_is_sealed_meanwhile_gives_no_finding(world: World) -> None:
    def another_pass() -> None:
        world.days.append(HOT, 2, sealed=False)
        seal_all(world.services)

    store = BusyStore(world.services.store, another_pass, before=TILES)
    report = verify(replace(world.services, store=store))
    assert (store.happened, report.findings, report.checked.segments) == (1, (), SIZES[-1])
    store = BusyStore(world.services.store, another_pass, before=PREFIX)
    assert verify(replace(world.services, store=store), [HOT]).findings == ()


def test_a_day_that_is_purged_meanwhile_gives_no_finding(world: World) -> None:
    later = world.services.clock() + timedelta(days=8)

    def purge() -> None:
        purge_day(replace(world.services, clock=lambda: later), ARCHIVED)

    key = str(world.object_path(ARCHIVED).relative_to(world.cold))
    store = BusyStore(world.services.store, purge, before=key)
    report = verify(replace(world.services, store=store), [ARCHIVED])
    assert (store.happened, report.ok, report.findings, report.checked.hot_entries) == (1, True, (), 0)


def test_a_day_that_is_archived_meanwhile_gives_no_finding(world: World) -> None:
    store = BusyStore(
        world.services.store, lambda: archive_day(world.services, HOT), before=f"audit-archives/{HOT:%Y/%m}"
    )
    report = verify(replace(world.services, store=store), [HOT])
    assert (store.happened, report.ok, report.findings, report.notes) == (1, True, (), ())


def test_a_reader_can_verify_and_nothing_changes(
    world: World, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    name = database_of(world.services.engine)
    engine = create_engine(login_url(postgres_server.url(name), "test_reader"), pool_size=1)
    before = _picture(world)
    staging = tmp_path / "staging"
    settings = world.services.settings.model_copy(update={"archive_staging_path": staging})
    report = verify(replace(world.services, engine=engine, settings=settings))
    engine.dispose()
    assert report.ok
    assert world.verify_offline().ok
    assert _picture(world) == before
    assert list(staging.iterdir()) == []


def _picture(world: World) -> object:
    """Every file of the cold store with size and time, and how many rows were written last in which transaction."""
    files = {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in world.cold.rglob("*") if path.is_file()}
    tables = ("audit_logs", "ledger_segments", "ledger_checkpoints", "ledger_publications", "archived_audit_logs")
    return files, [world.execute(f"SELECT count(*), max(xmin::text::bigint) FROM {table}") for table in tables]


def test_progress_reaches_every_stage_and_all_rows(world: World) -> None:
    told: dict[Stage, tuple[int, int | None]] = {}

    def tell(stage: Stage, done: int, total: int | None) -> None:
        told[stage] = (done, total)

    verify(world.services, progress=tell)
    assert told == {
        Stage.SEGMENTS: (9, 9),
        Stage.CHECKPOINTS: (5, None),
        Stage.DAYS: (6, 6),
        Stage.ENTRIES: (38 + 50, None),
    }
    told.clear()
    verify_copy(world.cold, KEY.verifier_key(), progress=tell)
    assert told == {
        Stage.MANIFESTS: (4, None),
        Stage.SEGMENTS: (9, 9),
        Stage.CHECKPOINTS: (1, None),
        Stage.PARTS: (4, 4),
        Stage.ENTRIES: (50, None),
    }
