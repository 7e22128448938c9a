"""Each promise of a store is tried, and a store that does not keep one is told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.promises import PROBES, trials_of_the_port
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_trials import trials_of_s3
from compliance_pipelines.orchestration.checks import cold_store_verdict
from tests.integration.object_store.conftest import forget
from tests.integration.verification.stores import StoreBetween

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.base.health import HealthCheck
    from compliance_pipelines.object_store.port import ObjectInfo, ObjectStore
    from compliance_pipelines.services import Services

_SEVEN_YEARS = 7 * 366


def broken(checks: Iterable[HealthCheck]) -> list[str]:
    return [check.name for check in checks if check.fails]


class TestKept:
    def test_a_directory_keeps_what_the_port_promises(self, tmp_path: Path) -> None:
        store = LocalObjectStore(tmp_path)

        checks = trials_of_the_port(store)

        assert [check.name for check in checks if not check.ok] == ["what is held stays until it is let go of"]
        assert list(store.list("")) == []

    def test_a_bucket_with_locks_keeps_everything(self, locked_store: S3ObjectStore, tmp_path: Path) -> None:
        found = [*trials_of_the_port(locked_store), *trials_of_s3(locked_store, _SEVEN_YEARS, tmp_path)]

        assert broken(found) == []
        # SeaweedFS knows no block of public access, and says so.
        risks = {check.name: check.message for check in found if check.is_risk}
        assert "not implemented" in risks["nobody has public access"]
        kept = {check.name for check in found if check.ok}
        assert kept >= {
            "what is put once is never overwritten",
            "what is locked cannot be deleted",
            "no lock can be shortened",
            "this login cannot pass a lock",
            "what is put in pieces is locked, too",
            "a checksum that does not match is refused",
        }
        assert [info.key for info in locked_store.list(PROBES) if "/locked/" not in info.key] == []


class TestBroken:
    def test_a_bucket_without_locks_is_told_where_locks_are_asked_for(
        self, client: S3Client, store: S3ObjectStore, tmp_path: Path
    ) -> None:
        bucket = replace(store.bucket, lock_mode="GOVERNANCE")
        store = S3ObjectStore(client, bucket)

        assert broken(trials_of_s3(store, _SEVEN_YEARS, tmp_path)) == [
            "objects can be locked, each until its own date",
            "what is locked stays",
        ]

    def test_governance_is_passed_by_whoever_has_the_right(
        self, client: S3Client, own_prefix: str, tmp_path: Path
    ) -> None:
        store = S3ObjectStore(client, S3Bucket("locks", prefix=own_prefix, lock_mode="GOVERNANCE"))

        assert broken(trials_of_s3(store, _SEVEN_YEARS, tmp_path)) == ["this login cannot pass a lock"]

    @pytest.mark.parametrize(("days", "early"), [(_SEVEN_YEARS - 1, True), (_SEVEN_YEARS, False)])
    def test_a_rule_that_ends_archives_is_told(
        self, client: S3Client, own_prefix: str, tmp_path: Path, days: int, early: bool
    ) -> None:
        name = f"rules-{own_prefix}"
        store = S3ObjectStore(client, S3Bucket(name))
        store.create()
        client.put_bucket_lifecycle_configuration(
            Bucket=name,
            LifecycleConfiguration={
                "Rules": [{"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": days}}]
            },
        )

        assert broken(trials_of_s3(store, _SEVEN_YEARS, tmp_path)) == (
            ["no lifecycle rule deletes too early"] if early else []
        )


class Overwriting(StoreBetween):
    """A store whose last writer wins."""

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        self._store.delete(key)
        return self._store.put_bytes(key, data)


def test_the_daily_check_says_what_is_broken_and_what_to_do(services: Services) -> None:
    kept = cold_store_verdict(services)
    told = cold_store_verdict(replace(services, store=Overwriting(services.store)))

    assert not kept.fails
    assert told.fails
    assert "never overwritten: a second put" in (told.problem or "")
    assert "If-None-Match" in (told.remedy or "")


class TestServicesThatLie:
    @pytest.mark.parametrize(
        ("operation", "names", "promises"),
        [
            ("PutObject", ("IfNoneMatch",), ["what is put once is never overwritten"]),
            ("PutObject", ("IfMatch",), ["the checkpoint is replaced by compare and swap"]),
            ("PutObject", ("ChecksumSHA256",), ["a checksum that does not match is refused"]),
            ("PutObject", ("ObjectLockMode", "ObjectLockRetainUntilDate"), ["what is locked stays"]),
            (
                "CreateMultipartUpload",
                ("ObjectLockMode", "ObjectLockRetainUntilDate"),
                ["what is put in pieces is locked, too"],
            ),
            ("PutObjectLegalHold", ("LegalHold",), ["what is held stays until it is let go of"]),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    def test_what_a_service_ignores_is_told_by_name(  # noqa: PLR0917 - one row of the table
        self,
        forgetful: S3Client,
        own_prefix: str,
        tmp_path: Path,
        operation: str,
        names: tuple[str, ...],
        promises: list[str],
    ) -> None:
        store: ObjectStore = S3ObjectStore(forgetful, S3Bucket("locks", prefix=own_prefix, lock_mode="COMPLIANCE"))
        forget(forgetful, operation, *names)

        assert isinstance(store, S3ObjectStore)
        assert broken([*trials_of_the_port(store), *trials_of_s3(store, _SEVEN_YEARS, tmp_path)]) == promises

    def test_what_cannot_be_tried_is_unknown_and_not_kept(self, forgetful: S3Client, tmp_path: Path) -> None:
        store = S3ObjectStore(forgetful, S3Bucket("nowhere", lock_mode="COMPLIANCE"))

        found = [*trials_of_the_port(store), *trials_of_s3(store, _SEVEN_YEARS, tmp_path)]

        assert not [check.name for check in found if check.ok]


class TestHolds:
    def test_a_probe_that_a_killed_trial_left_held_is_let_go_of_later(self, locked_store: S3ObjectStore) -> None:
        left = f"{PROBES}held/20200101T000000Z-left"
        young = f"{PROBES}held/99990101T000000Z-young"
        for key in (left, young):
            locked_store.put_bytes(key, b"data")
            locked_store.set_hold(key, held=True)

        checks = {check.name: check for check in trials_of_the_port(locked_store)}

        assert checks["what is held stays until it is let go of"].ok
        assert [info.key for info in locked_store.list(f"{PROBES}held/")] == [young]
        locked_store.set_hold(young, held=False)

    def test_a_store_without_holds_is_a_risk_and_nothing_broken(self, store: S3ObjectStore) -> None:
        checks = {check.name: check for check in trials_of_the_port(store)}

        found = checks["what is held stays until it is let go of"]

        assert (found.is_risk, found.fails) == (True, False)
        assert list(store.list(PROBES)) == []
