"""Keys of archives: compared, repaired, rotated, removed, destroyed; interrupted at each step."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.part_keys import (
    KeyDestructionRefusedError,
    destroy_keys_of_day,
    remove_from_keyring,
    rotate_keys,
    verify_keys,
    wrapped_keys,
)
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.encryption import destruction, key_encryption, rotation
from compliance_pipelines.encryption.comparison import KeyProblemKind
from compliance_pipelines.encryption.data_key import Encryption
from compliance_pipelines.encryption.errors import (
    DataKeyDestroyedError,
    KeyEncryptionKeyError,
    KeyRecordsDifferError,
)
from compliance_pipelines.encryption.keyring import Keyring, new_key
from compliance_pipelines.encryption.records import KeyRecords
from compliance_pipelines.encryption.wrapped_key import WrappedKey, record_key
from compliance_pipelines.holds.active import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.verification.findings import Kind
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Stopped, overwrite
from tests.support.encrypted import encrypted

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.archive.part_keys import DestroyedKey
    from compliance_pipelines.encryption.rotation import Rewrapped
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

PARTS = 3


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return encrypted(settings, tmp_path)


@pytest.fixture
def parts(services: Services, days: Days, day: date) -> list[ArchivedPart]:
    """Of three days, archived and verified."""
    found = []
    for number in range(PARTS):
        this_day = day + timedelta(days=number)
        days.append(this_day, 5)
        archive_day(services, this_day)
        with services.engine.connect() as connection:
            found += parts_of_day(connection, this_day)
    return found


def keyring_of(services: Services) -> Keyring:
    assert services.settings.audit_archive_keyring_file is not None
    return Keyring.read(services.settings.audit_archive_keyring_file)


def rotated(services: Services, to: str | None = None) -> Rewrapped:
    return rotate_keys(services, to=to, progress=lambda *_: None)


def actions(days: Days) -> list[str]:
    found = days.execute("SELECT action FROM audit_logs WHERE resource_type = 'archive_key' ORDER BY id")
    return [action for (action,) in found]


def delete_record(days: Days, part: ArchivedPart) -> None:
    days.services.store.delete(record_key(part.object_key))


def damage_record(days: Days, part: ArchivedPart) -> None:
    path = days.services.settings.audit_cold_storage_path
    assert path is not None
    record = path / record_key(part.object_key)
    said = json.loads(record.read_bytes())
    overwrite(record, json.dumps({**said, "wrapped": "AAAA"}).encode())


def delete_row(days: Days, part: ArchivedPart) -> None:
    days.execute("DELETE FROM object_keys WHERE object_key = :key", key=part.object_key)


def damage_row(days: Days, part: ArchivedPart) -> None:
    days.execute("UPDATE object_keys SET wrapped = 'x' WHERE object_key = :key", key=part.object_key)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (delete_record, KeyProblemKind.RECORD_MISSING),
        (damage_record, KeyProblemKind.RECORD_ALTERED),
        (delete_row, KeyProblemKind.NOT_IN_CATALOGUE),
        (damage_row, KeyProblemKind.CATALOGUE_ALTERED),
    ],
)
def test_what_one_record_lost_the_other_one_gives_back(
    services: Services,
    days: Days,
    parts: list[ArchivedPart],
    damage: Callable[[Days, ArchivedPart], None],
    kind: KeyProblemKind,
) -> None:
    assert (verify_keys(services).intact, verify_keys(services).problems) == (PARTS, ())
    damage(days, parts[1])

    (problem,) = verify_keys(services).problems
    assert (problem.kind, problem.object_key, problem.can_be_repaired) == (kind, parts[1].object_key, True)
    report = verify_keys(services, repair=True)

    assert ([each.kind for each in report.repaired], report.problems) == ([kind], ())
    assert (verify_keys(services).intact, verify_keys(services).problems) == (PARTS, ())
    services.data_keys.require_both_records(parts[1].object_key, parts[1].encryption)
    assert actions(days) == ["audit.keys.repair"]


def test_a_key_that_is_on_neither_record_is_lost_and_nothing_repairs_it(
    services: Services, days: Days, parts: list[ArchivedPart]
) -> None:
    delete_record(days, parts[0])
    delete_row(days, parts[0])
    (problem,) = verify_keys(services, repair=True).problems
    assert (problem.kind, problem.can_be_repaired) == (KeyProblemKind.LOST, False)


def test_a_part_that_the_catalogue_gives_another_key_is_found(
    services: Services, days: Days, parts: list[ArchivedPart]
) -> None:
    days.execute(
        "UPDATE archived_audit_logs SET encryption = jsonb_set(encryption, '{key_id}', :id) WHERE day = :day",
        id=json.dumps("0" * 32),
        day=parts[0].day,
    )
    (problem,) = verify_keys(services, repair=True).problems
    assert problem.kind is KeyProblemKind.NOT_UNWRAPPED
    assert "the manifest names" in problem.message


def test_a_record_without_a_part_is_told_and_is_no_problem(services: Services, parts: list[ArchivedPart]) -> None:
    del parts
    services.data_keys.for_new("audit-archives/2026/07/audit-logs-2026-07-01.1-0badcafe.0.parquet")
    report = verify_keys(services)
    assert (len(report.unused), report.problems) == (1, ())


def test_rotation_touches_no_object_and_the_key_before_is_needed_no_more(
    services: Services, days: Days, parts: list[ArchivedPart]
) -> None:
    objects = {info.key: info for info in services.store.list("audit-archives/")}
    before = keyring_of(services).current

    done = rotated(services)

    assert (done.keys, done.rewrapped) == (PARTS, PARTS)
    assert keyring_of(services).current.reference == done.to != before.reference
    remove_from_keyring(services, before.id)
    assert list(keyring_of(services).keys) == [keyring_of(services).current_id]
    assert {info.key: info for info in services.store.list("audit-archives/")} == objects
    assert (verify_keys(services).wrapped_by, verify_keys(services).problems) == ({done.to: PARTS}, ())
    assert verify(services, [part.day for part in parts]).ok
    assert actions(days) == ["audit.keys.rotate", "audit.keys.rotated", "audit.keys.remove"]


def test_a_key_that_wraps_others_is_not_removed(services: Services, parts: list[ArchivedPart]) -> None:
    del parts
    before = keyring_of(services)
    with pytest.raises(KeyEncryptionKeyError, match="is the current key"):
        remove_from_keyring(services, before.current_id)
    with pytest.raises(Stopped):
        rotate_keys(services, progress=stop_at(2))
    with pytest.raises(KeyEncryptionKeyError, match="wraps 1 keys still"):
        remove_from_keyring(services, before.current_id)
    assert before.current_id in keyring_of(services).keys


def stop_at(number: int) -> Callable[[int, int], None]:
    def progress(done: int, _of: int) -> None:
        if done == number:
            raise Stopped(number)

    return progress


def test_an_interrupted_rotation_is_finished_and_makes_no_further_key(
    services: Services, days: Days, parts: list[ArchivedPart], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stopped):
        rotate_keys(services, progress=stop_at(1))
    to = keyring_of(services).current.reference
    assert sorted(wrapped_by(services).values()) == [1, 2]

    # Killed between the two records of the second one.
    def stop(*_: object) -> bool:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "rewrap_in_catalogue", stop)
        with pytest.raises(Stopped):
            rotated(services)
    assert {problem.kind for problem in verify_keys(services).problems} == {KeyProblemKind.RECORDS_DIFFER}

    done = rotated(services)
    assert (done.to, done.rewrapped) == (to, 2)
    assert len(keyring_of(services).keys) == 2
    assert (verify_keys(services).problems, wrapped_by(services)) == ((), {to: PARTS})
    assert verify(services, [part.day for part in parts]).ok
    assert actions(days) == ["audit.keys.rotate"] * 3 + ["audit.keys.rotated"]


def wrapped_by(services: Services) -> dict[str, int]:
    with services.engine.connect() as connection:
        return wrapped_keys(services, connection)


def test_a_record_that_was_lost_comes_back_with_the_rotation(
    services: Services, days: Days, parts: list[ArchivedPart]
) -> None:
    delete_record(days, parts[0])
    rotated(services)
    assert verify_keys(services).problems == ()


def test_a_rotation_goes_to_a_key_that_was_handed_out_before(services: Services, parts: list[ArchivedPart]) -> None:
    del parts
    keyring = keyring_of(services)
    later = new_key(keyring.keys, datetime.now(UTC))
    replace(keyring.with_key(later), current_id=keyring.current_id).save()

    assert rotated(services, later.id).to == later.reference
    assert keyring_of(services).current_id == later.id
    with pytest.raises(KeyEncryptionKeyError, match="is not in the keyring"):
        rotated(services, "nobody")


def test_an_archive_that_is_made_with_the_old_key_meanwhile_is_not_forgotten(
    services: Services, days: Days, day: date, parts: list[ArchivedPart], monkeypatch: pytest.MonkeyPatch
) -> None:
    del parts
    old = keyring_of(services).current
    before = rotation.not_wrapped_by
    late = day + timedelta(days=PARTS)
    days.append(late, 5)

    def archive_now(*arguments: object) -> list[str]:
        monkeypatch.setattr(rotation, "not_wrapped_by", before)
        with monkeypatch.context() as patch:
            patch.setattr("compliance_pipelines.encryption.key_encryption.KeyEncryptionKeys.current", lambda _: old)
            archive_day(services, late)
        return before(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(rotation, "not_wrapped_by", archive_now)
    done = rotated(services)

    assert (done.keys, done.rewrapped) == (PARTS + 1, PARTS + 1)
    assert (wrapped_by(services), verify_keys(services).problems) == ({done.to: PARTS + 1}, ())


def rewrap_in_the_store(services: Services, object_key: str) -> None:
    """What a rotation has done that has come to the first of the two records."""
    keyring = keyring_of(services)
    later = new_key(keyring.keys, datetime.now(UTC))
    keyring.with_key(later).save()
    records = KeyRecords(services.store)
    found = records.find(object_key)
    assert found is not None
    key = found.key.unwrapped(services.data_keys.key_encryption_keys)
    records.replace(found, WrappedKey.of(object_key, key, later))


def test_a_day_that_is_archived_while_its_key_is_rotated_is_verified(
    services: Services, days: Days, day: date, parts: list[ArchivedPart]
) -> None:
    late = day + timedelta(days=PARTS)
    days.append(late, 5)

    def rotate_one(step: ArchiveStep) -> None:
        if step is ArchiveStep.RECORDED:
            with services.engine.connect() as connection:
                (part,) = parts_of_day(connection, late)
            rewrap_in_the_store(services, part.object_key)

    archive_day(services, late, hook=rotate_one)

    with services.engine.connect() as connection:
        (part,) = parts_of_day(connection, late)
    assert part.verified_at is not None
    assert {problem.kind for problem in verify_keys(services).problems} == {KeyProblemKind.RECORDS_DIFFER}
    assert rotated(services).keys == PARTS + 1
    assert verify_keys(services).problems == ()

    # One whose wrapping is not at hand gives nothing.
    rewrap_in_the_store(services, parts[0].object_key)
    keyring_before = keyring_of(services)
    rewrapped = KeyRecords(services.store).find(parts[0].object_key)
    assert rewrapped is not None
    remaining = {
        name: key for name, key in keyring_before.keys.items() if key.reference != rewrapped.key.key_encryption_key
    }
    replace(keyring_before, keys=remaining, current_id=next(iter(remaining))).save()
    with pytest.raises(KeyRecordsDifferError, match="the two differ"):
        services.data_keys.require_both_records(parts[0].object_key, parts[0].encryption)


def test_a_rotation_beside_a_process_that_has_the_key_before_comes_to_an_end(
    services: Services, parts: list[ArchivedPart], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "not_wrapped_by", lambda *_: [parts[0].object_key])
    with pytest.raises(KeyRecordsDifferError, match="give them the keyring as it is now"):
        rotated(services)


def purged(services: Services, clock: MovableClock, day: date) -> None:
    clock.advance(days=8)
    purge_day(services, day)


def destroyed(services: Services, day: date) -> list[DestroyedKey]:
    return destroy_keys_of_day(services, day, reason="decision 7", before_retention_ends=True)


def test_a_destroyed_key_is_nowhere_and_that_is_on_record(
    services: Services, days: Days, clock: MovableClock, parts: list[ArchivedPart]
) -> None:
    part = parts[0]
    purged(services, clock, part.day)

    (gone,) = destroyed(services, part.day)

    assert part.encryption is not None
    assert (gone.object_key, gone.key_id) == (part.object_key, part.encryption["key_id"])
    assert services.store.stat(record_key(part.object_key)) is None
    assert days.execute("SELECT count(DISTINCT object_key) FROM archive_search_filters") == [(PARTS - 1,)]
    assert days.execute(
        "SELECT wrapped, destroyed_at IS NOT NULL, destruction_reason FROM object_keys WHERE object_key = :key",
        key=part.object_key,
    ) == [(None, True, "decision 7")]
    encryption = Encryption.from_json(part.encryption)
    assert encryption is not None
    with pytest.raises(DataKeyDestroyedError, match="decision 7"):
        services.data_keys.of_object(part.object_key, encryption)
    assert [each.kind for each in verify(services, [part.day]).findings] == [Kind.DATA_KEY_DESTROYED]
    assert (verify_keys(services).destroyed, verify_keys(services).problems) == (1, ())
    assert actions(days) == ["audit.keys.destroy"]
    assert destroyed(services, part.day) == []
    assert rotated(services).keys == PARTS - 1


def test_a_record_that_was_brought_back_after_its_destruction_is_found(
    services: Services, clock: MovableClock, parts: list[ArchivedPart]
) -> None:
    record = services.store.get_bytes(record_key(parts[0].object_key))
    purged(services, clock, parts[0].day)
    destroyed(services, parts[0].day)
    services.store.put_bytes(record_key(parts[0].object_key), record)
    (problem,) = verify_keys(services, repair=True).problems
    assert problem.kind is KeyProblemKind.DESTROYED_AND_THERE


def test_a_destruction_that_is_interrupted_claims_nothing_and_is_repeated(
    services: Services, days: Days, clock: MovableClock, parts: list[ArchivedPart], monkeypatch: pytest.MonkeyPatch
) -> None:
    part = parts[0]
    purged(services, clock, part.day)

    def fail(*_: object) -> None:
        raise Stopped

    # The record is gone by then, and the row not yet.
    with monkeypatch.context() as patch:
        patch.setattr(destruction, "destroy_in_catalogue", fail)
        with pytest.raises(Stopped):
            destroyed(services, part.day)
    assert services.store.stat(record_key(part.object_key)) is None
    assert days.execute("SELECT count(*) FROM object_keys WHERE wrapped IS NULL") == [(0,)]
    assert actions(days) == []

    assert len(destroyed(services, part.day)) == 1
    assert verify_keys(services).destroyed == 1


def test_a_store_that_does_not_let_the_record_go_destroys_nothing(
    services: Services, days: Days, clock: MovableClock, parts: list[ArchivedPart], monkeypatch: pytest.MonkeyPatch
) -> None:
    purged(services, clock, parts[0].day)
    monkeypatch.setattr(KeyRecords, "destroy", lambda *_: None)
    with pytest.raises(ObjectStoreError, match="is still there"):
        destroyed(services, parts[0].day)
    assert days.execute("SELECT count(*) FROM object_keys WHERE wrapped IS NULL") == [(0,)]


def test_nothing_is_destroyed_that_is_still_needed(
    services: Services, clock: MovableClock, parts: list[ArchivedPart]
) -> None:
    day = parts[0].day
    with pytest.raises(KeyDestructionRefusedError, match="its retention ends on"):
        destroy_keys_of_day(services, day, reason="none")
    with pytest.raises(KeyDestructionRefusedError, match="are in PostgreSQL still"):
        destroyed(services, day)
    purged(services, clock, day)
    hold = add_hold(services, NewHold(HoldScope.EVERYTHING, "case 1", "counsel")).hold
    with pytest.raises(KeyDestructionRefusedError, match=f"hold {hold.id} "):
        destroyed(services, day)
    release_hold(services, hold.id, reason="over", author="counsel")
    with pytest.raises(KeyDestructionRefusedError, match="no such part"):
        destroy_keys_of_day(services, day, reason="none", part=2)
    assert len(destroyed(services, day)) == 1


def test_keys_move_from_the_keyring_to_a_service(
    services: Services, parts: list[ArchivedPart], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a service that is a class here; the services themselves are tried in tests/unit/encryption."""
    reference = "awskms:///alias/archives"
    monkeypatch.setattr(key_encryption, "key_of_reference", lambda reference, _: InService(reference))
    moved = replace(services, settings=services.settings.model_copy(update={"audit_archive_kms_key": reference}))
    assert rotated(moved).to == reference
    assert wrapped_by(moved) == {reference: PARTS}
    assert verify(moved, [part.day for part in parts]).ok


class InService:
    """A key that turns bits around."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def wrap(self, secret: bytes, context: object) -> bytes:
        del context
        return bytes(byte ^ 0xFF for byte in secret)

    unwrap = wrap
