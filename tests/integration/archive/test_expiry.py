"""Archives go when their retention is over, nothing keeps them, and the ledger has said so; never before."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.catalogue import DayState, day_summary, parts_of_day
from compliance_pipelines.archive.expiry import ExpiryStep, days_to_expire, due_to_expire, expire_day, outlook
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import open_stored
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.store_holds import HoldStep, sync_store_holds
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.encryption.wrapped_key import record_key
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.ledger.expiries import Expiry
from compliance_pipelines.ledger.object_retention import ObjectRetention, retention_end
from compliance_pipelines.ledger.records import Statement, StatementKind
from compliance_pipelines.ledger.store import expiries
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.postgres.locks import process_lock
from compliance_pipelines.verification.findings import Kind, NoteKind
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Stopped, stop_after
from tests.integration.archive.faulty_store import Fault, FaultyStore
from tests.integration.erasure.command import Command
from tests.support.encrypted import encrypted
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from compliance_pipelines.verification.findings import Report
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

_YEARS = 1


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Archives are encrypted, and kept for a year."""
    first_day = (datetime.now(UTC) - timedelta(days=1_000)).date()
    update = {"audit_cold_storage_retention_years": _YEARS, "audit_log_first_day": first_day}
    return encrypted(settings, tmp_path).model_copy(update=update)


@pytest.fixture
def day() -> date:
    """One whose retention is over by a month."""
    return (datetime.now(UTC) - timedelta(days=400)).date()


@pytest.fixture
def object_store(s3_client: S3Client) -> S3ObjectStore:
    """In place of a directory: a bucket that can lock, in which nothing is locked."""
    return S3ObjectStore(s3_client, S3Bucket("locks", prefix=uuid.uuid4().hex[:8]))


@pytest.fixture
def part(services: Services, days: Days, day: date, clock: MovableClock) -> ArchivedPart:
    """A part whose rows left PostgreSQL."""
    days.append(day, 10)
    archive_day(services, day)
    clock.advance(days=8)
    purge_day(services, day)
    seal_all(services)
    return part_of(services, day)


def part_of(services: Services, day: date) -> ArchivedPart:
    with services.engine.connect() as connection:
        return parts_of_day(connection, day)[-1]


def versions_of(s3_client: S3Client, store: S3ObjectStore, part: ArchivedPart) -> int:
    """How many versions and markers are left of object and manifest."""
    prefix = store.object_key(part.object_key).removesuffix(".parquet")
    found = s3_client.list_object_versions(Bucket="locks", Prefix=prefix)
    return len(found.get("Versions", [])) + len(found.get("DeleteMarkers", []))


def verified_copy(services: Services, directory: Path, *, years: int = _YEARS) -> Report:
    """A plain copy of the bucket, verified with nothing but the public key."""
    copy = LocalObjectStore(directory)
    copy.create()
    for info in services.store.list(""):
        copy.put_bytes(info.key, services.store.get_bytes(info.key))
    return verify_copy(directory, services.verifier_key, retention_years=years)


def kinds(report: Report) -> tuple[list[Kind], list[NoteKind]]:
    """What was found, and what was noted of expiries."""
    about: set[NoteKind] = {NoteKind.PART_EXPIRED, NoteKind.EXPIRY_UNFINISHED}
    noted = [note.kind for note in report.notes if note.kind in about]
    return [finding.kind for finding in report.findings], noted


