"""`compliance db rebuild`: a database made anew from the cold store alone."""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.expiry import ExpiryStep, expire_day
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.rebuilding import RebuildRefusedError, rebuild, rehearse_rebuild
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.archive.scrub import scrub
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.ledger.recovery import RecoveryStep
from tests.integration.archive.days import entry, overwrite, remove
from tests.integration.recovery.restoring import AUTHOR, REASON, assert_sound
from tests.integration.verification.conftest import opened
from tests.integration.verification.world import ARCHIVED, HOT, OTHER_ARCHIVED, PURGED, TODAY, copied, fill
from tests.support.command import Command
from tests.support.logins import login_url, url_of
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.archive.rebuilding import Rebuild
    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

ENTRIES_IN_PARTS: Final = 20 + 5 + 17 + 8
LATE: Final = TODAY - timedelta(days=8 * 366)


class KilledError(Exception):
    """The process ends here."""


@contextmanager
def another_database(server: EmbeddedPostgres, template_database: str, world: World) -> Iterator[World]:
    """A database that was migrated and holds nothing, with the cold store of another one."""
    name = f"test_{uuid.uuid4().hex}"
    server.create_database(name, template=template_database)
    url = server.url(name)
    try:
        with contextmanager(opened)(login_url(url, "test_pipeline"), world.cold, url) as anew:
            yield anew
    finally:
        server.drop_database(name)


@pytest.fixture
def anew(postgres_server: EmbeddedPostgres, template_database: str, world: World) -> Iterator[World]:
    """An empty database beside the cold store of a system that is gone."""
    with another_database(postgres_server, template_database, world) as anew:
        yield anew


