"""What a legal hold covers is held by the cold store itself, until the last hold on it is released."""

from __future__ import annotations

import io
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.store_holds import (
    HoldDifferences,
    HoldStep,
    SyncedHolds,
    compare_store_holds,
    sync_store_holds,
)
from compliance_pipelines.holds import HoldScope, active_holds
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.object_store.port import ObjectStoreError, RefusedByStoreError
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.archive.days import Stopped, stop_after
from tests.integration.archive.faulty_store import Fault, FaultyStore
from tests.integration.erasure.command import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date

    import sqlalchemy
    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

BY = ("--reason", "case 1", "--author", "counsel")
EVERYTHING = NewHold(HoldScope.EVERYTHING, "case 1", "counsel")
SOMEBODY = NewHold(HoldScope.USER, "case 2", "counsel", subject="user:nobody-here")


def of_day(day: date) -> NewHold:
    return NewHold(HoldScope.DAYS, "case 3", "counsel", first_day=day, last_day=day)


@pytest.fixture
def object_store(s3_client: S3Client) -> S3ObjectStore:
    """In place of a directory: a bucket that can lock, in which nothing is locked."""
    return S3ObjectStore(s3_client, S3Bucket("locks", prefix=uuid.uuid4().hex[:8]))


@pytest.fixture
def archived(services: Services, days: Days, day: date) -> Callable[[], ArchivedPart]:
    """Archive a day that has ten entries more, and give its last part."""

    def archive() -> ArchivedPart:
        days.append(day, 10)
        archive_day(services, day)
        return part_of(services, day)

    return archive


def part_of(services: Services, day: date) -> ArchivedPart:
    with services.engine.connect() as connection:
        return parts_of_day(connection, day)[-1]


def held(services: Services, part: ArchivedPart) -> list[bool | None]:
    store = services.store.at_versions(part.versions)
    return [store.has_hold(key) for key in (part.object_key, part.manifest_key)]


def rows(days: Days) -> list[tuple[object, ...]]:
    return days.execute("SELECT key, set_at IS NOT NULL FROM archive_store_holds ORDER BY key")


def test_a_hold_holds_in_the_store_and_the_server_refuses_every_deletion(
    services: Services, archived: Callable[[], ArchivedPart], s3_client: S3Client, object_store: S3ObjectStore
) -> None:
    part = archived()
    assert held(services, part) == [False, False]
    hold = add_hold(services, of_day(part.day)).hold

    done = sync_store_holds(services)

    assert sorted(done.set) == sorted([part.object_key, part.manifest_key])
    assert held(services, part) == [True, True]
    for key in (part.object_key, part.manifest_key):
        with pytest.raises(ClientError, match="AccessDenied"):
            s3_client.delete_object(
                Bucket="locks",
                Key=object_store.object_key(key),
                VersionId=part.versions[key],
                BypassGovernanceRetention=True,
            )
        with pytest.raises(RefusedByStoreError):
            services.store.delete(key)

    release_hold(services, hold.id, reason="over", author="judge")
    assert sorted(sync_store_holds(services).lifted) == sorted([part.object_key, part.manifest_key])
    assert held(services, part) == [False, False]


def test_each_change_is_on_record_with_the_hold_that_made_it(
    services: Services, days: Days, archived: Callable[[], ArchivedPart]
) -> None:
    part = archived()
    hold = add_hold(services, of_day(part.day)).hold
    sync_store_holds(services)
    sync_store_holds(services)
    release_hold(services, hold.id, reason="over", author="judge")
    sync_store_holds(services)

    told = [(action, found) for action, found in days.audit_records(part.day) if action.startswith("hold.")]

    objects = [services.store.locate(key) for key in sorted((part.object_key, part.manifest_key))]
    assert told == [
        ("hold.store_set", {"part": 1, "objects": objects, "hold": hold.id}),
        ("hold.store_lift", {"part": 1, "objects": objects, "hold": None}),
    ]
    assert rows(days) == []


def test_of_two_holds_the_second_keeps_it_when_the_first_is_released(
    services: Services, archived: Callable[[], ArchivedPart]
) -> None:
    part = archived()
    first = add_hold(services, of_day(part.day)).hold
    add_hold(services, EVERYTHING)
    sync_store_holds(services)

    release_hold(services, first.id, reason="over", author="judge")

    assert sync_store_holds(services) == SyncedHolds()
    assert held(services, part) == [True, True]