def test_a_part_goes_with_all_its_versions_and_what_it_was_remains_on_record(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    part: ArchivedPart,
    s3_client: S3Client,
    object_store: S3ObjectStore,
    tmp_path: Path,
) -> None:
    s3_client.put_object(Bucket="locks", Key=object_store.object_key(part.object_key), Body=b"over it")
    s3_client.delete_object(Bucket="locks", Key=object_store.object_key(part.manifest_key))
    assert versions_of(s3_client, object_store, part) == 4

    result = expire_day(services, part.day)

    assert ([each.part for each in result.expired], result.kept, result.object_bytes) == ([1], [], part.object_bytes)
    assert versions_of(s3_client, object_store, part) == 0
    assert part_of(services, part.day).expired_at is not None
    assert day_summary(services, part.day)[0] is DayState.EXPIRED
    with services.engine.connect() as connection:
        ((statement, expiry),) = expiries(connection)
    assert (expiry.day, expiry.part, expiry.years, expiry.entries) == (part.day, 1, _YEARS, 10)
    assert (expiry.root, expiry.object_sha256.hex()) == (part.root, part.object_sha256)
    assert days.audit_records(part.day)[-1] == (
        "audit.expire",
        {
            "part": 1,
            "object": part.archive_location,
            "object_sha256": part.object_sha256,
            "object_bytes": part.object_bytes,
            "entry_count": 10,
            "root": part.root.hex(),
            "retention_years": _YEARS,
            "ledger_record": statement.seq,
            "data_key": (part.encryption or {})["key_id"],
        },
    )
    for report in (verify(services), verify(services, [part.day]), verified_copy(services, tmp_path / "copy")):
        assert kinds(report) == ([], [NoteKind.PART_EXPIRED])
        assert report.ok
    again = expire_day(services, part.day)
    assert (again.expired, again.kept) == ([], [])


def test_a_directory_expires_as_well(services: Services, part: ArchivedPart, tmp_path: Path) -> None:
    local = LocalObjectStore(tmp_path / "local")
    local.create()
    for info in services.store.list(""):
        local.put_bytes(info.key, services.store.get_bytes(info.key))
    moved = replace(services, store=local)

    assert len(expire_day(moved, part.day).expired) == 1

    assert list(local.list("audit-archives/")) == []
    assert verify(moved, [part.day]).ok


def test_what_is_not_over_or_not_purged_is_kept_and_said_to_be(
    services: Services, part: ArchivedPart, days: Days, day: date
) -> None:
    longer = replace(services, settings=services.settings.model_copy(update={"audit_cold_storage_retention_years": 2}))
    kept = expire_day(longer, part.day).kept
    assert [each.kept_because for each in kept] == [
        f"it is kept for 2 years (AUDIT_COLD_STORAGE_RETENTION_YEARS), until {retention_end(day, 2):%Y-%m-%d}"
    ]
    with services.engine.connect() as connection:
        assert days_to_expire(longer, connection) == []
        assert days_to_expire(services, connection) == due_to_expire(services, connection) == [day]

    days.append(day, 3)
    archive_day(services, day)
    assert [each.kept_because for each in outlook(services, day)] == [None, "its entries are still in PostgreSQL"]
    result = expire_day(services, day)
    assert ([each.part for each in result.expired], [each.part.part for each in result.kept]) == ([1], [2])
    assert day_summary(services, day)[0] is DayState.VERIFIED


def test_a_moved_clock_lets_nothing_expire_that_is_not_over_by_the_database(
    services: Services, days: Days, clock: MovableClock
) -> None:
    young = (datetime.now(UTC) - timedelta(days=200)).date()
    days.append(young, 5)
    archive_day(services, young)
    clock.advance(days=300)
    purge_day(services, young)

    with pytest.raises(ComplianceError, match="by the database's time"):
        expire_day(services, young)

    assert services.store.stat(part_of(services, young).object_key) is not None
    with services.engine.connect() as connection:
        assert expiries(connection) == []


@pytest.mark.parametrize("scope", ["everything", "day", "user"])
def test_what_is_held_stays_until_the_hold_is_released(services: Services, part: ArchivedPart, scope: str) -> None:
    with open_stored(services, part) as reader:
        subject = next(reader.batches(columns=["user_id"])).column("user_id")[0].as_py()
    new = {
        "everything": NewHold(HoldScope.EVERYTHING, "case", "counsel"),
        "day": NewHold(HoldScope.DAYS, "case", "counsel", first_day=part.day, last_day=part.day),
        "user": NewHold(HoldScope.USER, "case", "counsel", subject=subject, as_it_is=True),
    }[scope]
    hold = add_hold(services, new).hold

    for _ in range(2):
        (kept,) = expire_day(services, part.day).kept
        assert str(hold) in str(kept.kept_because)
    with services.engine.connect() as connection:
        assert due_to_expire(services, connection) == []
        assert expiries(connection) == []

    release_hold(services, hold.id, reason="over", author="judge")
    assert len(expire_day(services, part.day).expired) == 1


