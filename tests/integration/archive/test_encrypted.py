"""A day's life with its archive encrypted, and what becomes of it when a key is not what it should be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.errors import UnreadPartsError
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.readback import Damage
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.archive.scrub import scrub
from compliance_pipelines.audit_log.entry import COLUMNS
from compliance_pipelines.encryption.errors import EncryptionError, KeyEncryptionKeyError
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.encryption.keyring import Keyring
from compliance_pipelines.encryption.wrapped_key import record_key
from compliance_pipelines.settings import ConfigurationError
from compliance_pipelines.verification.findings import Kind, NoteKind
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Stopped, overwrite, stop_after
from tests.support.encrypted import encrypted
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return encrypted(settings, tmp_path)


@pytest.fixture
def part(services: Services, days: Days, day: date) -> ArchivedPart:
    """Of a day with ten entries that is archived and verified."""
    days.append(day, 10)
    archive_day(services, day)
    return part_of(services, day)


def part_of(services: Services, day: date) -> ArchivedPart:
    with services.engine.connect() as connection:
        (part,) = parts_of_day(connection, day)
    return part


def cold(services: Services) -> Path:
    path = services.settings.audit_cold_storage_path
    assert path is not None
    return path


def with_keyring(services: Services, path: Path | None) -> Services:
    return replace(services, settings=services.settings.model_copy(update={"audit_archive_keyring_file": path}))


def another_keyring(tmp_path: Path) -> Path:
    return Keyring.create(tmp_path / "another", datetime.now(UTC)).path


def test_its_whole_life(services: Services, days: Days, day: date, clock: MovableClock, part: ArchivedPart) -> None:
    rows = days.hot_rows(day)
    (path,) = days.objects(day)
    assert path.read_bytes()[:4] == b"PARE"
    assert part.encryption is not None
    assert days.cold_rows(day) == rows
    ((_, said),) = days.audit_records(day)
    assert said["data_key"] == part.encryption["key_id"]

    clock.advance(days=8)
    assert purge_day(services, day).entry_count == 10
    assert verify(services, [day]).ok
    assert days.table_rows(restore_day(services, day).table, day) == rows
    with ArchiveEntryFinder(services).find(rows[3][COLUMNS.index("log_entry_id")], None) as found:
        assert found is not None
        assert found.day == day


def test_the_manifest_names_the_key_and_has_nothing_of_it(
    services: Services, days: Days, day: date, part: ArchivedPart
) -> None:
    (path,) = days.manifests(day)
    body = json.loads(path.read_bytes())["body"]
    assert body["encryption"] == {"algorithm": "AES_GCM_V1", "key_id": part.encryption["key_id"]}  # type: ignore[index]
    record = json.loads(services.store.get_bytes(record_key(part.object_key)))
    assert record["key_id"] == body["encryption"]["key_id"]
    assert record["wrapped"] not in path.read_text()


def test_a_run_that_was_interrupted_is_finished_under_the_same_key(services: Services, days: Days, day: date) -> None:
    days.append(day, 10)
    found = set()
    for step in (ArchiveStep.KEY_PUT, ArchiveStep.OBJECT_PUT, ArchiveStep.MANIFEST_PUT, ArchiveStep.RECORDED, None):
        with pytest.raises(Stopped) if step else nullcontext():
            archive_day(services, day, hook=stop_after(step))
        (record,) = (cold(services) / "audit-keys").rglob("*.json")
        found.add(json.loads(record.read_bytes())["key_id"])
    assert len(found) == 1
    assert days.cold_rows(day) == days.hot_rows(day)


def delete_record(services: Services, days: Days, part: ArchivedPart) -> None:
    del days
    services.store.delete(record_key(part.object_key))


def damage_record(services: Services, days: Days, part: ArchivedPart) -> None:
    del days
    overwrite(cold(services) / record_key(part.object_key), b"{}")


def delete_row(services: Services, days: Days, part: ArchivedPart) -> None:
    del services
    days.execute("DELETE FROM object_keys WHERE object_key = :key", key=part.object_key)


def swap_row(services: Services, days: Days, part: ArchivedPart) -> None:
    del services
    days.execute("UPDATE object_keys SET wrapped = 'x' WHERE object_key = :key", key=part.object_key)


@pytest.mark.parametrize("lose", [delete_record, damage_record, delete_row, swap_row])
def test_with_one_record_of_its_key_a_part_is_read_and_nothing_is_purged(
    services: Services,
    days: Days,
    clock: MovableClock,
    part: ArchivedPart,
    lose: Callable[[Services, Days, ArchivedPart], None],
) -> None:
    rows = days.hot_rows(part.day)
    lose(services, days, part)

    assert days.table_rows(restore_day(services, part.day).table, part.day) == rows
    clock.advance(days=8)
    with pytest.raises(EncryptionError) as refused:
        purge_day(services, part.day)
    assert "key" in str(refused.value)
    assert days.hot_rows(part.day) == rows


def test_without_any_record_of_its_key_a_part_is_lost_and_that_is_found(
    services: Services, days: Days, part: ArchivedPart
) -> None:
    delete_record(services, days, part)
    delete_row(services, days, part)
    report = verify(services, [part.day])
    assert [finding.kind for finding in report.findings] == [Kind.DATA_KEY_MISSING]
    assert part.encryption is not None
    assert part.encryption["key_id"] in report.findings[0].message


def test_another_key_of_the_same_name_is_no_damage_but_an_error(
    services: Services, part: ArchivedPart, tmp_path: Path
) -> None:
    report = verify(with_keyring(services, another_keyring(tmp_path)), [part.day])
    assert report.findings == ()
    (undecided,) = report.undecided
    assert "is not in the keyring" in undecided.message


def test_without_keys_what_is_encrypted_is_compared_by_its_hash_and_that_is_said(
    services: Services, days: Days, part: ArchivedPart
) -> None:
    without = with_keyring(services, None)
    report = verify(without, [part.day])
    assert (report.findings, report.checked.parts, report.checked.parts_by_hash) == ((), 1, 1)
    assert not report.ok
    assert "compared by their SHA-256 alone" in report.undecided[0].message

    with pytest.raises(KeyEncryptionKeyError, match="AUDIT_ARCHIVE_KEYRING_FILE is not set"):
        restore_day(without, part.day)
    (path,) = days.objects(part.day)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))
    assert [finding.kind for finding in verify(without, [part.day]).findings] == [Kind.OBJECT_ALTERED]


def test_nothing_is_archived_without_keys(services: Services, days: Days, day: date) -> None:
    days.append(day, 10)
    with pytest.raises(ConfigurationError, match="no key for archives: set AUDIT_ARCHIVE_KEYRING_FILE"):
        archive_day(with_keyring(services, None), day)
    assert days.objects(day) == []


def test_the_plain_file_in_its_place_is_named_for_what_it_is(
    services: Services, days: Days, day: date, part: ArchivedPart, tmp_path: Path
) -> None:
    """Whoever puts the same entries there unencrypted has altered the object."""
    del part
    (path,) = days.objects(day)
    table = pq.read_table(path, decryption_properties=days.decryption(path))
    pq.write_table(table, tmp_path / "plain.parquet")
    overwrite(path, (tmp_path / "plain.parquet").read_bytes())
    (finding,) = verify(services, [day]).findings
    assert finding.kind is Kind.OBJECT_ALTERED
    assert "holds every entry as it was sealed in another file" in finding.message


def test_a_copy_is_verified_with_the_keyring_in_full_and_without_it_by_hashes(
    services: Services, part: ArchivedPart
) -> None:
    seal_all(services)
    copy, key = cold(services), services.verifier_key
    keys = KeyEncryptionKeys(services.settings.audit_archive_keyring_file)

    report = verify_copy(copy, key, archive_keys=keys)
    assert report.ok
    assert (report.checked.parts, report.checked.parts_by_hash, report.checked.archived_entries) == (1, 0, 10)
    assert NoteKind.OBJECT_UNKNOWN not in {note.kind for note in report.notes}

    report = verify_copy(copy, key)
    assert (report.ok, report.findings, report.checked.parts_by_hash) == (False, (), 1)

    overwrite(copy / record_key(part.object_key), b"{}")
    assert [each.kind for each in verify_copy(copy, key, archive_keys=keys).findings] == [Kind.DATA_KEY_ALTERED]


def test_what_lies_among_the_records_and_is_none_is_noted(services: Services, part: ArchivedPart) -> None:
    del part
    services.store.put_bytes("audit-keys/somebody", b"was here")
    report = verify_copy(cold(services), services.verifier_key)
    assert [note.key for note in report.notes if note.kind is NoteKind.OBJECT_UNKNOWN] == ["audit-keys/somebody"]


def test_an_orphan_whose_key_is_missing_is_not_adopted(services: Services, days: Days, day: date) -> None:
    days.append(day, 10)
    with pytest.raises(Stopped):
        archive_day(services, day, hook=stop_after(ArchiveStep.OBJECT_PUT))
    (path,) = days.objects(day)
    services.store.delete(record_key(str(path.relative_to(cold(services)))))
    with pytest.raises(Exception, match="cannot be adopted"):
        archive_day(services, day)
    result = archive_day(services, day, beside_damaged=True)
    assert [part.part for part in result.parts] == [2]


def test_a_catalogue_that_was_lost_has_the_keys_again_with_the_parts(
    services: Services, days: Days, day: date, part: ArchivedPart
) -> None:
    days.execute("DELETE FROM object_keys")
    days.execute("DELETE FROM archived_segments")
    days.execute("DELETE FROM archived_audit_logs")
    days.execute("SELECT audit_recount_backlog()")

    assert archive_day(services, day).adopted
    assert part_of(services, day).encryption == part.encryption
    services.data_keys.require_both_records(part.object_key, part.encryption)


def test_a_keyring_that_is_gone_says_nothing_about_the_archive(services: Services, part: ArchivedPart) -> None:
    assert services.settings.audit_archive_keyring_file is not None
    services.settings.audit_archive_keyring_file.unlink()
    with pytest.raises(KeyEncryptionKeyError, match="cannot be read"):
        restore_day(services, part.day)


def test_the_documented_lines_of_python_unwrap_a_key_and_read_the_object(
    services: Services, days: Days, day: date, part: ArchivedPart
) -> None:
    document = (Path(__file__).parents[3] / "docs" / "encryption.md").read_text(encoding="utf-8")
    (path,) = days.objects(day)
    keyring = services.settings.audit_archive_keyring_file
    assert keyring is not None
    blocks = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    lines = "\n".join(blocks).replace("archives.keyring", str(keyring)).replace("FILE", str(path))
    lines = re.sub(r"COPY/audit-keys/[^\"]*", str(cold(services) / record_key(part.object_key)), lines)
    lines += (
        f"\nassert pq.read_table('{path}', decryption_properties=pe.create_decryption_properties(key)).num_rows == 10"
    )
    found = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_a_scrub_without_the_keyring_finds_no_damage_and_counts_nothing_as_read(
    services: Services, days: Days, part: ArchivedPart, tmp_path: Path
) -> None:
    with pytest.raises(UnreadPartsError, match="is not in the keyring"):
        scrub(with_keyring(services, another_keyring(tmp_path)), {part.day})
    assert days.execute("SELECT count(*) FROM archive_scrubs") == [(0,)]
    assert len(scrub(services, {part.day}).damaged) == 0


def test_a_scrub_finds_that_a_key_is_gone(services: Services, days: Days, part: ArchivedPart) -> None:
    delete_record(services, days, part)
    delete_row(services, days, part)
    (damaged,) = scrub(services, {part.day}).damaged
    assert [finding.kind for finding in damaged.findings] == [Damage.DATA_KEY_MISSING]
