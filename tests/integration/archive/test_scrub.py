"""Archives are read back again and again, and what is found, or could not be looked at, is on record."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.errors import ArchiveError, PartsUnreadForNowError, UnreadPartsError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.scrub import scrub
from compliance_pipelines.archive.scrub_record import scrub_state
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.object_store.port import ObjectStoreError, RefusedByStoreError
from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.postgres.locks import process_lock
from tests.integration.archive.days import overwrite, remove
from tests.integration.archive.faulty_store import FaultyStore
from tests.support.command import Command
from tests.support.damage import turn_bit

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date
    from pathlib import Path
    from typing import BinaryIO

    from compliance_pipelines.archive.readback import PartCheck
    from compliance_pipelines.archive.scrub import ScrubResult
    from compliance_pipelines.archive.scrub_record import ScrubState
    from compliance_pipelines.object_store.port import ObjectInfo, ObjectStore
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days


@pytest.fixture
def archived(services: Services, days: Days, day: date) -> list[date]:
    """Four days that were archived, and verified then."""
    archived = [day + timedelta(days=number) for number in range(4)]
    for each in archived:
        days.append(each, 10)
        archive_day(services, each)
    return archived


def last_read(days: Days, day: date, ago: int) -> None:
    """Let the last reading of a day lie that many days back."""
    days.execute(
        "UPDATE archived_audit_logs SET verified_at = now() - make_interval(days => :ago) WHERE day = :day",
        day=day,
        ago=ago,
    )
    days.execute(
        "UPDATE archive_scrubs SET read_at = now() - make_interval(days => :ago) WHERE day = :day", day=day, ago=ago
    )


def state_of(services: Services) -> ScrubState:
    with services.engine.connect() as connection:
        return scrub_state(services, connection)


def read_by(services: Services, budget: int | None = None) -> tuple[list[date], ScrubResult]:
    """The days that a scrub read, in order, and its result."""
    read: list[date] = []

    def note(checked: PartCheck) -> None:
        read.append(checked.day)

    return read, scrub(services, on_part=note, budget=budget)


def size_of(days: Days, day: date) -> int:
    (path,) = days.objects(day)
    return path.stat().st_size


def readings(days: Days) -> list[tuple[object, ...]]:
    return days.execute("SELECT day, part, object_bytes, damage FROM archive_scrubs ORDER BY id")


def test_what_was_verified_lately_is_left_alone_until_its_time_comes(
    services: Services, days: Days, archived: list[date], clock: MovableClock
) -> None:
    clock.advance(days=74)
    assert read_by(services)[0] == []
    assert state_of(services).overdue == ()
    clock.advance(days=2)
    read, result = read_by(services)
    assert read == archived
    assert result.parts == 4
    assert result.object_bytes == sum(size_of(days, each) for each in archived)
    assert readings(days) == [(each, 1, size_of(days, each), None) for each in archived]


def test_the_longest_unread_comes_first_and_what_was_never_read_before_all(
    services: Services, days: Days, archived: list[date]
) -> None:
    first, second, third, fourth = archived
    for day, ago in ((first, 80), (second, 200), (third, 120), (fourth, 10)):
        last_read(days, day, ago)
    days.execute("UPDATE archived_audit_logs SET verified_store = gen_random_uuid() WHERE day = :day", day=third)
    assert read_by(services)[0] == [third, second, first]
    assert read_by(services)[0] == []


def test_a_day_has_a_budget_that_all_its_runs_share_and_that_one_part_may_exceed(
    services: Services, days: Days, archived: list[date], clock: MovableClock
) -> None:
    for number, day in enumerate(archived):
        last_read(days, day, 200 - number)
    budget = size_of(days, archived[0]) + 1
    read, result = read_by(services, budget=budget)
    assert (read, result.waiting) == (archived[:2], 2)
    assert read_by(services, budget=budget)[0] == []
    clock.advance(days=1)
    read, result = read_by(services, budget=1)
    assert (read, result.waiting) == (archived[2:3], 1)


def test_the_setting_is_the_budget(services: Services, days: Days, archived: list[date]) -> None:
    for day in archived:
        last_read(days, day, 200)
    settings = services.settings.model_copy(update={"audit_archive_scrub_bytes_per_day": 1})
    assert read_by(replace(services, settings=settings))[0] == archived[:1]
    state = state_of(replace(services, settings=settings))
    assert not state.budget_suffices
    assert state.needed_bytes_per_day == -(-sum(size_of(days, each) for each in archived) // 90)


def test_damage_is_recorded_and_named_until_a_reading_finds_it_whole(
    services: Services, days: Days, archived: list[date]
) -> None:
    flipped, gone, without_manifest, _ = archived
    (path,) = days.objects(flipped)
    whole = path.read_bytes()
    turn_bit(path)
    remove(days.objects(gone)[0])
    remove(days.manifests(without_manifest)[0])
    for day in archived:
        last_read(days, day, 100)

    result = scrub(services)

    assert [(part.day, part.part) for part in result.damaged] == [(flipped, 1), (gone, 1), (without_manifest, 1)]
    assert [part.day for part in state_of(services).damaged] == archived[:3]
    ((*_, damage),) = [row for row in readings(days) if row[0] == gone]
    ((key,),) = days.execute("SELECT object_key FROM archived_audit_logs WHERE day = :day", day=gone)
    assert damage == [f"{key} is missing from the cold store"]
    for day in archived[:3]:
        assert days.audit_actions(day) == ["audit.archive", "audit.damage"]
    action, metadata = days.audit_records(flipped)[-1]
    assert (action, metadata["part"], metadata["damage"][0]["kind"]) == ("audit.damage", 1, "object_altered")

    # Damaged ones are looked at once a day, and said once.
    assert scrub(services).parts == 0
    last_read(days, flipped, 1)
    assert [part.day for part in scrub(services).damaged] == [flipped]
    assert days.audit_actions(flipped) == ["audit.archive", "audit.damage"]
    overwrite(path, whole)
    assert scrub(services, {flipped}).damaged == ()
    assert [part.day for part in state_of(services).damaged] == [gone, without_manifest]


def test_what_is_overdue_is_so_until_it_is_read(
    services: Services, days: Days, archived: list[date], clock: MovableClock
) -> None:
    for day in archived:
        last_read(days, day, 89)
    assert state_of(services).overdue == ()
    clock.advance(days=2)
    assert [part.day for part in state_of(services).overdue] == archived
    clock.advance(days=-2)
    scrub(services)
    assert state_of(services).overdue == ()


class Failing(FaultyStore):
    """A store that fails for the objects of some days."""

    def __init__(self, store: ObjectStore, days: Collection[date], error: Exception) -> None:
        super().__init__(store)
        self._failing = tuple(f"audit-logs-{day}." for day in days)
        self._error = error

    def stat(self, key: str) -> ObjectInfo | None:
        if key.endswith(".parquet") and any(part in key for part in self._failing):
            self.calls.append(key)
            raise self._error
        return super().stat(key)


def test_one_that_cannot_be_read_is_no_damage_stays_due_and_stops_no_other(
    services: Services, days: Days, archived: list[date]
) -> None:
    for day in archived:
        last_read(days, day, 100)
    store = Failing(services.store, archived[1:2], ObjectStoreError("the store does not answer"))
    with pytest.raises(PartsUnreadForNowError, match=rf"1 parts .* stay due: {archived[1]} part 1: the store does not"):
        scrub(replace(services, store=store))
    assert [row[0] for row in readings(days)] == [archived[0], *archived[2:]]
    assert state_of(services).damaged == ()
    assert [part.day for part in state_of(services).overdue] == archived[1:2]
    assert read_by(services)[0] == [archived[1]]


def test_what_could_not_be_read_counts_for_the_budget_of_its_run(
    services: Services, days: Days, archived: list[date]
) -> None:
    for number, day in enumerate(archived):
        last_read(days, day, 200 - number)
    store = Failing(services.store, archived[:1], ObjectStoreError("the store does not answer"))
    with pytest.raises(PartsUnreadForNowError):
        scrub(replace(services, store=store), budget=1)
    assert readings(days) == []


def test_a_right_that_is_missing_is_a_failure_for_good(services: Services, days: Days, archived: list[date]) -> None:
    last_read(days, archived[0], 100)
    store = Failing(services.store, archived[:1], RefusedByStoreError("access denied"))
    with pytest.raises(UnreadPartsError, match="access denied") as refused:
        scrub(replace(services, store=store))
    assert not isinstance(refused.value, TransientError)
    assert readings(days) == []


def test_a_store_that_went_away_while_it_was_read_has_lost_nothing(
    services: Services, days: Days, archived: list[date], tmp_path: Path
) -> None:
    """The objects of a volume that is not mounted any more are not missing."""
    last_read(days, archived[0], 100)
    cold = tmp_path / "cold"

    class Going(FaultyStore):
        def stat(self, key: str) -> ObjectInfo | None:
            if key.endswith(".parquet"):
                cold.rename(tmp_path / "away")
                cold.mkdir()
            return super().stat(key)

    with pytest.raises((LedgerError, ArchiveError)):
        scrub(replace(services, store=Going(services.store)))
    assert readings(days) == []


def test_a_store_that_is_down_is_not_asked_for_every_part(services: Services, days: Days, archived: list[date]) -> None:
    for day in archived:
        last_read(days, day, 100)
    store = Failing(services.store, archived, ObjectStoreError("it is down"))
    with pytest.raises(PartsUnreadForNowError, match=r"3 parts could not be read back.*The others were not tried"):
        scrub(replace(services, store=store))
    assert sum(call.endswith(".parquet") for call in store.calls) == 3


def test_two_at_once_are_refused(services: Services, archived: list[date]) -> None:
    assert archived
    with (
        services.engine.connect() as connection,
        process_lock(connection, "scrub", doing="a test"),
        pytest.raises(LockBusyError, match="reading archives back: another process is at it"),
    ):
        scrub(services)


def test_an_expired_part_is_not_read(services: Services, days: Days, archived: list[date]) -> None:
    for day in archived:
        last_read(days, day, 100)
    days.execute(
        "UPDATE archived_audit_logs SET purged_at = verified_at, expired_at = now() WHERE day = :day", day=archived[1]
    )
    remove(days.objects(archived[1])[0])
    assert read_by(services)[0] == [archived[0], *archived[2:]]
    assert state_of(services).parts == 3
    with pytest.raises(ArchiveError, match=f"{archived[1]}: there is no archive in the cold store to be read back"):
        scrub(services, {archived[0], archived[1]})


def test_what_the_catalogue_says_otherwise_by_now_is_not_recorded(
    services: Services, days: Days, archived: list[date]
) -> None:
    last_read(days, archived[0], 100)
    turn_bit(days.objects(archived[0])[0])

    class Repaired(FaultyStore):
        def open(self, key: str) -> BinaryIO:
            days.execute("UPDATE archived_audit_logs SET object_version = 'other' WHERE day = :day", day=archived[0])
            return super().open(key)

    result = scrub(replace(services, store=Repaired(services.store)))
    assert (result.parts, result.damaged, readings(days)) == (0, (), [])


def test_nobody_chooses_when_a_reading_was_or_takes_it_back(services: Services, days: Days, day: date) -> None:
    days.append(day, 1)
    archive_day(services, day)
    scrub(services, {day})
    for statement in (
        "INSERT INTO archive_scrubs (read_at) VALUES (now())",
        "UPDATE archive_scrubs SET damage = NULL",
        "DELETE FROM archive_scrubs",
        "UPDATE archived_audit_logs SET object_sha256 = 'another'",
    ):
        with pytest.raises(DBAPIError, match="permission denied"), services.engine.begin() as connection:
            connection.exec_driver_sql(statement)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, settings: Settings
) -> Command:
    command = Command(monkeypatch, capsys, tmp_path)
    command.use(settings)
    return command


def test_the_command_says_what_it_read_and_found(days: Days, archived: list[date], run: Command) -> None:
    first, second, *_ = archived
    for number, day in enumerate(archived[:3]):
        last_read(days, day, 102 - number)
    done = run("scrub", "--budget", "1")
    assert (done.status, done.out.splitlines()[0][:19]) == (1, "1 parts read back, ")
    assert "2 more are due and left for another day by the budget" in done.out
    assert f"overdue: {second} part 1, {archived[2]} part 1" in done.err
    assert run("scrub").status == 0

    turn_bit(days.objects(first)[0])
    done = run("scrub", first, second)
    assert done.status == 1
    assert done.out.startswith("2 parts read back, ")
    assert done.out.endswith("; 1 damaged\n")
    assert done.err.startswith(f"{first} part 1: audit-archives/")
    document = json.loads(run("status", "--json").out)["read_back"]
    assert (document["parts"], document["overdue"]) == (4, [])
    assert [(each["day"], each["part"]) for each in document["damaged"]] == [(str(first), 1)]
    assert f"DAMAGED: {first} part 1" in " ".join(run("status").out.replace("│", " ").split())


@pytest.mark.parametrize("arguments", [["--budget", "0"], ["--budget", "1", "2026-01-01"], ["yesterday"]])
def test_wrong_usage_is_status_2(run: Command, arguments: list[str]) -> None:
    assert run("scrub", *arguments).status == 2