def test_a_hold_on_somebody_else_is_read_for_and_keeps_nothing(services: Services, part: ArchivedPart) -> None:
    add_hold(services, NewHold(HoldScope.USER, "case", "counsel", subject="user:nobody-here"))
    (seen,) = outlook(services, part.day)
    assert "as long as nobody has looked" in str(seen.kept_because)

    assert len(expire_day(services, part.day).expired) == 1


def test_what_cannot_be_read_for_a_hold_stays(services: Services, part: ArchivedPart, s3_client: S3Client) -> None:
    add_hold(services, NewHold(HoldScope.USER, "case", "counsel", subject="user:nobody-here"))
    services.store.delete(part.object_key)
    services.store.put_bytes(part.object_key, b"another")

    (kept,) = expire_day(services, part.day).kept

    assert "as long as nobody has looked" in str(kept.kept_because)


def test_no_hold_is_added_while_a_part_goes(services: Services, part: ArchivedPart) -> None:
    settled = []

    def hook(step: ExpiryStep) -> None:
        if step is ExpiryStep.OBJECT_DELETED:
            new = NewHold(HoldScope.EVERYTHING, "case", "counsel")
            settled.append(add_hold(services, new, wait=timedelta(milliseconds=50)).settled)

    assert len(expire_day(services, part.day, hook=hook).expired) == 1
    assert settled == [False]


def test_what_the_store_itself_holds_stays(services: Services, part: ArchivedPart) -> None:
    services.store.set_hold(part.manifest_key, held=True)

    (kept,) = expire_day(services, part.day).kept

    assert f"the cold store itself holds {part.manifest_key}" in str(kept.kept_because)
    services.store.set_hold(part.manifest_key, held=False)
    assert len(expire_day(services, part.day).expired) == 1


def test_a_hold_of_ours_that_is_over_is_lifted_first(services: Services, part: ArchivedPart, days: Days) -> None:
    hold = add_hold(services, NewHold(HoldScope.EVERYTHING, "case", "counsel")).hold
    sync_store_holds(services)
    release_hold(services, hold.id, reason="over", author="judge")
    (kept,) = expire_day(services, part.day).kept
    assert "`compliance hold sync`" in str(kept.kept_because)

    sync_store_holds(services)

    assert len(expire_day(services, part.day).expired) == 1
    assert days.execute("SELECT key FROM archive_store_holds") == []


def test_what_was_meant_to_be_held_and_never_was_leaves_no_trace(
    services: Services, part: ArchivedPart, days: Days
) -> None:
    hold = add_hold(services, NewHold(HoldScope.EVERYTHING, "case", "counsel")).hold
    with pytest.raises(Stopped):
        sync_store_holds(services, hook=stop_after(HoldStep.INTENDED))
    release_hold(services, hold.id, reason="over", author="judge")
    assert len(days.execute("SELECT key FROM archive_store_holds")) == 2

    assert len(expire_day(services, part.day).expired) == 1

    assert days.execute("SELECT key FROM archive_store_holds") == []


def test_whoever_knows_that_a_day_must_be_archived_tells_what_expired_from_what_was_taken(
    services: Services, part: ArchivedPart, tmp_path: Path
) -> None:
    taken = LocalObjectStore(tmp_path / "taken")
    taken.create()
    for info in services.store.list(""):
        if not info.key.startswith("audit-archives/"):
            taken.put_bytes(info.key, services.store.get_bytes(info.key))
    expire_day(services, part.day)
    verified_copy(services, tmp_path / "expired")

    reports = [
        verify_copy(tmp_path / name, services.verifier_key, archived_through=part.day, retention_years=_YEARS)
        for name in ("taken", "expired")
    ]

    assert [kinds(report) for report in reports] == [([Kind.DAY_MISSING], []), ([], [NoteKind.PART_EXPIRED])]