@pytest.fixture
def command(
    anew: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    made = Command(monkeypatch, capsys, tmp_path)
    made.use(anew.services.settings)
    made.set(AUDIT_LOG_MIGRATION_DATABASE_URL=url_of(anew.days.superuser))
    return made


def rebuilt(world: World, **options: object) -> Rebuild:
    """Rebuild as the command does."""
    planned = rehearse_rebuild(world.services)
    return rebuild(
        world.services,
        world.days.superuser,
        planned.found.uncommitted,
        author=AUTHOR,
        reason=REASON,
        **options,  # type: ignore[arg-type]
    )


def when_purges_are_due(world: World) -> World:
    """The same when what was verified now may be purged."""
    return replace(world, services=replace(world.services, clock=lambda: datetime.now(UTC) + timedelta(days=9)))


def test_all_archives_are_known_again_and_the_rest_is_on_record_as_lost(
    command: Command, world: World, anew: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world.services, world.days)
    rows = {day: sorted(world.days.cold_rows(day)) for day in (PURGED, ARCHIVED, OTHER_ARCHIVED)}
    ((environment,),) = world.execute("SELECT environment_id FROM audit_environment")
    ((last_id,),) = world.execute("SELECT max(last_id) FROM ledger_segments")

    rehearsed = command("db", "rebuild", "--dry-run")
    assert rehearsed.status == 0, rehearsed
    assert f"4 parts of 3 days are archived, with {ENTRIES_IN_PARTS} entries in " in rehearsed.out
    assert f" lost: {lost_entries(world)} entries were sealed and are in no archive" in rehearsed.out
    assert anew.execute("SELECT count(*) FROM audit_store") == [(0,)]
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    assert command("db", "rebuild", "--author", AUTHOR, "--reason", REASON).status == 1
    assert anew.execute("SELECT count(*) FROM audit_store") == [(0,)]
    assert command("db", "rebuild", "--yes").status == 2

    done = command("db", "rebuild", "--author", AUTHOR, "--reason", REASON, "--yes")
    assert done.status == 0, done
    assert "the catalogue 4 parts" in done.out

    assert anew.execute("SELECT environment_id FROM audit_environment") == [(environment,)]
    assert anew.execute("SELECT nextval('audit_logs_id_seq') > :last", last=last_id) == [(True,)]
    seal_all(anew.services)
    assert_sound(anew, losses=1)
    status = json.loads(command("status", "--json").out)
    (loss,) = status["ledger"]["losses"]
    assert (loss["author"], loss["entries"], loss["found"]) == (AUTHOR, lost_entries(world), 0)
    ((metadata,),) = anew.execute("SELECT metadata FROM audit_logs WHERE action = 'ledger.recover'")
    assert isinstance(metadata, dict)
    assert (metadata["parts_recorded"], metadata["segments_in_archives"]) == (4, 5)

    for day, expected in rows.items():
        restored = restore_day(anew.services, day)
        assert sorted(anew.days.table_rows(restored.table, day)) == expected
    # Nothing is due that was done, and every part is read before any other.
    assert scrub(anew.services).parts == 4
    later = anew.days.append(HOT, 3)
    archive_day(anew.services, HOT)
    assert len(anew.days.cold_rows(HOT)) == len(later)
    assert_sound(anew, losses=1)
    with pytest.raises(RebuildRefusedError, match="ledger or a catalogue of its own"):
        rebuilt(anew)


def lost_entries(world: World) -> int:
    """Entries that were sealed and in no part."""
    ((count,),) = world.execute(
        "SELECT sum(entry_count)::bigint FROM ledger_segments"
        " WHERE seq NOT IN (SELECT segment_seq FROM archived_segments)"
    )
    return int(str(count))


@pytest.mark.parametrize(
    "killed_after", ["bound", RecoveryStep.IDS_RAISED, RecoveryStep.INSERTED, RecoveryStep.COMMITTED]
)
def test_who_is_killed_goes_on(world: World, anew: World, killed_after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.days.append(ARCHIVED, 3)
    archive_day(world.services, ARCHIVED)
    world.days.append(HOT, 2)

    def step(done: str) -> None:
        if done == killed_after:
            raise KilledError

    with monkeypatch.context() as patch:
        if killed_after == "bound":
            patch.setattr("compliance_pipelines.archive.rebuilding.recover", lambda *_, **__: step("bound"))
        with pytest.raises(KilledError):
            rebuilt(anew, step=step)
    if killed_after != RecoveryStep.COMMITTED:
        assert rebuilt(anew).found.parts == 1
    seal_all(anew.services)
    assert_sound(anew, losses=1)
    assert restore_day(anew.services, ARCHIVED).entry_count == 3


def test_parts_that_expired_stay_expired_and_one_that_was_going_goes(world: World, anew: World) -> None:
    gone, going = LATE, LATE + timedelta(days=1)
    for day in (gone, going, ARCHIVED):
        world.days.append(day, 2)
        archive_day(world.services, day)
        purge_day(when_purges_are_due(world).services, day)
    expire_day(world.services, gone)

    def stop(done: ExpiryStep) -> None:
        if done is ExpiryStep.STATED:
            raise KilledError

    with pytest.raises(KilledError):
        expire_day(world.services, going, hook=stop)
    seal_all(world.services)

    done = rebuilt(anew)
    assert (done.found.parts, done.found.expired, done.recovery.entries_sealed) == (2, 1, lost_entries(world))
    seal_all(anew.services)
    assert_sound(anew, losses=1)
    assert [part.part for part in expire_day(anew.services, going).expired] == [1]
    assert anew.execute("SELECT day FROM archived_audit_logs WHERE expired_at IS NOT NULL ORDER BY 1") == [
        (gone,),
        (going,),
    ]
    assert_sound(anew, losses=1)


def test_an_object_without_a_manifest_is_committed_and_a_damaged_one_repaired_afterwards(
    command: Command, world: World, anew: World, tmp_path: Path
) -> None:
    def stop(done: ArchiveStep) -> None:
        if done is ArchiveStep.OBJECT_PUT:
            raise KilledError

    for day in (PURGED, ARCHIVED, OTHER_ARCHIVED):
        world.days.append(day, 4)
    with pytest.raises(KilledError):
        archive_day(world.services, PURGED, hook=stop)
    for day in (ARCHIVED, OTHER_ARCHIVED):
        archive_day(world.services, day)
    copy = tmp_path / "copy"
    copied(world.cold, copy)
    remove(world.object_path(ARCHIVED))

    done = command("db", "rebuild", "--author", AUTHOR, "--reason", REASON, "--yes")
    assert done.status == 1, done
    assert "has no manifest: an archive run was interrupted" in done.out
    assert "1 archives are damaged" in done.out
    assert len(anew.days.manifests(PURGED)) == 1
    assert restore_day(anew.services, PURGED).entry_count == 4

    assert command("repair", ARCHIVED, "--from-store", copy).status == 0
    seal_all(anew.services)
    assert_sound(anew, losses=1)
    assert restore_day(anew.services, ARCHIVED).entry_count == 4


def test_what_an_application_wrote_before_is_sealed_or_named(world: World, anew: World) -> None:
    world.days.append(ARCHIVED, 3)
    archive_day(world.services, ARCHIVED)
    world.days.append(HOT, 2)
    log = AuditLog(anew.services.engine)
    stranger, today = entry(ARCHIVED, 7), entry(TODAY - timedelta(days=1), 8)
    for appended, day in ((stranger, ARCHIVED), (today, HOT)):
        log.append(appended)
        # In another cluster transaction ids start again.
        ((used,),) = world.execute("SELECT tx_from FROM ledger_segments WHERE day = :day", day=day)
        where = {"id": appended.log_entry_id, "used": used}
        anew.execute("UPDATE audit_logs SET tx_id = :used WHERE log_entry_id = :id", **where)
    with pytest.raises(RebuildRefusedError, match=stranger.log_entry_id):
        rebuilt(anew)
    anew.execute("DELETE FROM audit_logs WHERE log_entry_id = :id", id=stranger.log_entry_id)
    assert sum(segment.entry_count for segment in rebuilt(anew).recovery.segments) == 1
    seal_all(anew.services)
    assert_sound(anew)
    assert len(anew.days.hot_rows(today.timestamp.date())) == 1


def test_what_cannot_be_told_is_refused(world: World, anew: World) -> None:
    world.days.append(ARCHIVED, 3)
    archive_day(world.services, ARCHIVED)
    checkpoint, identity = world.checkpoint_path, world.cold / "audit-store" / "identity"
    for path, message in ((checkpoint, "has no checkpoint"), (identity, "has no identity")):
        data = path.read_bytes()
        remove(path)
        with pytest.raises(RebuildRefusedError, match=message):
            rebuilt(anew)
        path.write_bytes(data)
    with pytest.raises(RebuildRefusedError, match="ledger or a catalogue of its own"):
        rebuilt(world)
    bundle = world.cold / "audit-ledger" / "tile" / "entries" / "000.p" / "1"
    overwrite(bundle, bundle.read_bytes()[:-1] + b"x")
    with pytest.raises(LedgerError):
        rebuilt(anew)
    assert anew.execute("SELECT count(*) FROM audit_store") == [(0,)]


def test_a_ledger_that_is_older_than_its_parts_is_refused(world: World, anew: World, tmp_path: Path) -> None:
    world.days.append(ARCHIVED, 3)
    shutil.copytree(world.cold / "audit-ledger", tmp_path / "ledger")
    world.days.append(ARCHIVED, 2)
    archive_day(world.services, ARCHIVED)
    shutil.rmtree(world.cold / "audit-ledger")
    shutil.copytree(tmp_path / "ledger", world.cold / "audit-ledger")
    with pytest.raises(RebuildRefusedError, match="was put back to an older state"):
        rebuilt(anew)
    assert anew.execute("SELECT count(*) FROM audit_store") == [(0,)]
