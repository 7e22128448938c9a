"""The promises of the port, and those of S3 alone, on a real service.

SeaweedFS keeps objects in directories: it takes no name of 255 bytes, keeps the directory of a key that was deleted,
and lists `a/b` before `a-b`.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest
from botocore.exceptions import ClientError

from compliance_pipelines.ledger.object_retention import ObjectRetention
from compliance_pipelines.object_store.deferred import DeferredObjectStore
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import (
    BrokenPromiseError,
    ObjectExistsError,
    ObjectStoreError,
    RefusedByStoreError,
    StoreMissingError,
    UnsupportedByStoreError,
)
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint
from compliance_pipelines.object_store.versions import keeper_of
from tests.integration.object_store.conftest import forget, kept_for_two_days
from tests.unit.object_store.contract import (
    KEY,
    REMARKABLE_KEYS,
    SEVERAL_BUFFERS,
    HoldContract,
    ObjectStoreContract,
    WithoutHoldsContract,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectLockRetentionTypeDef

    from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
    from compliance_pipelines.object_store.port import ObjectInfo, ObjectStore

_LONG_NAME = 240
_PIECE = 5 * 2**20


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


class TestS3ObjectStore(ObjectStoreContract, WithoutHoldsContract):
    """In a bucket with versions."""

    remarkable_keys: ClassVar[Sequence[str]] = [
        key for key in REMARKABLE_KEYS if len(key) < _LONG_NAME and not key.endswith("y")
    ]
    may_refuse_disorder: ClassVar[bool] = True

    @pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
    def test_a_deleted_key_leaves_room_for_its_continuation(self, store: ObjectStore, first: str, second: str) -> None:
        """Or the store says that it does not, and has nothing of the second."""
        store.put_bytes(first, b"first")
        store.delete(first)

        refusal: ObjectStoreError | None = None
        try:
            store.put_bytes(second, b"second")
        except ObjectStoreError as error:
            refusal = error

        if refusal is None:
            assert store.get_bytes(second) == b"second"
        else:
            assert "directories" in str(refusal)
            assert store.stat(second) is None


class TestMissing:
    """A bucket that is not there is never taken for one without objects."""

    @pytest.fixture
    def nowhere(self, client: S3Client) -> S3ObjectStore:
        return S3ObjectStore(client, S3Bucket("nowhere"))

    def test_each_method_says_so(self, nowhere: S3ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"data")
        calls = (
            lambda: nowhere.stat(KEY),
            lambda: nowhere.get_bytes(KEY),
            lambda: nowhere.read_versioned(KEY, 1),
            lambda: nowhere.download(KEY, tmp_path / "copy"),
            lambda: list(nowhere.list("")),
            lambda: nowhere.put_bytes(KEY, b"data"),
            lambda: nowhere.put_file(KEY, tmp_path / "source"),
            lambda: nowhere.replace(KEY, b"data", "etag id"),
            lambda: nowhere.delete(KEY),
            nowhere.now,
        )
        for call in calls:
            with pytest.raises(StoreMissingError, match="nowhere"):
                call()

    def test_nobody_makes_it_but_create(self, client: S3Client, own_prefix: str) -> None:
        store = S3ObjectStore(client, S3Bucket(f"made-{own_prefix}", lock_mode="GOVERNANCE"))

        store.create()
        store.create()

        assert client.get_bucket_versioning(Bucket=f"made-{own_prefix}")["Status"] == "Enabled"
        lock = client.get_object_lock_configuration(Bucket=f"made-{own_prefix}")
        assert lock["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
        assert list(store.list("")) == []

    def test_two_make_it_at_the_same_moment(self, client: S3Client, forgetful: S3Client, own_prefix: str) -> None:
        bucket = S3Bucket(f"made-twice-{own_prefix}")

        def make_it_first(**_: object) -> None:
            client.create_bucket(Bucket=bucket.name)

        forgetful.meta.events.register("before-call.s3.CreateBucket", make_it_first)

        S3ObjectStore(forgetful, bucket).create()

        assert client.get_bucket_versioning(Bucket=bucket.name)["Status"] == "Enabled"


class TestAccess:
    def test_a_wrong_secret_is_refused_and_not_an_empty_store(
        self, s3_server: EmbeddedSeaweedFS, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.environment["AWS_ACCESS_KEY_ID"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        client = S3Endpoint(url=s3_server.url, path_style=True, region="us-east-1").open()
        store = S3ObjectStore(client, S3Bucket("versions"))

        for call in (lambda: store.stat(KEY), lambda: list(store.list("")), lambda: store.put_bytes(KEY, b"")):
            with pytest.raises(RefusedByStoreError):
                call()

    def test_without_credentials_the_message_says_where_they_are_looked_for(
        self, s3_server: EmbeddedSeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client = S3Endpoint(url=s3_server.url, path_style=True, region="us-east-1").open()

        with pytest.raises(RefusedByStoreError, match="AWS_"):
            S3ObjectStore(client, S3Bucket("versions")).stat(KEY)


class TestPutOnce:
    def test_a_key_that_was_deleted_behind_a_marker_is_not_taken_for_new(
        self, client: S3Client, locked_store: S3ObjectStore, own_prefix: str
    ) -> None:
        first = locked_store.put_bytes(KEY, b"first")
        client.delete_object(Bucket="locks", Key=f"{own_prefix}/{KEY}")
        assert locked_store.stat(KEY) is None

        with pytest.raises(BrokenPromiseError, match="marker"):
            locked_store.put_bytes(KEY, b"second")

        answer = client.get_object(Bucket="locks", Key=f"{own_prefix}/{KEY}", VersionId=first.version or "")
        assert answer["Body"].read() == b"first"

    def test_what_is_large_is_put_in_pieces_with_the_same_promises(
        self, client: S3Client, own_prefix: str, tmp_path: Path
    ) -> None:
        bucket = S3Bucket("locks", prefix=own_prefix, lock_mode="COMPLIANCE")
        until = datetime.now(UTC) + timedelta(days=1)
        store = S3ObjectStore(client, bucket, retain_until=lambda _: until, single_put_bytes=_PIECE - 1)
        data = SEVERAL_BUFFERS * 2
        (tmp_path / "large").write_bytes(data)

        info = store.put_file(KEY, tmp_path / "large")

        assert (info.size, info.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert store.stat(KEY) == info
        assert store.get_bytes(KEY) == data
        head = client.head_object(Bucket="locks", Key=f"{own_prefix}/{KEY}")
        assert head["ObjectLockRetainUntilDate"] == until.replace(microsecond=0)
        with pytest.raises(ObjectExistsError):
            store.put_file(KEY, tmp_path / "large")
        assert client.list_multipart_uploads(Bucket="locks", Prefix=own_prefix).get("Uploads", []) == []

    @pytest.mark.parametrize("kms_key", [None, "audit-archives"], ids=["SSE-S3", "SSE-KMS"])
    @pytest.mark.parametrize("single_put_bytes", [_PIECE, 10 * _PIECE], ids=["in pieces", "at once"])
    def test_the_service_encrypts_as_it_is_asked_to(
        self, client: S3Client, tmp_path: Path, kms_key: str | None, single_put_bytes: int
    ) -> None:
        algorithm: Literal["AES256", "aws:kms"] = "AES256" if kms_key is None else "aws:kms"
        own_prefix = uuid.uuid4().hex[:8]
        bucket = S3Bucket("locks", prefix=own_prefix, lock_mode="COMPLIANCE", encryption=algorithm, kms_key=kms_key)
        store = S3ObjectStore(client, bucket, retain_until=kept_for_two_days, single_put_bytes=single_put_bytes)
        (tmp_path / "archive").write_bytes(SEVERAL_BUFFERS * 2)

        store.put_file(KEY, tmp_path / "archive")

        head = client.head_object(Bucket="locks", Key=f"{own_prefix}/{KEY}")
        assert (head["ServerSideEncryption"], head.get("SSEKMSKeyId")) == (algorithm, kms_key)
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert store.get_bytes(KEY) == SEVERAL_BUFFERS * 2
        with pytest.raises(ObjectExistsError):
            store.put_bytes(KEY, b"another")

    @pytest.mark.parametrize("instead", [{}, {"SSEKMSKeyId": "somebody-elses"}], ids=["not at all", "by another key"])
    def test_what_is_encrypted_otherwise_is_no_success(
        self, forgetful: S3Client, own_prefix: str, instead: dict[str, str]
    ) -> None:
        bucket = S3Bucket("versions", prefix=own_prefix, encryption="aws:kms", kms_key="audit-archives")
        store = S3ObjectStore(forgetful, bucket)
        forget(forgetful, "PutObject", *(() if instead else ("ServerSideEncryption", "SSEKMSKeyId")), **instead)

        with pytest.raises(BrokenPromiseError, match=r"its S.* in place of"):
            store.put_bytes(KEY, b"data")

    def test_a_store_that_cannot_lock_is_no_store_of_locked_objects(
        self, client: S3Client, store: S3ObjectStore
    ) -> None:
        bucket = replace(store.bucket, lock_mode="COMPLIANCE")
        unlocked = S3ObjectStore(client, bucket, retain_until=kept_for_two_days)

        with pytest.raises(ObjectStoreError):
            unlocked.put_bytes(KEY, b"data")

    def test_a_replaced_object_has_one_version_left(
        self, client: S3Client, store: S3ObjectStore, own_prefix: str
    ) -> None:
        store.put_bytes("checkpoint", b"1")
        for number in range(2, 5):
            store.replace("checkpoint", str(number).encode(), store.read_versioned("checkpoint", 10).version)

        versions = client.list_object_versions(Bucket="versions", Prefix=f"{own_prefix}/checkpoint")

        assert len(versions["Versions"]) == 1
        assert store.get_bytes("checkpoint") == b"4"


class TestServicesThatLie:
    """Whatever a service takes and does not keep is an error of the put."""

    @pytest.fixture
    def lied_to(self, forgetful: S3Client, locked_store: S3ObjectStore) -> S3ObjectStore:
        return S3ObjectStore(forgetful, locked_store.bucket, retain_until=kept_for_two_days, single_put_bytes=_PIECE)

    @pytest.mark.parametrize(
        ("names", "instead", "said"),
        [
            (("ObjectLockMode", "ObjectLockRetainUntilDate"), {}, "its lock is none"),
            ((), {"ObjectLockMode": "GOVERNANCE"}, "its lock is GOVERNANCE"),
            ((), {"ObjectLockRetainUntilDate": _tomorrow}, "its lock ends on"),
            (("Metadata",), {}, "does not carry"),
            (("ChecksumSHA256",), {"Body": b"DATA"}, "its (SHA-256 is|bytes are not)"),
            (("ChecksumSHA256", "ContentLength"), {"Body": b"dat"}, "it has 3 bytes in place of 4"),
        ],
        ids=["no lock", "another mode", "a shorter lock", "no metadata", "other bytes", "fewer bytes"],
    )
    def test_what_is_not_kept_is_no_success(
        self,
        lied_to: S3ObjectStore,
        forgetful: S3Client,
        names: tuple[str, ...],
        instead: dict[str, object],
        said: str,
    ) -> None:
        forget(forgetful, "PutObject", *names, **instead)

        with pytest.raises(BrokenPromiseError, match=said):
            lied_to.put_bytes(KEY, b"data")

    def test_a_second_version_is_no_success(self, lied_to: S3ObjectStore, forgetful: S3Client) -> None:
        lied_to.put_bytes(KEY, b"first")
        forget(forgetful, "PutObject", "IfNoneMatch")

        with pytest.raises(BrokenPromiseError, match="1 other version"):
            lied_to.put_bytes(KEY, b"second")

    def test_bytes_of_a_service_that_says_no_checksum_are_read(
        self, lied_to: S3ObjectStore, forgetful: S3Client
    ) -> None:
        forget(forgetful, "HeadObject", "ChecksumMode")

        lied_to.put_bytes(KEY, b"data")

        forget(forgetful, "PutObject", "ChecksumSHA256", Body=b"DATA")
        with pytest.raises(BrokenPromiseError, match="bytes are not those"):
            lied_to.put_bytes(f"{KEY}.2", b"data")


class TestHolds(HoldContract):
    """A legal hold of a version that has no lock, on which the server alone decides."""

    @pytest.fixture
    def store(self, client: S3Client, own_prefix: str) -> S3ObjectStore:
        return S3ObjectStore(client, S3Bucket("locks", prefix=own_prefix, lock_mode="GOVERNANCE"))

    @pytest.fixture
    def bare_delete(self, client: S3Client, own_prefix: str) -> Callable[[ObjectInfo], object]:
        def delete(info: ObjectInfo) -> object:
            return client.delete_object(
                Bucket="locks",
                Key=f"{own_prefix}/{info.key}",
                VersionId=info.version or "",
                BypassGovernanceRetention=True,
            )

        return delete

    @pytest.fixture
    def put_over(self, client: S3Client, own_prefix: str) -> Callable[[str], object]:
        return lambda key: client.put_object(Bucket="locks", Key=f"{own_prefix}/{key}", Body=b"another")

    def test_a_hold_lasts_longer_than_the_lock(self, client: S3Client, own_prefix: str) -> None:
        end = datetime.now(UTC) + timedelta(seconds=2)
        bucket = S3Bucket("locks", prefix=own_prefix, lock_mode="COMPLIANCE")
        store = S3ObjectStore(client, bucket, retain_until=lambda _: end)
        store.put_bytes(KEY, b"data")
        store.set_hold(KEY, held=True)
        while store.now() <= end:
            pass

        with pytest.raises(RefusedByStoreError):
            store.delete(KEY)

        store.set_hold(KEY, held=False)
        store.delete(KEY)
        assert store.stat(KEY) is None

    def test_a_service_that_agrees_and_does_nothing_is_found_out(
        self, forgetful: S3Client, store: S3ObjectStore
    ) -> None:
        forget(forgetful, "PutObjectLegalHold", LegalHold={"Status": "OFF"})
        deaf = S3ObjectStore(forgetful, store.bucket)
        deaf.put_bytes(KEY, b"data")

        with pytest.raises(BrokenPromiseError, match="says that it did not"):
            deaf.set_hold(KEY, held=True)

    def test_who_may_not_ask_is_not_told_that_nothing_is_held(self, forgetful: S3Client, store: S3ObjectStore) -> None:
        store.put_bytes(KEY, b"data")
        asking = S3ObjectStore(forgetful, store.bucket)

        def refused(**_: object) -> None:
            error = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
            raise ClientError(error, "GetObjectLegalHold")

        forgetful.meta.events.register("before-call.s3.GetObjectLegalHold", refused)

        with pytest.raises(RefusedByStoreError, match="AccessDenied"):
            asking.has_hold(KEY)


class TestLocks:
    """The server refuses, whatever the client asks."""

    @pytest.fixture
    def target(self, locked_store: S3ObjectStore, own_prefix: str) -> dict[str, Any]:
        info = locked_store.put_bytes(KEY, b"data")
        return {"Bucket": "locks", "Key": f"{own_prefix}/{KEY}", "VersionId": info.version or ""}

    def test_neither_the_store_nor_the_client_deletes(
        self, client: S3Client, locked_store: S3ObjectStore, target: dict[str, Any]
    ) -> None:
        with pytest.raises(RefusedByStoreError, match=KEY):
            locked_store.delete(KEY)
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            client.delete_object(**target, BypassGovernanceRetention=True)

        assert locked_store.get_bytes(KEY) == b"data"

    def test_no_lock_is_shortened_and_any_is_lengthened(self, client: S3Client, target: dict[str, Any]) -> None:
        for days, refused in ((1, True), (3, False)):
            until = datetime.now(UTC) + timedelta(days=days)
            retention: ObjectLockRetentionTypeDef = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
            if refused:
                with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
                    client.put_object_retention(**target, Retention=retention)
            else:
                client.put_object_retention(**target, Retention=retention)

    def test_a_day_that_is_older_than_its_retention_is_kept_without_a_lock(
        self, client: S3Client, locked_store: S3ObjectStore
    ) -> None:
        key = KEY.replace("2025", "2015")
        store = S3ObjectStore(client, locked_store.bucket, retain_until=ObjectRetention(7))

        info = store.put_bytes(key, b"data")

        assert store.confirm(key) == info
        assert "ObjectLockMode" not in client.head_object(Bucket="locks", Key=store.object_key(key))

    def test_what_has_no_date_is_not_locked(self, locked_store: S3ObjectStore) -> None:
        locked_store.put_bytes("removable/a", b"data")

        locked_store.delete("removable/a")

        assert locked_store.stat("removable/a") is None


class TestVersions:
    """Whoever puts another object over one that is locked hides it from those alone who do not know its version."""

    def put(self, client: S3Client, own_prefix: str, data: bytes) -> None:
        client.put_object(Bucket="locks", Key=f"{own_prefix}/{KEY}", Body=data)

    def test_the_version_that_was_put_is_read_whatever_came_later(
        self, client: S3Client, locked_store: S3ObjectStore, own_prefix: str, tmp_path: Path
    ) -> None:
        info = locked_store.put_bytes(KEY, b"first")
        pinned = locked_store.at_versions({KEY: info.version or ""})
        for hide in (
            lambda: self.put(client, own_prefix, b"another"),
            lambda: client.delete_object(Bucket="locks", Key=f"{own_prefix}/{KEY}"),
        ):
            hide()
            assert pinned.get_bytes(KEY) == b"first"
            assert pinned.stat(KEY) == info
            assert pinned.download(KEY, tmp_path / "copy") == info
            with pinned.open(KEY) as file:
                assert file.read() == b"first"
        assert locked_store.stat(KEY) is None

    @pytest.mark.parametrize("version", ["67134dec9c207ab2658db14e0b4caa20", "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"])
    def test_a_version_of_another_bucket_is_no_reason_to_miss_the_object(
        self, locked_store: S3ObjectStore, version: str
    ) -> None:
        info = locked_store.put_bytes(KEY, b"first")
        pinned = locked_store.at_versions({KEY: version})

        assert pinned.get_bytes(KEY) == b"first"
        assert pinned.stat(KEY) == info
        assert pinned.stat("other") is None

    def test_other_keys_are_read_as_they_are(self, locked_store: S3ObjectStore) -> None:
        locked_store.put_bytes(KEY, b"first")
        locked_store.put_bytes("removable/a", b"second")

        assert locked_store.at_versions({KEY: "1"}).get_bytes("removable/a") == b"second"


class TestPutOver:
    """Another version above the one that is there."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "file"
        path.write_bytes(b"again")
        return path

    def test_it_is_the_newest_version_and_the_others_stay(self, store: S3ObjectStore, path: Path) -> None:
        assert store.versions(KEY) == []
        first = store.put_bytes(KEY, b"first")
        info = store.put_over(KEY, path)
        assert (info.size, info.sha256) == (5, hashlib.sha256(b"again").hexdigest())
        assert store.versions(KEY) == [info.version, first.version]
        assert store.get_bytes(KEY) == b"again"
        assert store.at_versions({KEY: str(first.version)}).get_bytes(KEY) == b"first"

    def test_a_marker_of_a_deletion_is_no_version_and_no_hindrance(
        self, client: S3Client, store: S3ObjectStore, path: Path
    ) -> None:
        first = store.put_bytes(KEY, b"first")
        client.delete_object(Bucket="versions", Key=store.object_key(KEY))
        assert store.versions(KEY) == [first.version]
        assert store.put_over(KEY, path).version == store.versions(KEY)[0]
        assert store.get_bytes(KEY) == b"again"

    def test_versions_of_keys_that_continue_it_are_others(self, store: S3ObjectStore) -> None:
        store.put_bytes(f"{KEY}-more", b"another")
        assert store.versions(KEY) == []

    @pytest.mark.parametrize("single_put_bytes", [1, 2**20])
    def test_it_is_locked_as_what_is_put_once(
        self, client: S3Client, locked_store: S3ObjectStore, path: Path, single_put_bytes: int
    ) -> None:
        store = S3ObjectStore(
            client, locked_store.bucket, retain_until=kept_for_two_days, single_put_bytes=single_put_bytes
        )
        store.put_bytes(KEY, b"first")
        info = store.put_over(KEY, path)
        head = client.head_object(Bucket="locks", Key=store.object_key(KEY), VersionId=str(info.version))
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert head["ObjectLockRetainUntilDate"] > _tomorrow()

    def test_a_lock_that_the_service_forgets_is_a_broken_promise(
        self, forgetful: S3Client, locked_store: S3ObjectStore, path: Path
    ) -> None:
        forget(forgetful, "PutObject", "ObjectLockMode", "ObjectLockRetainUntilDate")
        store = S3ObjectStore(forgetful, locked_store.bucket, retain_until=kept_for_two_days)
        with pytest.raises(BrokenPromiseError, match="its lock is none"):
            store.put_over(KEY, path)

    def test_where_no_versions_are_kept_nothing_is_put(self, client: S3Client, own_prefix: str, path: Path) -> None:
        client.create_bucket(Bucket=f"plain-{own_prefix}")
        store = S3ObjectStore(client, S3Bucket(f"plain-{own_prefix}"))
        store.put_bytes(KEY, b"first")
        assert keeper_of(store) is None
        with pytest.raises(UnsupportedByStoreError, match="keeps no versions, so that what is there would be lost"):
            store.put_over(KEY, path)
        assert store.get_bytes(KEY) == b"first"

    def test_who_keeps_versions_is_asked_through_a_store_that_is_opened_late(
        self, store: S3ObjectStore, tmp_path: Path
    ) -> None:
        assert keeper_of(DeferredObjectStore(lambda: store)) is not None
        assert keeper_of(DeferredObjectStore(lambda: LocalObjectStore(tmp_path))) is None


class TestReading:
    def test_an_opened_object_stays_what_it_was(self, client: S3Client, store: S3ObjectStore, own_prefix: str) -> None:
        store.put_bytes(KEY, SEVERAL_BUFFERS)
        version = store.read_versioned(KEY, len(SEVERAL_BUFFERS)).version

        with store.open(KEY) as file:
            assert file.read(10) == SEVERAL_BUFFERS[:10]
            client.put_object(Bucket="versions", Key=f"{own_prefix}/{KEY}", Body=b"another")
            assert file.read() == SEVERAL_BUFFERS[10:]

        assert store.read_versioned(KEY, 10).version != version

    def test_a_listing_of_more_than_one_page_is_whole(
        self, client: S3Client, store: S3ObjectStore, own_prefix: str
    ) -> None:
        keys = sorted(f"tile/entries/x{number // 100:03}/{number % 100:03}" for number in range(1_003))
        for key in keys:
            client.put_object(Bucket="versions", Key=f"{own_prefix}/{key}", Body=b"")

        assert [info.key for info in store.list("")] == keys
        assert [info.key for info in store.list("tile/", start_after=keys[900])] == keys[901:]