class TestLocked:
    """In COMPLIANCE mode the service refuses, whatever the settings have become."""

    @pytest.fixture
    def object_store(self, s3_client: S3Client) -> S3ObjectStore:
        bucket = S3Bucket("locks", prefix=uuid.uuid4().hex[:8], lock_mode="COMPLIANCE")
        return S3ObjectStore(s3_client, bucket, retain_until=ObjectRetention(7))

    def test_what_is_locked_for_longer_is_said_to_be_and_stays_whole(
        self, services: Services, part: ArchivedPart
    ) -> None:
        for _ in range(2):
            (kept,) = expire_day(services, part.day).kept
            assert kept.kept_because == (
                f"{part.object_key} is still locked until {retention_end(part.day, 7):%Y-%m-%d %H:%M:%S} UTC"
            )
        assert verify(services).ok
        assert expiries_of(services) == []

    def test_a_late_entry_of_a_day_whose_retention_is_over_is_archived_and_expires(
        self, services: Services, days: Days, day: date, clock: MovableClock, s3_client: S3Client
    ) -> None:
        bucket = S3Bucket("locks", prefix=uuid.uuid4().hex[:8], lock_mode="COMPLIANCE")
        store = S3ObjectStore(s3_client, bucket, retain_until=ObjectRetention(_YEARS))
        for info in services.store.list(""):
            store.put_bytes(info.key, services.store.get_bytes(info.key))
        opened = replace(services, store=store)
        days.append(day, 5, sealed=False)
        seal_all(opened)
        assert archive_day(opened, day).entry_count == 5
        clock.advance(days=8)
        purge_day(opened, day)

        assert len(expire_day(opened, day).expired) == 1

    def test_a_lock_that_comes_in_between_leaves_what_was_begun_to_a_later_run(
        self, services: Services, part: ArchivedPart, tmp_path: Path
    ) -> None:
        class Blind(FaultyStore):
            """Does not see that something is locked before it is deleted."""

            asked = 0

            def at_versions(self, versions: object) -> Blind:
                del versions
                return self

            def locked_until(self, key: str) -> datetime | None:
                Blind.asked += 1
                return None if Blind.asked <= 2 else super().locked_until(key)

        (kept,) = expire_day(replace(services, store=Blind(services.store)), part.day).kept

        assert "is still locked until" in str(kept.kept_because)
        assert part_of(services, part.day).expired_at is None
        for report in (verify(services), verified_copy(services, tmp_path / "copy")):
            assert kinds(report) == ([], [NoteKind.EXPIRY_UNFINISHED])


def expiries_of(services: Services) -> list[object]:
    with services.engine.connect() as connection:
        return list(expiries(connection))