def test_what_is_archived_while_a_hold_covers_its_day_is_held_at_once(
    services: Services, archived: Callable[[], ArchivedPart]
) -> None:
    add_hold(services, EVERYTHING)

    part = archived()

    assert held(services, part) == [True, True]
    assert sync_store_holds(services) == SyncedHolds()


@pytest.mark.parametrize("step", ["set_hold", "has_hold"])
def test_no_part_is_recorded_that_the_store_does_not_hold_although_it_is_to(
    services: Services, days: Days, day: date, step: str
) -> None:
    add_hold(services, EVERYTHING)
    days.append(day, 10)
    failing = FaultyStore(services.store, Fault(step, 1, error=ObjectStoreError("down")))

    with pytest.raises(ObjectStoreError, match="down"):
        archive_day(replace(services, store=failing), day)

    with services.engine.connect() as connection:
        assert parts_of_day(connection, day) == []
    result = archive_day(services, day)
    assert (result.adopted, held(services, part_of(services, day))) == (True, [True, True])
    hold = release_all(services)
    assert hold
    sync_store_holds(services)
    assert held(services, part_of(services, day)) == [False, False]


def release_all(services: Services) -> int:
    with services.engine.connect() as connection:
        found = active_holds(connection).holds
    for hold in found:
        release_hold(services, hold.id, reason="over", author="judge")
    return len(found)


def test_what_a_killed_archive_left_held_is_let_go_of_although_it_was_never_recorded(
    services: Services, days: Days, day: date
) -> None:
    add_hold(services, EVERYTHING)
    days.append(day, 10)
    failing = FaultyStore(services.store, Fault("set_hold", 2, error=ObjectStoreError("down")))
    with pytest.raises(ObjectStoreError):
        archive_day(replace(services, store=failing), day)
    assert [is_set for _, is_set in rows(days)] == [False, False]

    release_all(services)
    sync_store_holds(services)

    assert rows(days) == []
    assert not any(services.store.has_hold(info.key) for info in services.store.list("audit-archives/"))


@pytest.mark.parametrize("step", [HoldStep.INTENDED, HoldStep.SET, HoldStep.SET_RECORDED])
def test_a_run_that_is_killed_while_it_sets_is_finished_by_the_next(
    services: Services, days: Days, archived: Callable[[], ArchivedPart], step: HoldStep
) -> None:
    part = archived()
    add_hold(services, EVERYTHING)
    with pytest.raises(Stopped):
        sync_store_holds(services, hook=stop_after(step))

    sync_store_holds(services)

    assert held(services, part) == [True, True]
    assert [is_set for _, is_set in rows(days)] == [True, True]
    assert days.audit_actions(part.day).count("hold.store_set") == 1
    release_all(services)
    sync_store_holds(services)
    assert held(services, part) == [False, False]


@pytest.mark.parametrize("step", [HoldStep.LIFTED, HoldStep.LIFT_RECORDED])
def test_a_run_that_is_killed_while_it_lifts_is_finished_by_the_next(
    services: Services, days: Days, archived: Callable[[], ArchivedPart], step: HoldStep
) -> None:
    part = archived()
    add_hold(services, EVERYTHING)
    sync_store_holds(services)
    release_all(services)
    with pytest.raises(Stopped):
        sync_store_holds(services, hook=stop_after(step))

    sync_store_holds(services)

    assert held(services, part) == [False, False]
    assert rows(days) == []
    assert days.audit_actions(part.day).count("hold.store_lift") == 1


def test_a_hold_that_comes_before_another_is_lifted_keeps_it(
    services: Services, archived: Callable[[], ArchivedPart]
) -> None:
    part = archived()
    add_hold(services, EVERYTHING)
    sync_store_holds(services)
    release_all(services)

    class Adding(FaultyStore):
        """Has somebody add a hold when it was decided what is lifted."""

        def at_versions(self, versions: Mapping[str, str]) -> FaultyStore:
            add_hold(services, of_day(part.day))
            return FaultyStore(services.store.at_versions(versions))

    assert sync_store_holds(replace(services, store=Adding(services.store))).lifted == []

    assert held(services, part) == [True, True]


def test_a_hold_that_is_added_while_another_is_lifted_waits_and_finds_it_lifted(
    services: Services, archived: Callable[[], ArchivedPart]
) -> None:
    part = archived()
    add_hold(services, EVERYTHING)
    sync_store_holds(services)
    release_all(services)
    settled = []

    class Adding(FaultyStore):
        """Has somebody add a hold while it lets go of an object."""

        def at_versions(self, versions: Mapping[str, str]) -> FaultyStore:
            return Adding(services.store.at_versions(versions))

        def set_hold(self, key: str, *, held: bool) -> None:
            settled.append(add_hold(services, of_day(part.day), wait=timedelta(milliseconds=50)).settled)
            super().set_hold(key, held=held)

    sync_store_holds(replace(services, store=Adding(services.store)))

    assert settled == [False, False]
    sync_store_holds(services)
    assert held(services, part) == [True, True]


