"""A damaged part that is encrypted is written again under a key that is on record twice, and expires with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.expiry import expire_day
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.part_keys import verify_keys
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.repair import RepairStep, repair_day
from compliance_pipelines.archive.repair_sources import Sources
from compliance_pipelines.encryption.wrapped_key import record_key
from compliance_pipelines.holds.active import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from compliance_pipelines.verification.findings import NoteKind
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Stopped, remove, stop_after
from tests.integration.archive.test_repair import copy, flip, is_whole, part_of, purged, rows
from tests.support.encrypted import encrypted
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.object_store.local import LocalObjectStore
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days, Row

__all__ = ["copy", "purged", "rows"]  # fixtures

_YEARS = 1


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    first_day = (datetime.now(UTC) - timedelta(days=1_000)).date()
    update = {"audit_cold_storage_retention_years": _YEARS, "audit_log_first_day": first_day}
    return encrypted(settings, tmp_path).model_copy(update=update)


@pytest.fixture
def day() -> date:
    """One whose retention is over by a month."""
    return (datetime.now(UTC) - timedelta(days=400)).date()


def test_its_rows_are_encrypted_again_under_another_key(
    services: Services, days: Days, day: date, rows: list[Row]
) -> None:
    before = part_of(services, day)
    flip(days, day)

    repair_day(services, day)

    after = part_of(services, day)
    assert before.encryption is not None
    assert after.encryption is not None
    assert after.encryption["key_id"] != before.encryption["key_id"]
    (path,) = (path for path in days.objects(day) if path.name.endswith(".1.parquet"))
    assert path.read_bytes()[:4] == b"PARE"
    services.data_keys.require_both_records(after.object_key, after.encryption)
    assert verify_keys(services).problems == ()
    is_whole(services, days, day, rows, 1)


def test_the_bytes_that_were_committed_keep_their_key_as_another_revision(
    services: Services, days: Days, day: date, purged: list[Row], copy: LocalObjectStore
) -> None:
    before = part_of(services, day)
    flip(days, day)

    repair_day(services, day, Sources(copy=copy))

    after = part_of(services, day)
    assert (after.object_sha256, after.encryption) == (before.object_sha256, before.encryption)
    assert after.object_key != before.object_key
    services.data_keys.require_both_records(after.object_key, after.encryption)
    is_whole(services, days, day, purged, 1)


def test_a_part_whose_key_was_lost_is_written_again_while_its_rows_are_there(
    services: Services, days: Days, day: date, rows: list[Row]
) -> None:
    services.store.delete(record_key(part_of(services, day).object_key))
    days.execute("DELETE FROM object_keys")
    (repaired,) = repair_day(services, day).repaired
    assert "is on no record" in repaired.damage[0]
    is_whole(services, days, day, rows, 1)


@pytest.mark.parametrize(
    "step", [RepairStep.FOUND, RepairStep.OBJECT_PUT, RepairStep.MANIFEST_PUT, RepairStep.READ_BACK]
)
def test_a_repair_that_was_interrupted_is_finished(
    services: Services, days: Days, day: date, rows: list[Row], step: RepairStep
) -> None:
    flip(days, day)
    with pytest.raises(Stopped):
        repair_day(services, day, hook=stop_after(step))
    repair_day(services, day)
    part = part_of(services, day)
    services.data_keys.require_both_records(part.object_key, part.encryption)
    assert verify(services, [day]).ok
    assert days.hot_rows(day) == rows


@pytest.fixture
def repaired(services: Services, days: Days, day: date, rows: list[Row], clock: MovableClock) -> ArchivedPart:
    """A part that was repaired and whose rows left PostgreSQL, with the damaged revision beside it."""
    assert rows
    flip(days, day)
    repair_day(services, day)
    clock.advance(days=8)
    purge_day(services, day)
    seal_all(services)
    return part_of(services, day)


def test_what_expires_goes_with_all_its_revisions_and_their_keys(
    services: Services, days: Days, repaired: ArchivedPart, tmp_path: Path
) -> None:
    day = repaired.day
    assert (len(days.objects(day)), len(days.manifests(day))) == (2, 2)

    assert len(expire_day(services, day).expired) == 1

    assert (days.objects(day), days.manifests(day)) == ([], [])
    assert list((tmp_path / "cold" / "audit-keys").rglob("*.json")) == []
    assert days.execute("SELECT count(*), count(wrapped) FROM object_keys") == [(2, 0)]
    report = verify(services)
    assert (report.findings, {note.kind for note in report.notes}) == ((), {NoteKind.PART_EXPIRED})


def test_the_key_of_a_revision_whose_object_was_lost_goes_too(
    services: Services, days: Days, repaired: ArchivedPart, tmp_path: Path
) -> None:
    day = repaired.day
    remove(days.objects(day)[0])
    assert len(expire_day(services, day).expired) == 1
    assert list((tmp_path / "cold" / "audit-keys").rglob("*.json")) == []


def test_a_held_day_is_repaired(services: Services, days: Days, day: date, rows: list[Row]) -> None:
    add_hold(services, NewHold(HoldScope.EVERYTHING, "case 1", "counsel"))
    flip(days, day)
    repair_day(services, day)
    is_whole(services, days, day, rows, 1)
    assert json.dumps(part_of(services, day).encryption)
    assert archive_day(services, day).new_parts == ()
