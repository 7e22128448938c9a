"""A damaged part is written again from wherever it is to be had, and counts once, online and from a copy."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive import parquet
from compliance_pipelines.archive.adoption import stored_day
from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.errors import RepairRefusedError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.held_parts import HeldParts, look_into_part
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.readback import PartDamagedError
from compliance_pipelines.archive.repair import RepairStep, repair_day
from compliance_pipelines.archive.repair_sources import Sources
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.archive.scrub import scrub
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.erasure.deletion_records import _archived
from compliance_pipelines.holds import HoldScope, active_holds
from compliance_pipelines.holds.record import NewHold, add_hold
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.verification.findings import NoteKind
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Stopped, overwrite, remove, stop_after
from tests.integration.archive.faulty_store import FaultyStore
from tests.integration.archive.worker import Order
from tests.support.command import Command
from tests.support.damage import turn_bit
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path
    from typing import BinaryIO

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days, Row
    from tests.integration.archive.worker import Worker

ENTRIES = 20


@pytest.fixture
def rows(services: Services, days: Days, day: date) -> list[Row]:
    """Of the day, which is archived in one part and still hot."""
    days.append(day, ENTRIES)
    archive_day(services, day)
    return days.hot_rows(day)


@pytest.fixture
def copy(services: Services, rows: list[Row], tmp_path: Path) -> LocalObjectStore:
    """A plain copy of the cold store, made before it was damaged."""
    assert rows
    shutil.copytree(tmp_path / "cold", tmp_path / "copy")
    return LocalObjectStore(tmp_path / "copy")


@pytest.fixture
def purged(services: Services, days: Days, day: date, rows: list[Row], clock: MovableClock) -> list[Row]:
    """The rows of the day, which left PostgreSQL."""
    clock.advance(days=8)
    purge_day(services, day)
    return rows


def part_of(services: Services, day: date) -> ArchivedPart:
    with services.engine.connect() as connection:
        (part,) = parts_of_day(connection, day)
    return part


def flip(days: Days, day: date) -> None:
    turn_bit(days.objects(day)[0])


def cut(days: Days, day: date) -> None:
    path = days.objects(day)[0]
    overwrite(path, path.read_bytes()[:1000])


def lose(days: Days, day: date) -> None:
    remove(days.objects(day)[0])


def swap(days: Days, day: date) -> None:
    overwrite(days.objects(day)[0], b"what is this")


DAMAGES = (flip, cut, lose, swap)


def is_whole(services: Services, days: Days, day: date, rows: list[Row], revision: int) -> None:
    """Everything that reads the day finds each entry once: online, from a copy, by restoring, and purging it."""
    part = part_of(services, day)
    assert part.object_key.endswith(f".{revision}.parquet")
    assert part.manifest_key.endswith(f".{revision}.manifest.json")
    report = verify(services, [day])
    assert report.ok, report
    assert report.checked.parts == 1
    assert NoteKind.PART_UNRECORDED not in {note.kind for note in report.notes}
    directory = services.settings.audit_cold_storage_path
    assert directory is not None
    keys = KeyEncryptionKeys(services.settings.audit_archive_keyring_file)
    offline = verify_copy(directory, services.verifier_key, archived_through=day, archive_keys=keys)
    assert offline.ok, offline
    assert (offline.checked.parts, offline.checked.archived_entries) == (1, len(rows))
    replaced = [note for note in offline.notes if note.kind is NoteKind.PART_REPLACED]
    assert len(replaced) == revision
    assert days.table_rows(restore_day(services, day).table, day) == rows
    assert archive_day(services, day).new_parts == ()
    assert scrub(services, {day}).damaged == ()
    assert repair_day(services, day).repaired == ()


def repairs(days: Days, day: date) -> list[Row]:
    return days.execute("SELECT part, source, replaced FROM archive_repairs WHERE day = :day ORDER BY id", day=day)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_hot_day_is_written_again_from_its_rows(
    services: Services, days: Days, day: date, rows: list[Row], damage: Callable[[Days, date], None]
) -> None:
    damage(days, day)
    before = [path.read_bytes() for path in days.objects(day)]

    (repaired,) = repair_day(services, day).repaired

    # Rows of the same version of the software make the same file: what is missing comes back under its own key.
    revision = 0 if damage is lose else 1
    assert (repaired.revision, repaired.source) == (revision, "the rows in public.audit_logs")
    assert len(repaired.damage) == 1
    # What is damaged stays as it is.
    assert [path.read_bytes() for path in days.objects(day)][: len(before)] == before
    is_whole(services, days, day, rows, revision)
    actions = days.audit_actions(day)
    assert actions[:3] == ["audit.archive", "audit.damage", "audit.repair"]
    assert actions.count("audit.repair") == 1
    ((number, source, replaced),) = repairs(days, day)
    assert (number, source) == (1, "the rows in public.audit_logs")
    assert replaced["object_key"].endswith(".0.parquet")


def test_the_record_says_who_what_and_from_where(services: Services, days: Days, day: date, rows: list[Row]) -> None:
    assert rows
    before = part_of(services, day)
    flip(days, day)
    repair_day(services, day)
    after = part_of(services, day)
    metadata = next(metadata for action, metadata in days.audit_records(day) if action == "audit.repair")
    assert metadata["login"] == "login:test_pipeline"
    assert metadata["source"] == "the rows in public.audit_logs"
    assert "was altered" in metadata["damage"][0]
    assert metadata["replaced"]["object"] == before.archive_location
    assert (metadata["object"], metadata["object_sha256"]) == (after.archive_location, after.object_sha256)
    assert (after.root, after.entry_count, after.archived_at) == (before.root, before.entry_count, before.archived_at)


def test_a_repaired_day_is_purged_by_its_new_revision(
    services: Services, days: Days, day: date, rows: list[Row], clock: MovableClock
) -> None:
    flip(days, day)
    repair_day(services, day)
    clock.advance(days=8)
    assert purge_day(services, day).entry_count == ENTRIES
    is_whole(services, days, day, rows, revision=1)


def test_other_bytes_of_the_same_rows_are_a_revision_too(
    services: Services, days: Days, day: date, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose(days, day)
    monkeypatch.setattr(parquet, "_COMPRESSION_LEVEL", 9)
    (repaired,) = repair_day(services, day).repaired
    assert repaired.revision == 1
    is_whole(services, days, day, rows, revision=1)


def test_a_purged_day_comes_back_from_a_copy(
    services: Services, days: Days, day: date, copy: LocalObjectStore, purged: list[Row]
) -> None:
    flip(days, day)
    remove(days.manifests(day)[0])
    with pytest.raises(RepairRefusedError, match=r"nothing was found that has its entries.*hot rows: they were purged"):
        repair_day(services, day)
    (repaired,) = repair_day(services, day, Sources(copy=copy)).repaired
    assert repaired.source == f"the copy at {copy.uri}"
    is_whole(services, days, day, purged, revision=1)


def test_a_part_that_was_looked_into_for_a_hold_is_a_revision_and_looked_into_again(
    services: Services, days: Days, day: date, copy: LocalObjectStore, purged: list[Row]
) -> None:
    hold = add_hold(services, NewHold(HoldScope.USER, "case", "counsel", subject="user:nobody-here")).hold

    def looked() -> list[str]:
        return [row[0] for row in days.execute("SELECT object_key FROM archive_hold_looks ORDER BY looked_at")]

    before = part_of(services, day)
    look_into_part(services, before, [hold])
    flip(days, day)

    repair_day(services, day, Sources(copy=copy))

    is_whole(services, days, day, purged, revision=1)
    assert looked() == [before.object_key]
    with services.engine.connect() as connection:
        after = part_of(services, day)
        assert HeldParts(services, connection, active_holds(connection)).unread(after) == [hold]
    look_into_part(services, after, [hold])
    assert looked() == [before.object_key, after.object_key]


def test_what_is_missing_comes_back_from_a_copy_under_its_own_keys(
    services: Services, days: Days, day: date, copy: LocalObjectStore, purged: list[Row]
) -> None:
    before = part_of(services, day)
    lose(days, day)
    remove(days.manifests(day)[0])
    (repaired,) = repair_day(services, day, Sources(copy=copy)).repaired
    assert repaired.revision == 0
    assert part_of(services, day) == before
    is_whole(services, days, day, purged, revision=0)
    assert len(repairs(days, day)) == 1


@pytest.mark.usefixtures("purged")
def test_a_copy_that_is_damaged_too_is_no_source(
    services: Services, days: Days, day: date, copy: LocalObjectStore, tmp_path: Path
) -> None:
    flip(days, day)
    (other,) = (tmp_path / "copy").rglob("*.parquet")
    cut_off = other.read_bytes()[:-50]
    overwrite(other, cut_off)
    with pytest.raises(RepairRefusedError, match=r"the copy at file:.* was truncated"):
        repair_day(services, day, Sources(copy=copy))
    assert not verify(services, [day]).ok
    assert repairs(days, day) == []


def test_a_copy_that_cannot_be_looked_at_is_said_to_be_so(
    services: Services, days: Days, day: date, copy: LocalObjectStore, purged: list[Row]
) -> None:
    assert purged
    flip(days, day)

    class Down(FaultyStore):
        def stat(self, key: str) -> None:
            raise ObjectStoreError(f"{key}: it does not answer")

    with pytest.raises(RepairRefusedError, match=r"it could not be looked at: .*it does not answer"):
        repair_day(services, day, Sources(copy=Down(copy)))


def test_a_purged_day_comes_back_from_the_rows_of_a_restore(
    services: Services, days: Days, day: date, purged: list[Row]
) -> None:
    table = restore_day(services, day).table
    restore_day(services, day, "evidence")
    flip(days, day)
    days.execute(f"UPDATE {table} SET result = 'denied' WHERE id = (SELECT min(id) FROM {table})")
    with pytest.raises(RepairRefusedError, match=rf"the rows in {table}: at least one of the .* was altered"):
        repair_day(services, day)
    with pytest.raises(RepairRefusedError, match=r"the rows in audit_restored\.nothing: there is no such table"):
        repair_day(services, day, Sources(table="nothing"))
    (repaired,) = repair_day(services, day, Sources(table="evidence")).repaired
    assert repaired.source == "the rows in audit_restored.evidence"
    is_whole(services, days, day, purged, revision=1)


def test_rows_that_somebody_changed_are_no_source(services: Services, days: Days, day: date, rows: list[Row]) -> None:
    assert rows
    flip(days, day)
    days.execute("DELETE FROM audit_logs WHERE id = (SELECT min(id) FROM audit_logs)")
    with pytest.raises(RepairRefusedError, match=r"the rows in public.audit_logs: 1 entry was deleted"):
        repair_day(services, day)
    assert [path.name.split(".")[-2] for path in days.objects(day)] == ["0"]


@pytest.mark.parametrize("how", ["missing", "altered"])
def test_a_manifest_alone_is_signed_anew_for_the_object_that_is_whole(
    services: Services, days: Days, day: date, purged: list[Row], how: str
) -> None:
    (path,) = days.manifests(day)
    if how == "missing":
        remove(path)
    else:
        overwrite(path, path.read_bytes().replace(b'"part":1', b'"part":2'))
    (repaired,) = repair_day(services, day).repaired
    assert repaired.source == "the store itself"
    is_whole(services, days, day, purged, revision=1)


def test_one_repair_after_another_replaces_each_revision(
    services: Services, days: Days, day: date, rows: list[Row]
) -> None:
    for number in (1, 2):
        turn_bit(days.objects(day)[-1])
        (repaired,) = repair_day(services, day).repaired
        assert repaired.revision == number
    assert [replaced["object_key"][-10:] for *_, replaced in repairs(days, day)] == [".0.parquet", ".1.parquet"]
    is_whole(services, days, day, rows, revision=2)


def test_damage_to_a_later_revision_is_found_and_its_loss_shows_the_damage_before(
    services: Services, days: Days, day: date, rows: list[Row]
) -> None:
    assert rows
    flip(days, day)
    repair_day(services, day)
    directory = services.settings.audit_cold_storage_path
    assert directory is not None
    turn_bit(days.objects(day)[1])
    for report in (verify(services, [day]), verify_copy(directory, services.verifier_key)):
        assert [finding.kind.value for finding in report.findings] == ["object_altered"]
    for path in (days.objects(day)[1], days.manifests(day)[1]):
        remove(path)
    offline = verify_copy(directory, services.verifier_key)
    assert [finding.kind.value for finding in offline.findings] == ["object_altered"]
    online = verify(services, [day])
    assert {finding.kind.value for finding in online.findings} >= {"object_missing", "manifest_missing"}


def test_a_revision_of_a_stranger_hides_nothing(services: Services, days: Days, day: date, rows: list[Row]) -> None:
    """Whoever can write to the bucket and has no key puts a later revision beside a part."""
    assert rows
    (manifest,), (object_,) = days.manifests(day), days.objects(day)
    for path in (manifest, object_):
        name = path.name.replace(".0.", ".7.")
        path.with_name(name).write_bytes(path.read_bytes())
    directory = services.settings.audit_cold_storage_path
    assert directory is not None
    offline = verify_copy(directory, services.verifier_key)
    assert [finding.kind.value for finding in offline.findings] == ["manifest_altered"]
    assert offline.checked.archived_entries == ENTRIES
    assert [finding.kind.value for finding in verify(services, [day]).findings] == ["part_unknown"]
    turn_bit(object_)
    offline = verify_copy(directory, services.verifier_key)
    assert sorted(finding.kind.value for finding in offline.findings) == ["manifest_altered", "object_altered"]
    (repaired,) = repair_day(services, day).repaired
    assert repaired.revision == 8


def test_a_database_that_is_wrong_is_not_what_a_repair_mends(
    services: Services, days: Days, day: date, rows: list[Row]
) -> None:
    assert rows
    days.execute("UPDATE archived_audit_logs SET canonical_bytes = canonical_bytes + 1")
    with pytest.raises(RepairRefusedError, match="it is not the cold store that is wrong"):
        repair_day(services, day)
    assert len(days.objects(day)) == 1


def test_a_day_that_is_whole_is_left_alone(services: Services, days: Days, day: date, rows: list[Row]) -> None:
    assert rows
    result = repair_day(services, day)
    assert (result.repaired, result.whole) == ((), 1)
    assert days.audit_actions(day) == ["audit.archive"]
    with pytest.raises(RepairRefusedError, match="has no part in the cold store that could be repaired"):
        repair_day(services, day.replace(year=day.year - 1))


def test_of_several_parts_the_damaged_one_alone_is_written_again(
    services: Services, days: Days, day: date, rows: list[Row]
) -> None:
    assert rows
    days.append(day, 3)
    archive_day(services, day)
    turn_bit(days.objects(day)[1])
    result = repair_day(services, day)
    assert [(each.part.part, each.revision) for each in result.repaired] == [(2, 1)]
    assert result.whole == 1
    report = verify(services, [day])
    assert report.ok, report
    assert report.checked.archived_entries == ENTRIES + 3


def test_a_part_without_a_source_does_not_stop_the_others(
    services: Services, days: Days, day: date, purged: list[Row]
) -> None:
    assert purged
    days.append(day, 3)
    archive_day(services, day)
    for path in days.objects(day):
        turn_bit(path)
    with pytest.raises(RepairRefusedError, match=f"part 1 of {day} was not repaired"):
        repair_day(services, day)
    assert [number for number, *_ in repairs(days, day)] == [2]


def test_what_is_not_what_was_put_is_not_recorded(services: Services, days: Days, day: date, rows: list[Row]) -> None:
    assert rows
    before = part_of(services, day)
    lose(days, day)

    class Forgetful(FaultyStore):
        def open(self, key: str) -> BinaryIO:
            for path in days.objects(day) if key.endswith(".parquet") else ():
                turn_bit(path)
            return super().open(key)

    with pytest.raises(PartDamagedError, match="damaged in the cold store"):
        repair_day(replace(services, store=Forgetful(services.store)), day)
    assert part_of(services, day) == before
    assert repairs(days, day) == []


@pytest.mark.parametrize("damage", [flip, lose])
def test_a_repair_killed_after_any_step_is_finished_by_the_next(
    services: Services, days: Days, day: date, worker: Worker, damage: Callable[[Days, date], None]
) -> None:
    revision = 0 if damage is lose else 1
    for number, step in enumerate(RepairStep):
        if step is RepairStep.MANIFEST_PUT and damage is lose:
            continue
        this_day = day.replace(year=day.year - number)
        days.append(this_day, ENTRIES)
        archive_day(services, this_day)
        rows = days.hot_rows(this_day)
        damage(days, this_day)
        assert worker.run(services, Order("repair", str(this_day), die_after=step)).killed
        result = repair_day(services, this_day)
        assert len(result.repaired) == (0 if step is RepairStep.COMMITTED else 1)
        assert len(repairs(days, this_day)) == 1
        assert days.audit_actions(this_day) == ["audit.archive", "audit.damage", "audit.repair"]
        assert len(days.objects(this_day)) == 1 + revision
        assert part_of(services, this_day).object_key.endswith(f".{revision}.parquet")
        report = verify(services, [this_day])
        assert report.ok, report
        assert days.table_rows(restore_day(services, this_day).table, this_day) == rows
    seal_all(services)
    directory = services.settings.audit_cold_storage_path
    assert directory is not None
    assert verify_copy(directory, services.verifier_key).ok


def test_between_put_and_record_a_verification_says_that_a_repair_was_interrupted(
    services: Services, days: Days, day: date, rows: list[Row]
) -> None:
    assert rows
    flip(days, day)
    with pytest.raises(Stopped):
        repair_day(services, day, hook=stop_after(RepairStep.MANIFEST_PUT))
    report = verify(services, [day])
    assert [finding.kind.value for finding in report.findings] == ["object_altered"]
    (note,) = [note for note in report.notes if note.kind is NoteKind.PART_UNRECORDED]
    assert f"`compliance repair {day}` finishes it" in note.message
    assert archive_day(services, day).new_parts == ()
    # From the bucket alone it counts already.
    directory = services.settings.audit_cold_storage_path
    assert directory is not None
    assert verify_copy(directory, services.verifier_key).ok


def test_a_database_that_lost_the_part_adopts_the_newest_revision_once(
    services: Services, days: Days, day: date, rows: list[Row]
) -> None:
    flip(days, day)
    repair_day(services, day)
    seal_all(services)
    for table in ("archive_scrubs", "archive_repairs", "archived_segments", "archived_audit_logs"):
        days.execute(f"DELETE FROM {table} WHERE day = :day", day=day)
    days.execute("SELECT audit_recount_backlog()")
    with services.engine.connect() as connection:
        stored = stored_day(services.store, day, parts_of_day(connection, day))
    assert [key.revision for key in stored.committed] == [1]
    assert (stored.orphans, stored.left_behind) == ((), ())
    result = archive_day(services, day)
    assert [(part.part, part.entry_count) for part in result.parts] == [(1, ENTRIES)]
    is_whole(services, days, day, rows, revision=1)


def test_a_scrub_that_is_killed_reads_the_part_again(
    services: Services, days: Days, day: date, rows: list[Row], worker: Worker
) -> None:
    assert rows
    assert worker.run(services, Order("scrub", str(day), die_after="reading")).killed
    assert days.execute("SELECT count(*) FROM archive_scrubs") == [(0,)]
    assert scrub(services, {day}).parts == 1


def test_the_command_repairs_and_says_from_where(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    day: date,
    copy: LocalObjectStore,
    purged: list[Row],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    run = Command(monkeypatch, capsys, tmp_path)
    run.use(settings)
    assert run("repair", day)[:2] == (0, f"{day}: 1 part is whole, nothing to repair\n")
    flip(days, day)
    refused = run("repair", day)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith(f"compliance: part 1 of {day} was not repaired: nothing was found that has its entri")
    assert run("repair", day, "--from-store", tmp_path / "nowhere").status == 1
    done = run("repair", day, "--from-store", tmp_path / "copy")
    assert done.status == 0, done
    assert done.out.startswith(
        f"{day}: part 1 was written again from the copy at {copy.uri}, read back, and is whole: as revision 1, file:"
    )
    is_whole(services, days, day, purged, revision=1)
    assert run("repair", "yesterday").status == 2


def test_deletion_records_are_read_from_the_revision_that_counts(
    services: Services, days: Days, day: date, purged: list[Row]
) -> None:
    restore_day(services, day)
    flip(days, day)
    repair_day(services, day)
    with services.engine.connect() as connection:
        parts = parts_of_day(connection, day)
    (action,) = {row[4] for row in purged}
    found = [row for batch in _archived(services, parts, day, [action]) for row in batch.to_pylist()]
    assert len(found) == ENTRIES
    found = [row for batch in _archived(services, [], day, [action]) for row in batch.to_pylist()]
    assert len(found) == ENTRIES
