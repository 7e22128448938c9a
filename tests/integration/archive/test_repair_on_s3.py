"""Damage in a bucket is found by the scrub and mended: by versions, by a copy, by rows; locked ones stay."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive import parquet
from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.errors import RepairRefusedError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.rebuilding import rebuild, rehearse_rebuild
from compliance_pipelines.archive.repair import RepairStep, repair_day
from compliance_pipelines.archive.repair_sources import Sources
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.archive.scrub import scrub
from compliance_pipelines.ledger.object_retention import ObjectRetention, retention_end
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Days, Stopped, stop_after
from tests.integration.archive.test_on_s3 import copy_objects, through
from tests.support.command import Command
from tests.support.fault_proxy import Fault, Kind, s3_proxy
from tests.support.logins import login_url
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Row

_YEARS = 7


@pytest.fixture
def bucket() -> S3Bucket:
    """With versions, and without locks."""
    return S3Bucket("versions", prefix=uuid.uuid4().hex[:8])


@pytest.fixture
def object_store(s3_client: S3Client, bucket: S3Bucket) -> S3ObjectStore:
    """In place of a directory."""
    return S3ObjectStore(s3_client, bucket, retain_until=ObjectRetention(_YEARS))


@pytest.fixture
def rows(services: Services, days: Days, day: date) -> list[Row]:
    """Of the day, which is archived."""
    days.append(day, 10)
    archive_day(services, day)
    return days.hot_rows(day)


@pytest.fixture
def part(services: Services, day: date, rows: list[Row]) -> ArchivedPart:
    assert rows
    return part_of(services, day)


@pytest.fixture
def whole(object_store: S3ObjectStore, part: ArchivedPart) -> bytes:
    """The object's bytes."""
    return object_store.get_bytes(part.object_key)


def part_of(services: Services, day: date) -> ArchivedPart:
    with services.engine.connect() as connection:
        (part,) = parts_of_day(connection, day)
    return part


def put(store: S3ObjectStore, key: str, data: bytes) -> None:
    """Put another version over an object, as anybody may who can write."""
    store.client.put_object(Bucket=store.bucket.name, Key=store.object_key(key), Body=data)


def drop(store: S3ObjectStore, key: str, version: str | None) -> None:
    """Remove a version, as somebody does who passes its lock."""
    assert version is not None
    store.client.delete_object(Bucket=store.bucket.name, Key=store.object_key(key), VersionId=version)


def is_whole(services: Services, days: Days, part: ArchivedPart, rows: list[Row], copy: Path) -> None:
    report = verify(services, [part.day])
    assert report.ok, report
    for info in services.store.list(""):
        path = copy / info.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(services.store.get_bytes(info.key))
    offline = verify_copy(copy, services.verifier_key, archived_through=part.day)
    assert offline.ok, offline
    assert (offline.checked.parts, offline.checked.archived_entries) == (1, len(rows))
    assert days.table_rows(restore_day(services, part.day).table, part.day) == rows
    assert scrub(services, {part.day}).damaged == ()


