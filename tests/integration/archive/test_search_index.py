"""Filters are there for what is verified, are what the cold store holds, and go with the key or the object."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive import parquet
from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.errors import UnreadPartsError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.repair import repair_day
from compliance_pipelines.archive.scrub import scrub
from compliance_pipelines.archive.search_index import RebuildResult, parts_without_filters, rebuild
from compliance_pipelines.encryption.keyring import Keyring
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.search_filters import Matching, Wanted, matching_row_groups
from tests.integration.archive.days import entry
from tests.support.command import Command
from tests.support.damage import turn_bit
from tests.support.encrypted import encrypted

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.integration.archive.days import Days, Row

_FILTERS: Final = "SELECT * FROM archive_search_filters ORDER BY object_key, row_group, column_name"
_COLUMNS: Final = ("action", "resource_id", "resource_type", "user_id")
_PEOPLE: Final = Wanted(user_ids=frozenset({"user-8", "user-nobody"}), actions=frozenset({"message.send"}))
_NOBODY: Final = Wanted(user_ids=frozenset({"user-nobody"}))
_CORRECTED: Final = "audit.search_index.correct"


@pytest.fixture(params=["encrypted", "plain"])
def settings(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    return encrypted(settings, tmp_path) if request.param == "encrypted" else settings


@pytest.fixture
def part(services: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch) -> ArchivedPart:
    """Of a day with ten entries in three row groups that is archived and verified; the last two are of user-8."""
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 4)
    days.append_entries(day, [entry(day, n, user_id="user-8" if n >= 8 else f"user-{n % 2}") for n in range(10)])
    archive_day(services, day)
    return part_of(services, day)


def part_of(services: Services, day: date) -> ArchivedPart:
    with services.engine.connect() as connection:
        (part,) = parts_of_day(connection, day)
    return part


def filters(days: Days) -> list[Row]:
    return [
        tuple(bytes(each) if isinstance(each, memoryview) else each for each in row) for row in days.execute(_FILTERS)
    ]


def asked(services: Services, part: ArchivedPart, wanted: Wanted = _PEOPLE) -> Matching:
    with services.engine.connect() as connection:
        return matching_row_groups(connection, [part], wanted, services.data_keys)


def without_filters(services: Services) -> list[tuple[date, int]]:
    with services.engine.connect() as connection:
        return parts_without_filters(connection)


def test_what_is_verified_can_be_searched_and_its_filters_made_again(
    services: Services, days: Days, day: date, part: ArchivedPart, reader_database_url: str
) -> None:
    made = filters(days)
    assert [row[:4] for row in made] == [(part.object_key, column, n, 3) for n in range(3) for column in _COLUMNS]
    found = asked(services, part)
    assert dict(found) == {part.object_key: (2,)}
    assert dict(asked(services, part, _NOBODY)) == {part.object_key: ()}
    assert dict(asked(services, part, Wanted())) == {part.object_key: None}
    # What can be left out because of filters that everybody can make is said.
    assert found.on_trust == (() if part.encryption else (part.object_key,))
    assert (found.not_believed, found.without, found.without_key) == ((), (), ())
    # With an auditor's login as well.
    auditor = replace(services, engine=create_engine(reader_database_url, pool_size=1))
    assert dict(asked(auditor, part)) == {part.object_key: (2,)}
    auditor.engine.dispose()

    days.execute("DELETE FROM archive_search_filters")
    found = asked(services, part)
    assert (dict(found), found.without) == ({part.object_key: None}, (part.object_key,))
    assert without_filters(services) == [(day, 1)]
    assert rebuild(services, first=day, last=day, missing=True).made == 1
    # Decoded from a copy and not from what was written a moment ago, byte for byte the same.
    assert filters(days) == made
    assert rebuild(services, missing=True).parts == 0
    assert rebuild(services) == RebuildResult(parts=1)
    assert scrub(services, {day}).indexed == 0
    assert filters(days) == made
    assert days.audit_actions(day) == ["audit.archive"]


_ALTERATIONS: Final = (
    "UPDATE archive_search_filters SET bits = decode(repeat('00', 32), 'hex') WHERE column_name = 'user_id'",
    "DELETE FROM archive_search_filters WHERE row_group = 2",
    "DELETE FROM archive_search_filters WHERE column_name = 'user_id'",
    """WITH gone AS (DELETE FROM archive_search_filters WHERE row_group = 2)
       UPDATE archive_search_filters SET row_groups = 2 WHERE row_group < 2""",
)


@pytest.mark.parametrize("settings", ["encrypted"], indirect=True)
def test_what_somebody_altered_is_not_believed_and_is_found_by_the_scrub(
    services: Services, days: Days, day: date, part: ArchivedPart
) -> None:
    made = filters(days)
    for number, alteration in enumerate(_ALTERATIONS, start=1):
        days.execute(alteration)

        found = asked(services, part)
        assert (dict(found), found.not_believed) == ({part.object_key: None}, (part.object_key,)), alteration

        done = scrub(services, {day})
        assert (done.misindexed, done.indexed, done.damaged) == (((day, 1),), 0, ())
        assert filters(days) == made
        assert days.audit_actions(day) == ["audit.archive", *[_CORRECTED] * number]


@pytest.mark.parametrize("settings", ["encrypted"], indirect=True)
def test_a_repaired_part_has_filters_of_its_own_and_a_damaged_one_keeps_its(
    services: Services, days: Days, day: date, part: ArchivedPart
) -> None:
    made = filters(days)
    turn_bit(days.objects(day)[0])
    assert [each.part for each in rebuild(services).damaged] == [1]
    assert filters(days) == made

    repair_day(services, day)

    after = part_of(services, day)
    assert {row[0] for row in filters(days)} == {after.object_key} != {part.object_key}
    assert dict(asked(services, after)) == {after.object_key: (2,)}
    # Those of the revision before are not those of this one, whoever copies them.
    *_, (_, _, _, _, _, bits, mac) = made
    place = "WHERE row_group = 2 AND column_name = 'user_id'"
    days.execute(f"UPDATE archive_search_filters SET bits = :bits, mac = :mac {place}", bits=bits, mac=mac)
    assert asked(services, after).not_believed == (after.object_key,)


@pytest.mark.parametrize("settings", ["encrypted"], indirect=True)
def test_without_its_key_a_part_is_read_and_its_filters_are_left(
    services: Services, days: Days, day: date, part: ArchivedPart, tmp_path: Path
) -> None:
    other = Keyring.create(tmp_path / "other", datetime.now(UTC)).path
    for keyring in (other, None):
        found = asked(replace_keyring(services, keyring), part)
        assert (dict(found), found.without_key) == ({part.object_key: None}, (part.object_key,))
    made = filters(days)
    with pytest.raises(UnreadPartsError, match="1 parts could not be read back, and have the filters that they had"):
        rebuild(replace_keyring(services, other))
    assert filters(days) == made


def replace_keyring(services: Services, keyring: Path | None) -> Services:
    return replace(services, settings=services.settings.model_copy(update={"audit_archive_keyring_file": keyring}))


@pytest.mark.parametrize("settings", ["plain"], indirect=True)
def test_the_command_says_what_it_found(
    days: Days,
    part: ArchivedPart,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    run = Command(monkeypatch, capsys, tmp_path)
    run.use(days.services.settings)
    days.execute("UPDATE archive_search_filters SET object_key = 'audit-archives/of-nobody'")
    done = run("search-index", "rebuild", "--missing")
    assert done.status == 0
    assert done.out.startswith("1 parts read back; 1 had no filters, 0 had others, 0 are damaged and were left alone; ")
    assert done.out.endswith("; filters of 1 objects that are not kept were removed\n")
    days.execute("UPDATE archive_search_filters SET distinct_values = 7 WHERE row_group = 1")
    done = run("search-index", "rebuild", "--from", part.day, "--to", part.day)
    assert done.status == 1
    assert f"{part.day} part 1: its filters were not those of what it holds, and are now" in done.err
    turn_bit(days.objects(part.day)[0])
    done = run("search-index", "rebuild")
    assert done.status == 1
    assert "was altered: its bytes do not have the SHA-256 that was committed" in done.err
    assert run("search-index", "rebuild", "--from", "2026-01-02", "--to", "2026-01-01").status == 2
