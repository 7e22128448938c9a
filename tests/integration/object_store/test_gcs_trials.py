"""Each promise of a bucket of Google Cloud Storage is tried, and a bucket that does not keep one is told apart.

The service is the tests' own: whether the real one answers so was not tried.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.object_store.gcs import GcsBucket, GcsObjectStore
from compliance_pipelines.object_store.promises import PROBES
from compliance_pipelines.object_store.trials import store_trials
from compliance_pipelines.orchestration.checks import cold_store_verdict
from tests.integration.object_store.gcs_stores import KEY_RING, gcs, gcs_locked_store, gcs_store, rules, service_at
from tests.integration.object_store.test_gcs import bucket_of

if TYPE_CHECKING:
    from compliance_pipelines.base.health import HealthCheck
    from compliance_pipelines.services import Services
    from tests.support.gcs_rules import GcsRules
    from tests.support.gcs_server import GcsServer

__all__ = ["gcs", "gcs_locked_store", "gcs_store", "rules"]  # fixtures

_YEARS = 7
_SEVEN_YEARS = 7 * 366
_UNDELETION = "what is deleted by mistake can be had back"
_RIGHTS = "this login has the rights that it needs, and no more"
_LOCKS = "objects can be locked, each until its own date"


@pytest.fixture
def store(gcs_locked_store: GcsObjectStore, rules: GcsRules) -> GcsObjectStore:
    """In a bucket as docs/cold-storage.md makes it, with the rights that it gives."""
    bucket_of(rules, gcs_locked_store).rights -= {
        "storage.buckets.delete",
        "storage.buckets.setIamPolicy",
        "storage.buckets.update",
        "storage.objects.overrideUnlockedRetention",
    }
    return gcs_locked_store


def told(store: GcsObjectStore) -> dict[str, HealthCheck]:
    return {check.name: check for check in store_trials(store, _YEARS)}


def broken(store: GcsObjectStore) -> list[str]:
    return [name for name, check in told(store).items() if check.fails]


def risks(store: GcsObjectStore) -> dict[str, str]:
    return {name: check.message for name, check in told(store).items() if check.is_risk}


def test_a_bucket_as_it_is_described_keeps_everything(store: GcsObjectStore, rules: GcsRules) -> None:
    found = told(store)

    assert {name: check.message for name, check in found.items() if not check.ok} == {}
    assert set(found) >= {
        "it can be reached, written and read",
        "its clock is ours",
        "what is put once is never overwritten",
        "the checkpoint is replaced by compare and swap",
        "everything is listed, in the order of the keys",
        _RIGHTS,
        _UNDELETION,
        _LOCKS,
        "no lifecycle rule deletes too early",
        "the service encrypts",
        "nobody has public access",
        "a checksum that does not match is refused",
        "its objects can be listed",
        "what is locked cannot be deleted",
        "no lock can be shortened",
        "this login cannot pass a lock",
        "what is locked is not lost when something is put over it",
        "what is put in pieces is locked, too",
    }
    assert "7 days after it was deleted, a key that was destroyed" in found[_UNDELETION].message
    assert [info.key for info in store.list(PROBES) if "/locked/" not in info.key] == []
    assert len(list(store.list(PROBES))) == 2
    # A trial after two minutes removes them (and puts none, since this machine's clock did not go on).
    rules.clock = lambda: datetime.now(UTC) + timedelta(minutes=3)
    told(store)
    assert list(store.list(PROBES)) == []


def test_the_daily_check_says_what_is_broken_and_what_to_do(
    services: Services, store: GcsObjectStore, rules: GcsRules
) -> None:
    kept = cold_store_verdict(replace(services, store=store))
    bucket_of(rules, store).settings["defaultEventBasedHold"] = True
    verdict = cold_store_verdict(replace(services, store=store))

    assert not kept.fails
    assert verdict.fails
    assert "it holds each new object" in (verdict.problem or "")
    assert "turn the default event-based hold off" in (verdict.remedy or "")


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "promises", "remedy"),
        [
            ({"objectRetention": {}}, [_LOCKS, "what is locked stays"], "turn object retention on"),
            ({"retentionPolicy": {"retentionPeriod": "3600"}}, [_LOCKS], "remove the retention policy"),
        ],
    )
    def test_a_bucket_that_cannot_lock_each_object_by_its_own_date(
        self, store: GcsObjectStore, rules: GcsRules, settings: dict[str, Any], promises: list[str], remedy: str
    ) -> None:
        bucket_of(rules, store).settings |= settings

        found = told(store)

        assert [name for name, check in found.items() if check.fails] == promises
        assert remedy in str(found[_LOCKS].remedy)

    @pytest.mark.parametrize(
        ("condition", "early"),
        [
            ({"age": _SEVEN_YEARS - 1}, True),
            ({"age": _SEVEN_YEARS}, False),
            ({"createdBefore": "2027-01-01"}, True),
            ({"isLive": True}, True),
            ({"matchesPrefix": ["audit-"], "age": 30}, True),
            ({"matchesStorageClass": ["STANDARD"], "age": 30}, True),
            ({"matchesSuffix": [".parquet"], "age": 30}, True),
            ({"isLive": False, "age": 1}, False),
            ({"daysSinceNoncurrentTime": 1}, False),
            ({"numNewerVersions": 1}, False),
            ({"daysSinceCustomTime": 1}, False),
        ],
    )
    def test_a_rule_that_ends_archives_is_told(
        self, store: GcsObjectStore, rules: GcsRules, condition: dict[str, Any], early: bool
    ) -> None:
        bucket_of(rules, store).settings["lifecycle"] = {
            "rule": [
                {"action": {"type": "SetStorageClass", "storageClass": "COLDLINE"}, "condition": {"age": 30}},
                {"action": {"type": "Delete"}, "condition": condition},
            ]
        }

        assert broken(store) == (["no lifecycle rule deletes too early"] if early else [])

    @pytest.mark.parametrize(
        ("prefixes", "early"),
        [(["audit/prod/audit-archives/"], True), (["audit/"], True), (["tmp/", "audit/test"], False)],
    )
    def test_a_rule_for_other_keys_ends_no_archive(
        self, gcs_store: GcsObjectStore, rules: GcsRules, prefixes: list[str], early: bool
    ) -> None:
        bucket_of(rules, gcs_store).settings["lifecycle"] = {
            "rule": [{"action": {"type": "Delete"}, "condition": {"age": 1, "matchesPrefix": prefixes}}]
        }

        assert broken(gcs_store) == (["no lifecycle rule deletes too early"] if early else [])

    @pytest.mark.parametrize(
        ("settings", "promise", "said"),
        [
            (
                {"softDeletePolicy": {"retentionDurationSeconds": "0"}},
                _UNDELETION,
                "gone",
            ),
            ({"versioning": {"enabled": True}}, "no lifecycle rule deletes too early", "versions that were replaced"),
            ({"iamConfiguration": {}}, "nobody has public access", "lists of their own"),
            (
                {
                    "iamConfiguration": {
                        "uniformBucketLevelAccess": {"enabled": True},
                        "publicAccessPrevention": "inherited",
                    }
                },
                "nobody has public access",
                "not prevented",
            ),
        ],
    )
    def test_what_breaks_nothing_and_may_lose_something_is_a_risk(
        self, store: GcsObjectStore, rules: GcsRules, settings: dict[str, Any], promise: str, said: str
    ) -> None:
        bucket_of(rules, store).settings |= settings

        assert broken(store) == []
        (found,) = risks(store).items()
        assert found[0] == promise
        assert said in found[1]

    def test_a_store_that_is_told_to_lock_nothing_is_at_risk(
        self, gcs_store: GcsObjectStore, store: GcsObjectStore
    ) -> None:
        assert risks(gcs_store)[_LOCKS] == "nothing is locked"
        unlocked = GcsObjectStore(store.service, replace(store.bucket, lock_mode=None))
        assert risks(unlocked)[_LOCKS] == "the bucket can lock, and nothing is locked"

    def test_whose_key_encrypts_is_told(self, store: GcsObjectStore, rules: GcsRules) -> None:
        assert "keys of Google's" in told(store)["the service encrypts"].message
        bucket_of(rules, store).settings["encryption"] = {"defaultKmsKeyName": KEY_RING}
        assert f"{KEY_RING} by the bucket's default" in told(store)["the service encrypts"].message
        own = GcsObjectStore(store.service, replace(store.bucket, kms_key=KEY_RING))
        assert "asked for with each object" in told(own)["the service encrypts"].message

    def test_a_clock_that_is_another_is_told(self, store: GcsObjectStore, rules: GcsRules) -> None:
        rules.clock = lambda: datetime.now(UTC) - timedelta(seconds=90)

        assert broken(store) == ["its clock is ours"]


class TestRights:
    @pytest.mark.parametrize("right", ["storage.objects.update", "storage.buckets.get", "storage.objects.setRetention"])
    def test_one_that_is_missing_is_named(self, store: GcsObjectStore, rules: GcsRules, right: str) -> None:
        bucket_of(rules, store).rights.remove(right)

        check = told(store)[_RIGHTS]

        assert check.fails
        assert right in check.message

    def test_locking_is_needed_where_objects_are_locked(self, gcs_store: GcsObjectStore, rules: GcsRules) -> None:
        bucket_of(rules, gcs_store).rights.remove("storage.objects.setRetention")

        assert _RIGHTS not in broken(gcs_store)

    @pytest.mark.parametrize("right", ["storage.buckets.update", "storage.objects.overrideUnlockedRetention"])
    def test_one_too_many_is_a_risk(self, store: GcsObjectStore, rules: GcsRules, right: str) -> None:
        bucket_of(rules, store).rights.add(right)

        assert broken(store) == []
        assert right in risks(store)[_RIGHTS]

    def test_an_unlocked_lock_is_passed_by_whoever_has_the_right(self, store: GcsObjectStore, rules: GcsRules) -> None:
        passing = GcsObjectStore(store.service, replace(store.bucket, lock_mode="Unlocked"))
        assert broken(passing) == []

        bucket_of(rules, store).rights.add("storage.objects.overrideUnlockedRetention")

        assert broken(passing) == ["this login cannot pass a lock"]


class TestServicesThatLie:
    @pytest.mark.parametrize(
        ("ignored", "promises"),
        [
            (
                "ifGenerationMatch",
                ["what is put once is never overwritten", "the checkpoint is replaced by compare and swap"],
            ),
            ("crc32c", ["a checksum that does not match is refused"]),
            ("retention", ["what is locked stays"]),
        ],
    )
    def test_what_a_service_ignores_is_told_by_name(
        self, store: GcsObjectStore, rules: GcsRules, ignored: str, promises: list[str]
    ) -> None:
        rules.ignored.add(ignored)

        assert broken(store) == promises

    def test_a_service_that_keeps_no_lock_is_told(self, store: GcsObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """It takes and shows the lock, and keeps nobody from anything."""
        monkeypatch.setattr("tests.support.gcs_rules.StoredObject.locked", lambda *_: False)

        assert broken(store) == [
            "what is locked cannot be deleted",
            "no lock can be shortened",
            "this login cannot pass a lock",
            "what is locked is not lost when something is put over it",
        ]

    def test_with_versions_the_locked_generation_stays_behind_what_is_put_over_it(
        self, store: GcsObjectStore, rules: GcsRules
    ) -> None:
        bucket_of(rules, store).settings["versioning"] = {"enabled": True}

        check = told(store)["what is locked is not lost when something is put over it"]

        assert check.ok
        assert "still there, behind the newer one" in check.message

    def test_what_cannot_be_tried_is_unknown_and_not_kept(self, gcs: GcsServer) -> None:
        store = GcsObjectStore(service_at(gcs.url), GcsBucket("nowhere", lock_mode="Locked"))

        assert [name for name, check in told(store).items() if check.ok] == []