def test_bytes_put_over_a_removed_version_are_found_and_the_rows_put_over_them(  # noqa: PLR0917 - fixtures
    services: Services, days: Days, object_store: S3ObjectStore, part: ArchivedPart, rows: list[Row], tmp_path: Path
) -> None:
    flipped = bytearray(object_store.get_bytes(part.object_key))
    flipped[len(flipped) // 2] ^= 1
    put(object_store, part.object_key, bytes(flipped))
    # What somebody puts over it is no damage as long as the version is there that was put.
    assert scrub(services, {part.day}).damaged == ()
    drop(object_store, part.object_key, part.object_version)
    (found,) = scrub(services, {part.day}).damaged
    assert found.findings[0].kind.value == "object_altered"

    (repaired,) = repair_day(services, part.day).repaired

    assert (repaired.revision, repaired.source) == (0, "the rows in public.audit_logs")
    now = part_of(services, part.day)
    assert now == replace(part, object_version=now.object_version)
    newest, below = object_store.versions(part.object_key)
    assert newest == now.object_version
    assert object_store.at_versions({part.object_key: below}).get_bytes(part.object_key) == flipped
    is_whole(services, days, part, rows, tmp_path / "copy")


@pytest.mark.parametrize("hidden", ["replaced", "deleted"])
def test_a_version_with_the_committed_bytes_comes_back_on_top(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    object_store: S3ObjectStore,
    part: ArchivedPart,
    whole: bytes,
    clock: MovableClock,
    tmp_path: Path,
    hidden: str,
) -> None:
    rows = days.hot_rows(part.day)
    clock.advance(days=8)
    purge_day(services, part.day)
    put(object_store, part.object_key, whole)
    good = object_store.versions(part.object_key)[0]
    if hidden == "replaced":
        put(object_store, part.object_key, b"another")
    else:
        client, key = object_store.client, object_store.object_key(part.object_key)
        client.delete_object(Bucket=object_store.bucket.name, Key=key)
    drop(object_store, part.object_key, part.object_version)

    (repaired,) = repair_day(services, part.day).repaired

    assert repaired.source == f"version {good} in {object_store.uri}"
    assert object_store.versions(part.object_key)[0] == repaired.part.object_version != good
    is_whole(services, days, part, rows, tmp_path / "copy")


def test_nothing_that_recomputes_is_a_refusal(
    services: Services, object_store: S3ObjectStore, part: ArchivedPart, clock: MovableClock
) -> None:
    clock.advance(days=8)
    purge_day(services, part.day)
    put(object_store, part.object_key, b"another")
    drop(object_store, part.object_key, part.object_version)
    with pytest.raises(RepairRefusedError, match=r"Tried: version .* in s3://versions/.*; the hot rows: they were"):
        repair_day(services, part.day)
    assert len(object_store.versions(part.object_key)) == 1


def test_rows_in_other_bytes_are_another_revision(  # noqa: PLR0917 - fixtures
    services: Services,
    days: Days,
    object_store: S3ObjectStore,
    part: ArchivedPart,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    rows = days.hot_rows(part.day)
    put(object_store, part.object_key, b"another")
    drop(object_store, part.object_key, part.object_version)
    monkeypatch.setattr(parquet, "_COMPRESSION_LEVEL", 9)
    (repaired,) = repair_day(services, part.day).repaired
    assert repaired.revision == 1
    assert repaired.part.object_version == object_store.versions(repaired.part.object_key)[0]
    is_whole(services, days, part, rows, tmp_path / "copy")


class TestLocked:
    """In a bucket that locks: a version rots below its lock, and stays."""

    @pytest.fixture
    def bucket(self) -> S3Bucket:
        return S3Bucket("locks", prefix=uuid.uuid4().hex[:8], lock_mode="COMPLIANCE")

    @pytest.fixture
    def copy(self, s3_client: S3Client, object_store: S3ObjectStore, whole: bytes) -> S3ObjectStore:
        """A replica bucket, made when the part was whole."""
        assert whole
        copy = S3ObjectStore(s3_client, S3Bucket("versions", prefix=uuid.uuid4().hex[:8]))
        copy_objects(object_store, copy)
        return copy

    @pytest.fixture
    def rotten(
        self,
        services: Services,
        s3_server: EmbeddedSeaweedFS,
        object_store: S3ObjectStore,
        part: ArchivedPart,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Services]:
        """The version of the object that was put has another bit, whoever reads it."""
        assert part.object_version is not None
        with s3_proxy(s3_server.port) as proxy:
            proxy.faults.append(Fault(Kind.ALTERED, "GET", f"versionId={part.object_version}", times=1_000))
            yield replace(services, store=through(proxy.url, object_store, s3_server.environment, monkeypatch))

    def test_a_copy_is_put_over_the_version_that_stays(  # noqa: PLR0917 - fixtures
        self,
        services: Services,
        rotten: Services,
        days: Days,
        part: ArchivedPart,
        copy: S3ObjectStore,
        clock: MovableClock,
        object_store: S3ObjectStore,
        tmp_path: Path,
    ) -> None:
        rows = days.hot_rows(part.day)
        clock.advance(days=8)
        purge_day(services, part.day)
        (found,) = scrub(rotten, {part.day}).damaged
        assert found.findings[0].kind.value == "object_altered"

        (repaired,) = repair_day(rotten, part.day, Sources(copy=copy)).repaired

        assert repaired.source == f"the copy at {copy.uri}"
        newest, below = object_store.versions(part.object_key)
        assert (newest, below) == (repaired.part.object_version, part.object_version)
        head = object_store.client.head_object(
            Bucket="locks", Key=object_store.object_key(part.object_key), VersionId=newest
        )
        assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == (
            "COMPLIANCE",
            retention_end(part.day, _YEARS),
        )
        is_whole(rotten, days, part, rows, tmp_path / "copy")

    @pytest.mark.parametrize("step", [step for step in RepairStep if step is not RepairStep.MANIFEST_PUT])
    def test_one_that_stops_after_any_step_is_finished_with_one_version(
        self, rotten: Services, days: Days, part: ArchivedPart, object_store: S3ObjectStore, step: RepairStep
    ) -> None:
        with pytest.raises(Stopped):
            repair_day(rotten, part.day, hook=stop_after(step))
        repair_day(rotten, part.day)
        assert len(object_store.versions(part.object_key)) == 2
        assert part_of(rotten, part.day).object_version == object_store.versions(part.object_key)[0]
        assert days.audit_actions(part.day) == ["audit.archive", "audit.damage", "audit.repair"]
        assert verify(rotten, [part.day]).ok

    def test_a_replica_is_named_at_the_command_line(  # noqa: PLR0917 - fixtures
        self,
        rotten: Services,
        part: ArchivedPart,
        copy: S3ObjectStore,
        settings: Settings,
        s3_server: EmbeddedSeaweedFS,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        days: Days,
    ) -> None:
        days.execute("DELETE FROM audit_logs WHERE \"timestamp\" < now() - interval '100 days'")
        assert isinstance(rotten.store, S3ObjectStore)
        run = Command(monkeypatch, capsys, tmp_path)
        run.use(settings)
        run.set(
            AUDIT_COLD_STORAGE_PROVIDER="s3",
            AUDIT_COLD_STORAGE_BUCKET="locks",
            AUDIT_COLD_STORAGE_PREFIX=rotten.store.bucket.prefix,
            AUDIT_COLD_STORAGE_LOCK="compliance",
            AUDIT_ARCHIVE_ENCRYPTION="false",
            AUDIT_COLD_STORAGE_ENDPOINT_URL=rotten.store.client.meta.endpoint_url,
            AUDIT_COLD_STORAGE_PATH_STYLE="1",
            **s3_server.environment,
        )
        refused = run("repair", part.day)
        assert refused.status == 1
        assert "--from-store" in refused.err
        done = run("repair", part.day, "--from-store", copy.uri)
        assert done.status == 0, done
        assert done.out.startswith(f"{part.day}: part 1 was written again from the copy at {copy.uri}")


class TestWithoutVersions:
    """In a bucket that keeps none."""

    @pytest.fixture
    def bucket(self, s3_client: S3Client) -> S3Bucket:
        name = f"plain-{uuid.uuid4().hex[:8]}"
        s3_client.create_bucket(Bucket=name)
        return S3Bucket(name)

    def test_what_was_overwritten_stays_and_a_revision_counts(  # noqa: PLR0917 - fixtures
        self,
        services: Services,
        days: Days,
        object_store: S3ObjectStore,
        part: ArchivedPart,
        rows: list[Row],
        tmp_path: Path,
    ) -> None:
        put(object_store, part.object_key, b"another")
        (found,) = scrub(services, {part.day}).damaged
        assert not found.ok
        (repaired,) = repair_day(services, part.day).repaired
        assert repaired.revision == 1
        assert object_store.get_bytes(part.object_key) == b"another"
        is_whole(services, days, part, rows, tmp_path / "copy")


def test_a_catalogue_made_anew_has_the_newest_version_and_a_repair_finds_the_right_one(
    days: Days,
    part: ArchivedPart,
    object_store: S3ObjectStore,
    postgres_server: EmbeddedPostgres,
    template_database: str,
) -> None:
    """Which version was put, nobody knows after the database was lost; its bytes do."""
    rows = days.hot_rows(part.day)
    seal_all(days.services)
    put(object_store, part.object_key, b"something else")
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.create_database(name, template=template_database)
    owner = create_engine(postgres_server.url(name), pool_size=2)
    engine = create_engine(login_url(postgres_server.url(name), "test_pipeline"), pool_size=5)
    try:
        anew = replace(days.services, engine=engine)
        planned = rehearse_rebuild(anew)
        assert [part.object_key in each for each in planned.found.damaged] == [True]
        rebuild(anew, owner, planned.found.uncommitted, author="A. Admin", reason="INC-7")
        seal_all(anew)
        assert part_of(anew, part.day).object_version != part.object_version
        assert len(scrub(anew, {part.day}).damaged) == 1
        (repaired,) = repair_day(anew, part.day).repaired
        assert "version" in repaired.source
        assert verify(anew, [part.day]).ok
        assert Days(anew, owner).table_rows(restore_day(anew, part.day).table, part.day) == rows
    finally:
        engine.dispose()
        owner.dispose()
        postgres_server.drop_database(name)