@pytest.mark.parametrize("step", list(ExpiryStep))
def test_a_run_that_is_killed_is_finished_by_the_next_and_is_no_damage_meanwhile(
    services: Services, days: Days, part: ArchivedPart, step: ExpiryStep, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        expire_day(services, part.day, hook=stop_after(step))

    begun = bool(expiries_of(services))
    done = part_of(services, part.day).expired_at is not None
    assert done is (step is ExpiryStep.COMMITTED)
    noted = [NoteKind.PART_EXPIRED] if done else [NoteKind.EXPIRY_UNFINISHED] * begun
    assert kinds(verify(services)) == ([], noted)
    gone = step in {ExpiryStep.MANIFEST_DELETED, ExpiryStep.RECORDED, ExpiryStep.COMMITTED}
    assert kinds(verified_copy(services, tmp_path / "copy")) == ([], [NoteKind.PART_EXPIRED] if gone else noted)

    expire_day(services, part.day)

    assert part_of(services, part.day).expired_at is not None
    assert days.audit_actions(part.day).count("audit.expire") == 1
    assert len(expiries_of(services)) == 1
    assert list(services.store.list("audit-archives/")) == []
    assert kinds(verify(services)) == ([], [NoteKind.PART_EXPIRED])


def test_a_hold_after_a_kill_keeps_what_is_left_and_nothing_where_the_object_is_gone(
    services: Services, part: ArchivedPart
) -> None:
    with pytest.raises(Stopped):
        expire_day(services, part.day, hook=stop_after(ExpiryStep.KEY_DESTROYED))
    hold = add_hold(services, NewHold(HoldScope.EVERYTHING, "case", "counsel")).hold
    assert len(expire_day(services, part.day).kept) == 1
    assert services.store.stat(part.object_key) is not None
    release_hold(services, hold.id, reason="over", author="judge")

    with pytest.raises(Stopped):
        expire_day(services, part.day, hook=stop_after(ExpiryStep.OBJECT_DELETED))
    add_hold(services, NewHold(HoldScope.USER, "case", "counsel", subject="user:nobody-here"))
    assert len(expire_day(services, part.day).expired) == 1


@pytest.mark.parametrize("method", ["delete", "locked_until", "has_hold", "stat", "replace"])
def test_a_store_that_fails_is_gone_on_with(services: Services, part: ArchivedPart, method: str) -> None:
    failing = FaultyStore(services.store, Fault(method, 1, error=ObjectStoreError("down")))
    with pytest.raises(ObjectStoreError, match="down"):
        expire_day(replace(services, store=failing), part.day)

    assert len(expire_day(services, part.day).expired) == 1


class TestDamage:
    """What is gone and did not expire stays damage, and an expiry hides nothing."""

    def test_a_part_that_somebody_took_away_does_not_expire(self, services: Services, part: ArchivedPart) -> None:
        services.store.delete(part.object_key)

        (kept,) = expire_day(services, part.day).kept

        assert "is not there, and no expiry has removed it" in str(kept.kept_because)
        assert kinds(verify(services)) == ([Kind.OBJECT_MISSING, Kind.DAY_MISSING], [])
        services.store.delete(part.manifest_key)
        found, noted = kinds(verify(services, [part.day]))
        assert (set(found), noted) == ({Kind.MANIFEST_MISSING, Kind.OBJECT_MISSING, Kind.DAY_MISSING}, [])

    def test_a_part_that_the_catalogue_alone_calls_expired(
        self, services: Services, days: Days, part: ArchivedPart
    ) -> None:
        days.execute("UPDATE archived_audit_logs SET expired_at = now() WHERE day = :day", day=part.day)
        for key in (part.object_key, part.manifest_key):
            services.store.delete(key)

        for report in (verify(services), verify(services, [part.day])):
            (finding,) = report.findings
            assert finding.kind is Kind.CATALOGUE_ALTERED
            assert "and the ledger does not say so" in finding.message

    def test_an_expiry_before_its_time_is_found_by_whoever_knows_the_retention(
        self, services: Services, part: ArchivedPart, tmp_path: Path
    ) -> None:
        expire_day(services, part.day)
        longer = services.settings.model_copy(update={"audit_cold_storage_retention_years": 2})

        online = verify(replace(services, settings=longer))
        offline = verified_copy(services, tmp_path / "copy", years=2)

        assert set(kinds(online)[0]) == {Kind.EXPIRY_INVALID, Kind.CATALOGUE_ALTERED}
        assert kinds(offline) == ([Kind.EXPIRY_INVALID], [])
        assert f"it was to be kept for 2 years, until {retention_end(part.day, 2):%Y-%m-%d}" in str(
            offline.findings[0].message
        )

    def test_segments_that_are_not_those_of_the_part(self, services: Services, days: Days, part: ArchivedPart) -> None:
        days.execute("DELETE FROM archived_segments WHERE day = :day", day=part.day)

        with pytest.raises(ComplianceError, match="do not lead to its root"):
            expire_day(services, part.day)

        assert services.store.stat(part.object_key) is not None

    def test_a_ledger_that_is_not_the_published_one(self, services: Services, days: Days, part: ArchivedPart) -> None:
        days.execute("UPDATE ledger_segments SET entry_count = entry_count + 1 WHERE day = :day", day=part.day)

        with pytest.raises(ComplianceError, match="not those of the signed ledger"):
            expire_day(services, part.day)

        assert services.store.stat(part.object_key) is not None

    def test_a_statement_that_the_database_alone_has(self, services: Services, days: Days, part: ArchivedPart) -> None:
        size = int(str(days.execute("SELECT max(size) FROM ledger_checkpoints")[0][0]))
        root, sha256 = part.root, bytes.fromhex(part.object_sha256)
        forged = Expiry(part.day, 1, _YEARS, 10, part.object_bytes, 0, 0, 1, root, sha256)
        statement = Statement(size, StatementKind.EXPIRY, 1, datetime.now(UTC), forged.to_body())
        days.execute("INSERT INTO ledger_statements VALUES (:seq, :record)", seq=size, record=statement.record_bytes())

        with pytest.raises(ComplianceError):
            expire_day(services, part.day)

        assert services.store.stat(part.object_key) is not None

    def test_its_key_goes_before_the_object_does(self, services: Services, days: Days, part: ArchivedPart) -> None:
        with pytest.raises(Stopped):
            expire_day(services, part.day, hook=stop_after(ExpiryStep.KEY_DESTROYED))

        assert services.store.stat(record_key(part.object_key)) is None
        assert services.store.stat(part.object_key) is not None
        assert days.execute("SELECT wrapped, destruction_reason FROM object_keys") == [(None, "its retention is over")]
        assert days.execute("SELECT count(*) FROM archive_search_filters") == [(0,)]
        report = verify(services, [part.day])
        assert (report.findings, [note.kind for note in report.notes]) == ((), [NoteKind.EXPIRY_UNFINISHED])
        assert len(expire_day(services, part.day).expired) == 1

    def test_a_part_whose_key_is_on_no_record_expires_all_the_same(
        self, services: Services, days: Days, part: ArchivedPart
    ) -> None:
        days.execute("DELETE FROM object_keys")
        services.store.delete(record_key(part.object_key))
        assert len(expire_day(services, part.day).expired) == 1

    @pytest.mark.usefixtures("impatient")
    def test_no_key_is_destroyed_while_keys_are_rotated(self, services: Services, part: ArchivedPart) -> None:
        with (
            services.engine.connect() as connection,
            process_lock(connection, "data-keys", doing="a test"),
            pytest.raises(LockBusyError),
        ):
            expire_day(services, part.day)
        assert services.store.stat(record_key(part.object_key)) is not None
        assert len(expire_day(services, part.day).expired) == 1


class TestCommand:
    """`compliance expire`, on a directory."""

    @pytest.fixture
    def object_store(self, tmp_path: Path) -> LocalObjectStore:
        store = LocalObjectStore(tmp_path / "cold")
        store.create()
        return store

    @pytest.fixture
    def command(self, services: Services) -> Command:
        return Command(services.settings)

    def test_a_dry_run_says_what_would_go_and_why_not_the_rest(
        self, services: Services, part: ArchivedPart, days: Days, command: Command
    ) -> None:
        days.append(part.day, 3)
        archive_day(services, part.day)

        done = command("expire", "--all-due", "--dry-run")

        assert done.exit_code == 0
        first, second = done.output.splitlines()
        assert first.startswith(f"{part.day}: part 1 would be removed: 10 entries, ")
        assert second == f"{part.day}: part 2 stays: its entries are still in PostgreSQL"
        assert services.store.stat(part.object_key) is not None
        assert expiries_of(services) == []

    def test_it_removes_what_is_due_and_says_so(self, part: ArchivedPart, command: Command) -> None:
        done = command("expire", str(part.day))
        assert (done.exit_code, done.output.split(" expired, ")[0]) == (0, f"{part.day}: 1 part with 10 entries")
        assert command("expire", str(part.day)).output == f"{part.day}: no archive is left to expire\n"
        assert command("expire", "--all-due").output == "no day has an archive whose retention is over\n"

    def test_a_day_that_was_named_and_stays_is_a_failure(
        self, services: Services, part: ArchivedPart, command: Command
    ) -> None:
        add_hold(services, NewHold(HoldScope.EVERYTHING, "case", "counsel"))
        done = command("expire", str(part.day))
        assert done.exit_code == 1
        assert "part 1 stays: hold 1 (everything) of counsel: case" in done.output
        assert command("expire", "--all-due").exit_code == 0

    def test_either_days_or_all(self, command: Command) -> None:
        assert command("expire").exit_code == 2
        assert command("expire", "2026-01-01", "--all-due").exit_code == 2
