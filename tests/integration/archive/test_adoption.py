"""What a process that died between two steps has left is finished by the next one, or named."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.catalogue import DayState, day_summary, parts_of_day
from compliance_pipelines.archive.errors import AdoptionError, OrphanObjectError
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.ledger.anchored import SegmentNotAnchoredError
from tests.integration.archive.days import Stopped, overwrite, stop_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days


def archive_until(services: Services, day: date, step: ArchiveStep) -> None:
    with pytest.raises(Stopped):
        archive_day(services, day, hook=stop_after(step))


def recorded_parts(services: Services, day: date) -> list[ArchivedPart]:
    with services.engine.connect() as connection:
        return parts_of_day(connection, day)


def leave_orphan(services: Services, days: Days, day: date, count: int = 5) -> Path:
    """An object of the day that no manifest commits."""
    days.append(day, count)
    archive_until(services, day, ArchiveStep.OBJECT_PUT)
    (path,) = days.objects(day)
    return path


def test_an_object_without_a_manifest_is_read_back_and_committed_as_it_is(
    services: Services, days: Days, day: date
) -> None:
    path = leave_orphan(services, days, day)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    result = archive_day(services, day)
    (part,) = result.parts
    assert (result.adopted, result.new_parts, part.entry_count) == (True, (1,), 5)
    assert part.verified_at is not None
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert days.objects(day) == [path]
    assert days.cold_rows(day) == days.hot_rows(day)
    ((action, metadata),) = days.audit_records(day)
    assert (action, metadata["adopted"], metadata["object_sha256"]) == (
        "audit.archive",
        True,
        hashlib.sha256(before[0]).hexdigest(),
    )


def test_a_committed_part_that_the_catalogue_does_not_know_is_recorded(
    services: Services, days: Days, day: date
) -> None:
    days.append(day, 5)
    archive_until(services, day, ArchiveStep.MANIFEST_PUT)
    before = [path.read_bytes() for path in days.objects(day) + days.manifests(day)]
    assert recorded_parts(services, day) == []
    result = archive_day(services, day)
    assert (result.adopted, result.new_parts) == (True, (1,))
    assert [path.read_bytes() for path in days.objects(day) + days.manifests(day)] == before
    assert days.audit_actions(day) == ["audit.archive"]
    assert day_summary(services, day)[0] is DayState.VERIFIED


def test_a_part_that_was_recorded_and_not_read_back_is_verified(services: Services, days: Days, day: date) -> None:
    days.append(day, 5)
    archive_until(services, day, ArchiveStep.RECORDED)
    assert day_summary(services, day)[0] is DayState.ARCHIVED
    result = archive_day(services, day)
    assert (result.adopted, result.new_parts) == (True, ())
    assert result.parts[0].verified_at is not None
    assert days.audit_actions(day) == ["audit.archive"]


def test_a_run_that_died_before_it_put_anything_leaves_nothing(services: Services, days: Days, day: date) -> None:
    days.append(day, 5)
    archive_until(services, day, ArchiveStep.STAGED)
    assert (days.objects(day), recorded_parts(services, day)) == ([], [])
    assert not archive_day(services, day).adopted


@pytest.mark.parametrize("step", [ArchiveStep.OBJECT_PUT, ArchiveStep.MANIFEST_PUT])
def test_segments_that_were_sealed_meanwhile_make_another_part(
    services: Services, days: Days, day: date, step: ArchiveStep
) -> None:
    days.append(day, 2)
    days.append(day, 3)
    archive_until(services, day, step)
    days.append(day, 4)
    days.append(day, 1)
    result = archive_day(services, day)
    assert [(part.part, part.entry_count) for part in result.parts] == [(1, 5), (2, 5)]
    assert all(part.verified_at for part in result.parts)
    assert days.cold_rows(day) == days.hot_rows(day)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "cannot be read"),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "cannot be read|does not hold what was sealed"),
        (lambda data: data[:0], "cannot be read"),
    ],
    ids=["half of it", "one bit", "nothing"],
)
def test_a_damaged_object_without_a_manifest_is_named_and_neither_adopted_nor_overwritten(
    services: Services, days: Days, day: date, damage: Callable[[bytes], bytes], reason: str
) -> None:
    path = leave_orphan(services, days, day)
    overwrite(path, damage(path.read_bytes()))
    damaged = path.read_bytes()
    with pytest.raises(OrphanObjectError, match=reason) as caught:
        archive_day(services, day)
    assert path.as_uri() in str(caught.value)
    assert f"compliance archive --beside-damaged {day}" in str(caught.value)
    assert (path.read_bytes(), days.manifests(day), recorded_parts(services, day)) == (damaged, [], [])


def test_an_object_of_other_segments_is_not_adopted(services: Services, days: Days, day: date) -> None:
    path = leave_orphan(services, days, day)
    path.rename(path.with_name(f"audit-logs-{day}.1-00000000.0.parquet"))
    with pytest.raises(OrphanObjectError, match="belongs to no sealed segments"):
        archive_day(services, day)


def test_an_object_with_the_content_of_another_day_is_not_adopted(services: Services, days: Days, day: date) -> None:
    path = leave_orphan(services, days, day)
    other = day.replace(day=1 if day.day > 1 else 2)
    overwrite(path, leave_orphan(services, days, other).read_bytes())
    with pytest.raises(OrphanObjectError, match="does not bear the label of its part"):
        archive_day(services, day)


def test_beside_a_damaged_object_the_part_gets_the_next_number_and_later_runs_pass_by(
    services: Services, days: Days, day: date
) -> None:
    path = leave_orphan(services, days, day)
    overwrite(path, b"damaged")
    result = archive_day(services, day, beside_damaged=True)
    assert [(part.part, part.entry_count) for part in result.parts] == [(2, 5)]
    assert path.read_bytes() == b"damaged"
    assert days.cold_rows(day) == days.hot_rows(day)
    days.append(day, 3)
    assert [(part.part, part.entry_count) for part in archive_day(services, day).parts] == [(2, 5), (3, 3)]
    assert days.cold_rows(day) == days.hot_rows(day)


def test_a_good_object_is_adopted_also_where_damaged_ones_may_be_passed_by(
    services: Services, days: Days, day: date
) -> None:
    leave_orphan(services, days, day)
    assert archive_day(services, day, beside_damaged=True).adopted
    assert len(days.objects(day)) == 1


def test_once_the_damaged_object_is_moved_away_the_day_is_archived_under_its_number(
    services: Services, days: Days, day: date, tmp_path: Path
) -> None:
    path = leave_orphan(services, days, day)
    overwrite(path, b"damaged")
    shutil.move(path, tmp_path / "damaged")
    assert [part.part for part in archive_day(services, day).parts] == [1]


def test_a_committed_part_with_other_segments_than_the_ledger_stops_the_archive(
    services: Services, days: Days, day: date
) -> None:
    days.append(day, 5)
    archive_until(services, day, ArchiveStep.MANIFEST_PUT)
    days.execute("UPDATE ledger_segments SET sealed_at = sealed_at + interval '1 second'")
    with pytest.raises(SegmentNotAnchoredError, match="they do not lead to the root"):
        archive_day(services, day)
    assert recorded_parts(services, day) == []


def test_a_manifest_that_nobody_we_know_signed_stops_the_archive(services: Services, days: Days, day: date) -> None:
    days.append(day, 5)
    archive_until(services, day, ArchiveStep.MANIFEST_PUT)
    (path,) = days.manifests(day)
    overwrite(path, path.read_bytes().replace(b'"compression":"zstd"', b'"compression":"gzip"'))
    with pytest.raises(AdoptionError, match="was altered"):
        archive_day(services, day)
    assert recorded_parts(services, day) == []
