"""The promises of the port, and those of Google Cloud Storage alone, on a service of the tests' own.

Nothing here was tried on the real service. The service that answers is tests/support/gcs_server.py: it keeps and
refuses what Google's documents say, as far as its author read them right. What Google's own client sends is real, and
so is HTTP. tests/integration/object_store/test_gcs_emulator.py tries the same promises on an emulator by others.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import certifi
import pytest
from google.oauth2.credentials import Credentials

from compliance_pipelines.ledger.object_retention import ObjectRetention
from compliance_pipelines.object_store.gcs import GcsBucket, GcsObjectStore
from compliance_pipelines.object_store.gcs_client import GcsEndpoint
from compliance_pipelines.object_store.port import (
    BrokenPromiseError,
    ObjectExistsError,
    ObjectMissingError,
    ObjectReplacedError,
    ObjectStoreError,
    RefusedByStoreError,
    StoreMissingError,
)
from tests.integration.object_store.conftest import kept_for_two_days
from tests.integration.object_store.gcs_stores import (
    KEY_RING,
    gcs,
    gcs_locked_store,
    gcs_store,
    rules,
    service_at,
)
from tests.support.certificates import write_certificate
from tests.support.tls_relay import server_context, tls_relay
from tests.unit.object_store.contract import KEY, SEVERAL_BUFFERS, ObjectStoreContract

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.gcs_rules import GcsRules, StoredBucket, StoredObject
    from tests.support.gcs_server import GcsServer

__all__ = ["gcs", "gcs_locked_store", "gcs_store", "rules"]  # fixtures

_TOO_LONG = {"mode": "Locked", "retainUntilTime": "2100-01-01T00:00:00Z"}
_credentials: Callable[[str], Any] = Credentials  # which has no types
_MORE_THAN_ONE_REQUEST = SEVERAL_BUFFERS * 6  # 19 MB: two pieces


def bucket_of(rules: GcsRules, store: GcsObjectStore) -> StoredBucket:
    return rules.bucket(store.bucket.name)


def stored(rules: GcsRules, store: GcsObjectStore, key: str = KEY) -> StoredObject:
    """The one generation that the service has of a key."""
    (found,) = bucket_of(rules, store).objects[store.object_key(key)]
    return found


def put_over(rules: GcsRules, store: GcsObjectStore, data: bytes = b"another", key: str = KEY) -> None:
    """What somebody else does who may write."""
    rules.put(store.bucket.name, {"name": store.object_key(key)}, {}, data)


class TestGcsObjectStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, gcs_store: GcsObjectStore) -> GcsObjectStore:
        return gcs_store


class TestGcsObjectStoreWithVersions(ObjectStoreContract):
    """Deleting and replacing leave nothing behind where the bucket would keep it."""

    @pytest.fixture
    def store(self, gcs_store: GcsObjectStore, rules: GcsRules) -> GcsObjectStore:
        bucket_of(rules, gcs_store).settings["versioning"] = {"enabled": True}
        return gcs_store

    def test_a_replaced_object_has_one_generation_left(self, store: GcsObjectStore, rules: GcsRules) -> None:
        store.put_bytes("checkpoint", b"1")
        for number in range(2, 5):
            store.replace("checkpoint", str(number).encode(), store.read_versioned("checkpoint", 10).version)

        assert stored(rules, store, "checkpoint").data == b"4"


class TestMissing:
    """A bucket that is not there is never taken for one without objects."""

    @pytest.fixture
    def nowhere(self, gcs: GcsServer) -> GcsObjectStore:
        return GcsObjectStore(service_at(gcs.url), GcsBucket("nowhere"))

    def test_each_method_says_so(self, nowhere: GcsObjectStore, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(_MORE_THAN_ONE_REQUEST)
        calls: list[Callable[[], object]] = [
            lambda: nowhere.stat(KEY),
            lambda: nowhere.get_bytes(KEY),
            lambda: nowhere.read_versioned(KEY, 1),
            lambda: nowhere.download(KEY, tmp_path / "copy"),
            lambda: list(nowhere.list("")),
            lambda: nowhere.put_bytes(KEY, b"data"),
            lambda: nowhere.put_file(KEY, tmp_path / "source"),
            lambda: nowhere.replace(KEY, b"data", "1"),
            lambda: nowhere.confirm(KEY),
            lambda: nowhere.has_hold(KEY),
            lambda: nowhere.locked_until(KEY),
            lambda: nowhere.set_hold(KEY, held=True),
            lambda: nowhere.at_versions({KEY: "1"}).stat(KEY),
            lambda: nowhere.delete(KEY),
            nowhere.now,
        ]
        for call in calls:
            with pytest.raises(StoreMissingError, match="nowhere"):
                call()

    def test_nobody_makes_it_but_create_where_it_is_told(self, nowhere: GcsObjectStore, rules: GcsRules) -> None:
        with pytest.raises(ObjectStoreError, match="GCP_GCS_LOCATION"):
            nowhere.create()
        assert rules.buckets == {}

        bucket = GcsBucket("nowhere", lock_mode="Unlocked", kms_key=KEY_RING, location="EUROPE-WEST3")
        for _ in range(2):
            GcsObjectStore(nowhere.service, bucket).create()

        settings = rules.bucket("nowhere").settings
        assert settings["location"] == "EUROPE-WEST3"
        assert settings["objectRetention"] == {"mode": "Enabled"}
        assert settings["encryption"]["defaultKmsKeyName"] == KEY_RING
        assert settings["iamConfiguration"]["publicAccessPrevention"] == "enforced"
        assert settings["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
        assert list(nowhere.list("")) == []

    def test_two_make_it_at_the_same_moment(
        self, nowhere: GcsObjectStore, rules: GcsRules, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = GcsObjectStore(nowhere.service, replace(nowhere.bucket, location="EU"))
        make = store._make_bucket

        def make_it_first() -> None:
            rules.make_bucket({"name": "nowhere"}, {})
            make()

        monkeypatch.setattr(store, "_make_bucket", make_it_first)

        store.create()

        assert list(store.list("")) == []


class TestAccess:
    @pytest.mark.parametrize("right", ["storage.objects.get", "storage.objects.list"])
    def test_what_may_not_be_looked_at_is_not_missing(
        self, gcs_store: GcsObjectStore, rules: GcsRules, right: str
    ) -> None:
        bucket_of(rules, gcs_store).rights.remove(right)

        with pytest.raises(RefusedByStoreError, match=right):
            gcs_store.stat(KEY)

    @pytest.mark.parametrize(
        ("right", "call"),
        [
            ("storage.objects.create", lambda store: store.put_bytes("new", b"")),
            ("storage.objects.list", lambda store: list(store.list(""))),
            ("storage.objects.list", lambda store: store.delete(KEY)),
            ("storage.objects.delete", lambda store: store.delete(KEY)),
            ("storage.objects.delete", lambda store: store.replace(KEY, b"", store.read_versioned(KEY, 9).version)),
            ("storage.objects.update", lambda store: store.set_hold(KEY, held=True)),
        ],
    )
    def test_a_right_that_is_missing_is_named(
        self, gcs_store: GcsObjectStore, rules: GcsRules, right: str, call: Callable[[GcsObjectStore], object]
    ) -> None:
        gcs_store.put_bytes(KEY, b"data")
        bucket_of(rules, gcs_store).rights.remove(right)

        with pytest.raises(RefusedByStoreError, match=f"403 forbidden.*{right}"):
            call(gcs_store)

    def test_whoever_may_read_alone_can_tell_what_is_missing(self, gcs_store: GcsObjectStore, rules: GcsRules) -> None:
        """An auditor, who may not look at the bucket's settings."""
        gcs_store.put_bytes(KEY, b"data")
        bucket_of(rules, gcs_store).rights = {"storage.objects.get", "storage.objects.list"}

        assert gcs_store.get_bytes(KEY) == b"data"
        assert gcs_store.stat("none") is None
        with pytest.raises(ObjectMissingError):
            gcs_store.get_bytes("none")

    def test_locking_needs_a_right_of_its_own(self, gcs_locked_store: GcsObjectStore, rules: GcsRules) -> None:
        bucket_of(rules, gcs_locked_store).rights.remove("storage.objects.setRetention")

        with pytest.raises(RefusedByStoreError, match=r"storage\.objects\.setRetention"):
            gcs_locked_store.put_bytes(KEY, b"data")

        assert gcs_locked_store.stat(KEY) is None

    def test_without_credentials_the_message_says_where_they_are_looked_for(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
        store = GcsObjectStore(GcsEndpoint(url="https://127.0.0.1:9").open(), GcsBucket("any"))

        with pytest.raises(RefusedByStoreError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            store.stat(KEY)

    def test_an_emulator_of_the_environment_is_not_gone_to(
        self, gcs_store: GcsObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Google's library would, in silence."""
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
        store = GcsObjectStore(service_at(gcs_store.service.endpoint.url or ""), gcs_store.bucket)

        store.put_bytes(KEY, b"data")

        assert gcs_store.get_bytes(KEY) == b"data"


class TestTls:
    def test_an_authority_of_ones_own_is_believed_and_a_token_is_sent_to_it(
        self, gcs_store: GcsObjectStore, gcs: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate, key = write_certificate(tmp_path)
        # What requests would rather believe.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
        gcs_store.put_bytes(KEY, b"data")
        assert gcs.tokens == []

        with tls_relay(server_context(certificate, key), gcs.port) as port:
            endpoint = GcsEndpoint(url=f"https://127.0.0.1:{port}", timeout_seconds=1, first_wait_seconds=0.01)
            believing = GcsObjectStore(
                replace(endpoint, ca_file=certificate).open(_credentials("secret")), gcs_store.bucket
            )
            doubting = GcsObjectStore(endpoint.open(_credentials("secret")), gcs_store.bucket)

            assert believing.get_bytes(KEY) == b"data"
            asked = len(gcs.tokens)
            with pytest.raises(ObjectStoreError, match="CERTIFICATE_VERIFY_FAILED"):
                doubting.get_bytes(KEY)

        assert set(gcs.tokens) == {"Bearer secret"}
        assert len(gcs.tokens) == asked


class TestPutOnce:
    def test_nothing_is_asked_but_what_is_needed(self, gcs: GcsServer, gcs_store: GcsObjectStore) -> None:
        gcs_store.put_bytes("a", b"data")
        gcs_store.get_bytes("a")

        place = f"storage/v1/b/{gcs_store.bucket.name}/o"
        name = "audit%2Fprod%2Fa"
        assert gcs.requests == [
            f"GET /{place}",  # of making the bucket
            "POST /storage/v1/b",
            f"POST /upload/{place}",
            f"GET /{place}/{name}",
            f"GET /{place}",
            f"GET /{place}/{name}",
            f"GET /download/{place}/{name}",
        ]

    def test_checksums_generation_and_key_are_those_of_the_service(
        self, gcs_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        store = GcsObjectStore(gcs_store.service, replace(gcs_store.bucket, kms_key=KEY_RING))

        info = store.put_bytes(KEY, b"data")

        found = stored(rules, store)
        assert info.version == str(found.generation)
        assert found.fields["metadata"] == {"sha256": hashlib.sha256(b"data").hexdigest()}
        assert found.fields["kmsKeyName"] == f"{KEY_RING}/cryptoKeyVersions/1"

    def test_what_is_large_is_put_in_pieces_with_the_same_promises(
        self, gcs: GcsServer, gcs_locked_store: GcsObjectStore, rules: GcsRules, tmp_path: Path
    ) -> None:
        store = gcs_locked_store
        (tmp_path / "large").write_bytes(_MORE_THAN_ONE_REQUEST)

        info = store.put_file(KEY, tmp_path / "large")

        assert gcs.uploads
        digest = hashlib.sha256(_MORE_THAN_ONE_REQUEST).hexdigest()
        assert (info.size, info.sha256) == (len(_MORE_THAN_ONE_REQUEST), digest)
        assert store.stat(KEY) == info
        assert store.get_bytes(KEY) == _MORE_THAN_ONE_REQUEST
        assert (stored(rules, store).retention or {})["mode"] == "Locked"
        with pytest.raises(ObjectExistsError):
            store.put_file(KEY, tmp_path / "large")

    def test_who_is_faster_while_pieces_are_sent_is_not_overwritten(
        self,
        gcs_store: GcsObjectStore,
        rules: GcsRules,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "large").write_bytes(_MORE_THAN_ONE_REQUEST)
        put = rules.put

        def put_first(*arguments: Any) -> StoredObject:  # noqa: ANN401 - handed on
            monkeypatch.setattr(rules, "put", put)
            put_over(rules, gcs_store, b"first")
            return put(*arguments)

        monkeypatch.setattr(rules, "put", put_first)

        with pytest.raises(ObjectExistsError):
            gcs_store.put_file(KEY, tmp_path / "large")

        assert stored(rules, gcs_store).data == b"first"

    @pytest.mark.parametrize("data", [b"data", _MORE_THAN_ONE_REQUEST], ids=["at once", "in pieces"])
    def test_bytes_that_change_on_the_way_are_refused_by_the_service(
        self, gcs_store: GcsObjectStore, rules: GcsRules, tmp_path: Path, data: bytes
    ) -> None:
        (tmp_path / "source").write_bytes(data)
        rules.instead["data"] = b"DATA"

        with pytest.raises(RefusedByStoreError, match="CRC32C"):
            gcs_store.put_file(KEY, tmp_path / "source")

        assert gcs_store.stat(KEY) is None

    def test_a_source_that_shrinks_is_no_object(
        self, gcs_store: GcsObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "source"
        path.write_bytes(b"data")
        upload = gcs_store._upload

        def shrink(*arguments: Any) -> object:  # noqa: ANN401 - handed on
            made = upload(*arguments)
            path.write_bytes(b"dat")
            return made

        monkeypatch.setattr(gcs_store, "_upload", shrink)

        with pytest.raises(ObjectStoreError, match="source changed"):
            gcs_store.put_file(KEY, path)

        assert gcs_store.stat(KEY) is None

    def test_a_key_that_was_deleted_and_is_kept_is_not_taken_for_new(
        self, gcs_locked_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        bucket = bucket_of(rules, gcs_locked_store)
        bucket.settings["versioning"] = {"enabled": True}
        first = gcs_locked_store.put_bytes(KEY, b"first")
        rules.delete(bucket, gcs_locked_store.object_key(KEY), {})
        assert gcs_locked_store.stat(KEY) is None

        with pytest.raises(BrokenPromiseError, match="1 other generation"):
            gcs_locked_store.put_bytes(KEY, b"second")

        assert gcs_locked_store.at_versions({KEY: first.version or ""}).get_bytes(KEY) == b"first"

    def test_a_store_that_cannot_lock_is_no_store_of_locked_objects(self, gcs_store: GcsObjectStore) -> None:
        bucket = replace(gcs_store.bucket, lock_mode="Locked")
        unlocked = GcsObjectStore(gcs_store.service, bucket, retain_until=kept_for_two_days)

        with pytest.raises(RefusedByStoreError, match="retention is not enabled"):
            unlocked.put_bytes(KEY, b"data")

    @pytest.mark.parametrize("expected", ["0", "-1", "", "etag id", "1.5", "\u0661"])
    def test_what_is_no_generation_replaces_nothing(self, gcs_store: GcsObjectStore, expected: str) -> None:
        """A zero would mean that there must be no object, and would put one."""
        with pytest.raises(ObjectStoreError, match="no generation"):
            gcs_store.replace(KEY, b"data", expected)

        assert gcs_store.stat(KEY) is None


class TestServicesThatLie:
    """Whatever a service takes and does not keep is an error of the put."""

    @pytest.mark.parametrize(
        ("ignored", "instead", "said"),
        [
            ({"retention"}, {}, "its lock is none"),
            (
                (),
                {"retention": {**_TOO_LONG, "mode": "Unlocked"}},
                "its lock is Unlocked",
            ),
            ((), {"retention": _TOO_LONG}, "its lock ends on 2100"),
            ({"metadata"}, {}, "does not carry"),
            ({"crc32c"}, {"data": b"DATA"}, "its CRC32C is"),
            ({"crc32c"}, {"data": b"dat"}, "it has 3 bytes in place of 4"),
            ({"kmsKeyName"}, {}, "its key is none"),
            ((), {"kmsKeyName": f"{KEY_RING}-2/cryptoKeyVersions/1"}, "its key is projects"),
            ((), {"contentEncoding": "gzip"}, "encoded as gzip"),
            ((), {"eventBasedHold": True}, "event-based hold"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_not_kept_is_no_success(
        self, gcs_locked_store: GcsObjectStore, rules: GcsRules, ignored: set[str], instead: dict[str, Any], said: str
    ) -> None:
        bucket = replace(gcs_locked_store.bucket, kms_key=KEY_RING)
        store = GcsObjectStore(gcs_locked_store.service, bucket, retain_until=kept_for_two_days)
        store.put_bytes(f"{KEY}.0", b"data")
        rules.ignored |= set(ignored)
        rules.instead |= instead

        with pytest.raises(BrokenPromiseError, match=said):
            store.put_bytes(KEY, b"data")

    def test_what_must_be_replaceable_is_not_locked(self, gcs_locked_store: GcsObjectStore, rules: GcsRules) -> None:
        rules.instead["retention"] = _TOO_LONG

        with pytest.raises(BrokenPromiseError, match="must be replaceable"):
            gcs_locked_store.put_bytes("removable/a", b"data")

    def test_a_second_generation_is_no_success(self, gcs_locked_store: GcsObjectStore, rules: GcsRules) -> None:
        bucket_of(rules, gcs_locked_store).settings["versioning"] = {"enabled": True}
        gcs_locked_store.put_bytes(KEY, b"first")
        rules.ignored.add("ifGenerationMatch")

        with pytest.raises(BrokenPromiseError, match="1 other generation"):
            gcs_locked_store.put_bytes(KEY, b"second")

    def test_bytes_of_a_service_that_says_no_checksum_are_read(
        self, gcs_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        rules.hidden.add("crc32c")

        gcs_store.put_bytes(KEY, b"data")

        rules.ignored.add("crc32c")
        rules.instead["data"] = b"DATA"
        with pytest.raises(BrokenPromiseError, match="bytes are not those"):
            gcs_store.put_bytes(f"{KEY}.2", b"data")

    def test_what_is_gone_after_it_was_taken_is_no_success(
        self, gcs_store: GcsObjectStore, rules: GcsRules, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put = rules.put

        def lose(*arguments: Any) -> StoredObject:  # noqa: ANN401 - handed on
            made = put(*arguments)
            bucket_of(rules, gcs_store).objects.clear()
            return made

        monkeypatch.setattr(rules, "put", lose)

        with pytest.raises(BrokenPromiseError, match="is not there"):
            gcs_store.put_bytes(KEY, b"data")

    def test_a_hold_that_is_agreed_to_and_not_set_is_no_success(
        self, gcs_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        gcs_store.put_bytes(KEY, b"data")
        rules.ignored.add("temporaryHold")

        with pytest.raises(BrokenPromiseError, match="did not do it"):
            gcs_store.set_hold(KEY, held=True)


class TestLocks:
    """The server refuses, whatever is asked."""

    def test_the_lock_is_the_one_of_the_rule(self, gcs_locked_store: GcsObjectStore, rules: GcsRules) -> None:
        rules.clock = lambda: datetime(2026, 11, 30, tzinfo=UTC)
        until = datetime(2033, 10, 2, tzinfo=UTC)
        store = GcsObjectStore(gcs_locked_store.service, gcs_locked_store.bucket, retain_until=lambda _: until)

        store.put_bytes(KEY, b"data")

        retention = stored(rules, store).retention
        assert retention is not None
        assert (retention["mode"], datetime.fromisoformat(retention["retainUntilTime"])) == ("Locked", until)

    def test_neither_deleting_nor_replacing_passes_it(self, gcs_locked_store: GcsObjectStore, rules: GcsRules) -> None:
        store = gcs_locked_store
        store.put_bytes(KEY, b"data")

        with pytest.raises(RefusedByStoreError, match=f"{KEY}.*retentionPolicyNotMet"):
            store.delete(KEY)
        with pytest.raises(RefusedByStoreError, match=KEY):
            store.replace(KEY, b"another", store.read_versioned(KEY, 9).version)

        assert store.get_bytes(KEY) == b"data"
        rules.clock = lambda: datetime.now(UTC) + timedelta(days=3)
        store.delete(KEY)
        assert store.stat(KEY) is None

    def test_a_day_that_is_older_than_its_retention_is_kept_without_a_lock(
        self, gcs_locked_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        key = KEY.replace("2025", "2015")
        store = GcsObjectStore(gcs_locked_store.service, gcs_locked_store.bucket, retain_until=ObjectRetention(7))

        info = store.put_bytes(key, b"data")

        assert store.confirm(key) == info
        assert stored(rules, store, key).retention is None

    def test_what_has_no_date_is_not_locked(self, gcs_locked_store: GcsObjectStore) -> None:
        gcs_locked_store.put_bytes("removable/a", b"data")

        gcs_locked_store.delete("removable/a")

        assert gcs_locked_store.stat("removable/a") is None

    def test_until_when_it_lasts_is_told_of_the_known_generation_until_it_ends(
        self, gcs_locked_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        bucket_of(rules, gcs_locked_store).settings["versioning"] = {"enabled": True}
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        store = GcsObjectStore(gcs_locked_store.service, gcs_locked_store.bucket, retain_until=lambda _: until)
        info = store.put_bytes(KEY, b"data")
        put_over(rules, store)
        pinned = store.at_versions({KEY: info.version or ""})

        assert pinned.locked_until(KEY) == until
        assert store.locked_until(KEY) is None
        with pytest.raises(ObjectMissingError):
            store.locked_until("none")
        rules.clock = lambda: until
        assert pinned.locked_until(KEY) is None

    def test_the_buckets_own_policy_may_last_longer(self, gcs_store: GcsObjectStore, rules: GcsRules) -> None:
        gcs_store.put_bytes(KEY, b"data")
        stored(rules, gcs_store).fields["retentionExpirationTime"] = "2100-01-01T00:00:00.000Z"

        assert gcs_store.locked_until(KEY) == datetime(2100, 1, 1, tzinfo=UTC)

    def test_what_was_put_over_a_locked_object_goes_although_that_stays(
        self, gcs_locked_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        bucket = bucket_of(rules, gcs_locked_store)
        bucket.settings["versioning"] = {"enabled": True}
        gcs_locked_store.put_bytes(KEY, b"data")
        put_over(rules, gcs_locked_store)

        with pytest.raises(RefusedByStoreError, match="retentionPolicyNotMet"):
            gcs_locked_store.delete(KEY)

        assert [each.data for each in bucket.objects[KEY]] == [b"data"]

    def test_what_somebody_put_is_taken_over_if_it_is_locked_as_it_is_to_be(
        self, gcs_locked_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        store = gcs_locked_store
        info = store.put_bytes(KEY, b"data")
        later = replace(store.bucket, lock_mode="Unlocked")

        assert store.confirm(KEY) == info
        with pytest.raises(BrokenPromiseError, match="its lock is Locked"):
            GcsObjectStore(store.service, later, retain_until=kept_for_two_days).confirm(KEY)
        put_over(rules, store, key="other")
        with pytest.raises(BrokenPromiseError, match="its lock is none"):
            store.confirm("other")
        with pytest.raises(ObjectMissingError):
            store.confirm("none")


class TestHolds:
    def test_what_is_held_is_neither_deleted_nor_replaced_until_the_hold_ends(
        self, gcs_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        gcs_store.put_bytes(KEY, b"data")
        assert gcs_store.has_hold(KEY) is False

        for _ in range(2):
            gcs_store.set_hold(KEY, held=True)

        assert gcs_store.has_hold(KEY) is True
        assert stored(rules, gcs_store).metageneration == 2
        with pytest.raises(RefusedByStoreError, match="objectUnderActiveHold"):
            gcs_store.delete(KEY)
        with pytest.raises(RefusedByStoreError, match="objectUnderActiveHold"):
            gcs_store.replace(KEY, b"", gcs_store.read_versioned(KEY, 9).version)
        for _ in range(2):
            gcs_store.set_hold(KEY, held=False)
        gcs_store.delete(KEY)

    def test_a_lock_stays_what_it_was(self, gcs_locked_store: GcsObjectStore, rules: GcsRules) -> None:
        gcs_locked_store.put_bytes(KEY, b"data")
        before = stored(rules, gcs_locked_store).retention

        gcs_locked_store.set_hold(KEY, held=True)
        gcs_locked_store.set_hold(KEY, held=False)

        assert stored(rules, gcs_locked_store).retention == before

    def test_what_is_not_there_has_no_hold_to_be_told_of(self, gcs_store: GcsObjectStore) -> None:
        calls: list[Callable[[], object]] = [
            lambda: gcs_store.has_hold(KEY),
            lambda: gcs_store.set_hold(KEY, held=True),
        ]
        for call in calls:
            with pytest.raises(ObjectMissingError, match=KEY):
                call()

    def test_the_generation_that_is_known_is_held_and_not_the_one_that_was_put_over_it(
        self, gcs_locked_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        bucket = bucket_of(rules, gcs_locked_store)
        bucket.settings["versioning"] = {"enabled": True}
        info = gcs_locked_store.put_bytes(KEY, b"first")
        put_over(rules, gcs_locked_store)
        pinned = gcs_locked_store.at_versions({KEY: info.version or ""})

        pinned.set_hold(KEY, held=True)

        assert pinned.has_hold(KEY) is True
        assert gcs_locked_store.has_hold(KEY) is False
        assert [each.held for each in bucket.objects[KEY]] == [True, False]

    def test_somebody_who_changes_it_meanwhile_is_not_undone(
        self, gcs_store: GcsObjectStore, rules: GcsRules, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gcs_store.put_bytes(KEY, b"data")
        patch = rules.patch

        def change_first(found: StoredObject, *arguments: Any) -> StoredObject:  # noqa: ANN401 - handed on
            monkeypatch.setattr(rules, "patch", patch)
            patch(found, {"metadata": {"by": "somebody"}, "temporaryHold": True}, {})
            return patch(found, *arguments)

        monkeypatch.setattr(rules, "patch", change_first)

        gcs_store.set_hold(KEY, held=True)

        assert stored(rules, gcs_store).fields["metadata"] == {"by": "somebody"}
        assert gcs_store.has_hold(KEY) is True
        assert stored(rules, gcs_store).metageneration == 2


class TestVersions:
    """Whoever puts another object over one that is locked hides it from those alone who do not know its generation."""

    @pytest.fixture
    def store(self, gcs_locked_store: GcsObjectStore, rules: GcsRules) -> GcsObjectStore:
        bucket_of(rules, gcs_locked_store).settings["versioning"] = {"enabled": True}
        return gcs_locked_store

    def test_the_generation_that_was_put_is_read_whatever_came_later(
        self, store: GcsObjectStore, rules: GcsRules, tmp_path: Path
    ) -> None:
        info = store.put_bytes(KEY, b"first")
        pinned = store.at_versions({KEY: info.version or ""})
        hiding: list[Callable[[], object]] = [
            lambda: put_over(rules, store),
            lambda: rules.delete(bucket_of(rules, store), KEY, {}),
        ]
        for hide in hiding:
            hide()
            assert pinned.get_bytes(KEY) == b"first"
            assert pinned.stat(KEY) == info
            assert pinned.download(KEY, tmp_path / "copy") == info
            with pinned.open(KEY) as file:
                assert file.read() == b"first"
        assert store.stat(KEY) is None

    @pytest.mark.parametrize("version", ["1700000000000000", "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", "0", "²"])
    def test_a_version_of_another_bucket_is_no_reason_to_miss_the_object(
        self, store: GcsObjectStore, version: str
    ) -> None:
        info = store.put_bytes(KEY, b"first")
        pinned = store.at_versions({KEY: version})

        assert pinned.get_bytes(KEY) == b"first"
        assert pinned.stat(KEY) == info
        assert pinned.stat("other") is None

    def test_without_versions_nobody_hides_what_is_locked(
        self, gcs_locked_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        bucket_of(rules, gcs_locked_store).settings["versioning"] = {"enabled": False}
        gcs_locked_store.put_bytes(KEY, b"first")

        blob = gcs_locked_store.service.client.bucket(gcs_locked_store.bucket.name).blob(KEY)
        with pytest.raises(Exception, match="403"):
            blob.upload_from_string(b"another")

        assert gcs_locked_store.get_bytes(KEY) == b"first"


class TestReading:
    def test_an_opened_object_stays_what_it_was(self, gcs_store: GcsObjectStore, rules: GcsRules) -> None:
        bucket_of(rules, gcs_store).settings["versioning"] = {"enabled": True}
        gcs_store.put_bytes(KEY, SEVERAL_BUFFERS)
        version = gcs_store.read_versioned(KEY, len(SEVERAL_BUFFERS)).version

        with gcs_store.open(KEY) as file:
            assert file.read(10) == SEVERAL_BUFFERS[:10]
            put_over(rules, gcs_store)
            assert file.read() == SEVERAL_BUFFERS[10:]

        assert gcs_store.read_versioned(KEY, 10).version != version

    def test_one_that_is_replaced_and_not_kept_is_never_read_half_and_half(
        self, gcs_store: GcsObjectStore, rules: GcsRules
    ) -> None:
        gcs_store.put_bytes(KEY, SEVERAL_BUFFERS)

        with gcs_store.open(KEY) as file:
            file.read(10)
            put_over(rules, gcs_store, bytes(len(SEVERAL_BUFFERS)))
            with pytest.raises(OSError, match=KEY):
                file.read()

    def test_fewer_bytes_than_the_object_has_are_no_object(self, gcs_store: GcsObjectStore, rules: GcsRules) -> None:
        gcs_store.put_bytes(KEY, SEVERAL_BUFFERS)

        with gcs_store.open(KEY) as file:
            file.read(10)
            stored(rules, gcs_store).data = SEVERAL_BUFFERS[:-1]
            with pytest.raises(OSError, match="were asked for"):
                file.read()

    def test_a_listing_of_more_than_one_page_is_whole(self, gcs_store: GcsObjectStore, rules: GcsRules) -> None:
        keys = sorted(f"tile/entries/x{number // 100:03}/{number % 100:03}" for number in range(2_003))
        for key in keys:
            put_over(rules, gcs_store, b"", key)

        assert [info.key for info in gcs_store.list("")] == keys
        assert [info.key for info in gcs_store.list("tile/", start_after=keys[900])] == keys[901:]

    def test_the_time_is_the_services_own(self, gcs_store: GcsObjectStore, rules: GcsRules) -> None:
        rules.clock = lambda: datetime(2026, 11, 30, 12, 0, 5, tzinfo=UTC)

        assert gcs_store.now() == datetime(2026, 11, 30, 12, 0, 5, tzinfo=UTC)

    def test_what_was_replaced_meanwhile_is_told(self, gcs_store: GcsObjectStore, rules: GcsRules) -> None:
        gcs_store.put_bytes(KEY, b"1")
        version = gcs_store.read_versioned(KEY, 1).version
        put_over(rules, gcs_store, b"2")

        with pytest.raises(ObjectReplacedError):
            gcs_store.replace(KEY, b"3", version)