def test_a_hold_on_a_person_holds_the_days_on_which_they_were_active(
    services: Services, archived: Callable[[], ArchivedPart], days: Days
) -> None:
    part = archived()
    user_id = days.execute("SELECT min(user_id) FROM audit_logs WHERE resource_type IS DISTINCT FROM 'audit_day'")[0][0]
    add_hold(services, SOMEBODY)
    sync_store_holds(services)
    assert held(services, part) == [False, False]

    add_hold(services, replace(SOMEBODY, subject=str(user_id), as_it_is=True))
    sync_store_holds(services)

    assert held(services, part) == [True, True]


class TestPurged:
    """Parts whose rows only the cold store has: they are held until somebody has looked into them."""

    @pytest.fixture
    def part(self, services: Services, archived: Callable[[], ArchivedPart], clock: MovableClock) -> ArchivedPart:
        day = archived().day
        clock.advance(days=8)
        purge_day(services, day)
        return part_of(services, day)

    def test_a_part_that_nobody_looked_into_is_held(self, services: Services, part: ArchivedPart) -> None:
        add_hold(services, SOMEBODY)

        sync_store_holds(services, reads=False)

        assert held(services, part) == [True, True]

    def test_one_that_is_not_touched_is_let_go_of_when_it_was_read_once(
        self, services: Services, part: ArchivedPart
    ) -> None:
        add_hold(services, SOMEBODY)
        sync_store_holds(services, reads=False)

        done = sync_store_holds(services)

        assert (done.read, sorted(done.lifted)) == (1, sorted([part.object_key, part.manifest_key]))
        assert held(services, part) == [False, False]
        assert sync_store_holds(services) == SyncedHolds()

    @pytest.mark.parametrize("column", ["user_id", "resource_id"])
    def test_one_that_is_touched_stays_held(self, services: Services, part: ArchivedPart, column: str) -> None:
        subject = pq.read_table(io.BytesIO(services.store.get_bytes(part.object_key)))[column].to_pylist()[1]
        scope = HoldScope.USER if column == "user_id" else HoldScope.THREAD
        add_hold(services, NewHold(scope, "case", "counsel", subject=subject, as_it_is=True))

        done = sync_store_holds(services)

        assert done.read == 1
        assert held(services, part) == [True, True]
        assert sync_store_holds(services) == SyncedHolds()

    def test_one_that_cannot_be_read_stays_held_and_is_named(
        self, services: Services, part: ArchivedPart, s3_client: S3Client, object_store: S3ObjectStore
    ) -> None:
        services.store.delete(part.object_key)
        s3_client.put_object(Bucket="locks", Key=object_store.object_key(part.object_key), Body=b"another")
        add_hold(services, SOMEBODY)

        done = sync_store_holds(services)

        assert done.lifted == []
        assert "stays held" in done.problems[0]
        assert services.store.has_hold(part.object_key)


class TestCompared:
    """What is held here and what is held there, asked object by object."""

    def test_nothing_differs_where_everything_was_done(
        self, services: Services, archived: Callable[[], ArchivedPart]
    ) -> None:
        archived()
        assert compare_store_holds(services) == HoldDifferences(compared=2)
        add_hold(services, EVERYTHING)
        sync_store_holds(services)
        assert compare_store_holds(services) == HoldDifferences(compared=2, held=2)

    def test_what_is_held_here_alone(self, services: Services, archived: Callable[[], ArchivedPart]) -> None:
        part = archived()
        add_hold(services, EVERYTHING)
        sync_store_holds(services)
        services.store.set_hold(part.object_key, held=False)

        assert compare_store_holds(services).unheld == (part.object_key,)

        assert sync_store_holds(services).set == [part.object_key]
        assert held(services, part) == [True, True]

    def test_what_somebody_else_holds_is_told_and_left(
        self, services: Services, archived: Callable[[], ArchivedPart]
    ) -> None:
        part = archived()
        services.store.set_hold(part.object_key, held=True)

        assert compare_store_holds(services).others == (part.object_key,)

        sync_store_holds(services)
        add_hold(services, EVERYTHING)
        done = sync_store_holds(services)
        assert (done.set, done.others) == ([part.manifest_key], [part.object_key])
        release_all(services)
        assert sync_store_holds(services).lifted == [part.manifest_key]
        assert held(services, part) == [True, False]
        assert compare_store_holds(services).others == (part.object_key,)

    def test_what_we_held_and_no_hold_covers_any_more(
        self, services: Services, archived: Callable[[], ArchivedPart]
    ) -> None:
        part = archived()
        add_hold(services, EVERYTHING)
        sync_store_holds(services)
        release_all(services)

        assert sorted(compare_store_holds(services).left) == sorted([part.object_key, part.manifest_key])

    def test_a_missing_object_cannot_be_told_of(self, services: Services, archived: Callable[[], ArchivedPart]) -> None:
        part = archived()
        services.store.delete(part.object_key)

        (unknown,) = compare_store_holds(services).unknown

        assert part.object_key in unknown


def test_a_bucket_without_locks_is_left_alone(
    services: Services, s3_client: S3Client, object_store: S3ObjectStore, archived: Callable[[], ArchivedPart]
) -> None:
    archived()
    add_hold(services, EVERYTHING)
    plain = S3ObjectStore(s3_client, S3Bucket("versions", prefix=uuid.uuid4().hex[:8]))
    for info in object_store.list(""):
        plain.put_bytes(info.key, object_store.get_bytes(info.key))
    moved = replace(services, store=plain)

    assert sync_store_holds(moved) == SyncedHolds(knows_holds=False)
    assert compare_store_holds(moved) == HoldDifferences(knows_holds=False)


def test_what_was_seen_of_parts_is_not_for_readers_and_stays(
    services: Services, reader_database_url: str, superuser_engine: sqlalchemy.Engine
) -> None:
    reader = create_engine(reader_database_url, pool_size=1)
    for table in ("archive_hold_looks", "archive_store_holds"):
        with reader.connect() as connection, pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text(f"SELECT * FROM {table}"))
    reader.dispose()
    with services.engine.connect() as connection, pytest.raises(DBAPIError, match="permission denied"):
        connection.execute(text("UPDATE archive_hold_looks SET touched = false"))
    with superuser_engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text("TRUNCATE archive_hold_looks"))


class TestCommand:
    """`compliance hold` tells the store at once."""

    @pytest.fixture
    def command(
        self,
        services: Services,
        object_store: S3ObjectStore,
        s3_server: EmbeddedSeaweedFS,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Command:
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        bucket = {
            "audit_cold_storage_provider": "s3",
            "audit_cold_storage_bucket": object_store.bucket.name,
            "audit_cold_storage_prefix": object_store.bucket.prefix,
            "audit_cold_storage_endpoint_url": s3_server.url,
            "audit_cold_storage_path_style": True,
            "audit_cold_storage_lock": "none",
        }
        return Command(services.settings.model_copy(update=bucket))

    def test_it_says_how_much_the_store_holds_and_lets_go_of(
        self, command: Command, services: Services, archived: Callable[[], ArchivedPart]
    ) -> None:
        part = archived()
        done = command("hold", "add", "--days", str(part.day), str(part.day), *BY)
        assert "the cold store itself holds 2 objects more" in done.output, done
        assert held(services, part) == [True, True]
        assert command("hold", "sync").output == "nothing had to be told\n"

        done = command("hold", "release", "1", *BY)

        assert "the cold store let go of 2 objects" in done.output
        assert held(services, part) == [False, False]

    def test_a_store_that_cannot_be_told_leaves_the_hold_in_force_and_fails(
        self, command: Command, services: Services, archived: Callable[[], ArchivedPart]
    ) -> None:
        part = archived()
        prefix = command.environment["AUDIT_COLD_STORAGE_PREFIX"]
        command.environment["AUDIT_COLD_STORAGE_PREFIX"] = "elsewhere"

        done = command("hold", "add", "--everything", *BY)

        assert done.exit_code == 1
        assert "hold 1 is in force, but the cold store was not told of all of it" in str(done.exception)
        command.environment["AUDIT_COLD_STORAGE_PREFIX"] = prefix
        assert "the cold store itself holds 2 objects more" in command("hold", "sync").output
        assert held(services, part) == [True, True]

    def test_settings_that_do_not_lead_to_the_store_leave_it_to_the_daily_job(
        self, command: Command, archived: Callable[[], ArchivedPart]
    ) -> None:
        archived()
        for name in [name for name in command.environment if "COLD_STORAGE" in name]:
            command.environment.pop(name)

        done = command("hold", "add", "--everything", *BY)

        assert done.exit_code == 0
        assert "the cold store was not told, since the settings here do not lead to it" in done.output
