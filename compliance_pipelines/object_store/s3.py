"""The cold store in a bucket of an S3 service.

Here: `S3ObjectStore`. Not here: how the client is configured (s3_client.py), how an object is put (s3_uploads.py),
looked at afterwards (s3_promises.py) and read (s3_reading.py), what errors mean (s3_errors.py).

What is put once is put with `If-None-Match: *`, what is replaced with `If-Match`. In a bucket with versions each object
is looked at under the version that the service named, so that nobody's later one is taken for it.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from compliance_pipelines.object_store.port import (
    BrokenPromiseError,
    ObjectInfo,
    ObjectMissingError,
    ObjectStoreError,
    OversizedObjectError,
    RefusedByStoreError,
    StoreMissingError,
    UnsupportedByStoreError,
    VersionedObject,
    no_retention,
)
from compliance_pipelines.object_store.remote import SHA256_METADATA, RemoteObjectStore, pieces_of, sha256_of
from compliance_pipelines.object_store.s3_errors import Answer, answer_of, naming
from compliance_pipelines.object_store.s3_promises import Stored, check_stored
from compliance_pipelines.object_store.s3_reading import S3ObjectFile
from compliance_pipelines.object_store.s3_uploads import (
    SINGLE_PUT_BYTES,
    Upload,
    composite_checksum,
    put_if_absent,
    put_if_match,
    put_over,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.object_store.port import RetentionRule

T = TypeVar("T")

_READ_BUFFER: Final = 1 << 20
_US_EAST_1: Final = "us-east-1"
# An object that nobody ever held: AWS says the first.
_NO_HOLD: Final = frozenset({"NoSuchObjectLockConfiguration", "NoSuchObjectLegalHold"})
# An object that never had a lock: AWS says the first, SeaweedFS the second.
_NO_LOCK: Final = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"})
_NO_LOCKS: Final = "ObjectLockConfigurationNotFoundError"


@dataclass(frozen=True)
class S3Bucket:
    """Where objects are, and what each of them gets.

    Attributes:
        name: of the bucket.
        prefix: that all keys have in the bucket, without a slash at either end; empty: none.
        lock_mode: `GOVERNANCE` or `COMPLIANCE`; None: no object is locked.
        encryption: `AES256` or `aws:kms`; None: the bucket's default.
        kms_key: id, ARN or alias of the key for `aws:kms`; None: that of the bucket.
    """

    name: str
    prefix: str = ""
    lock_mode: str | None = None
    encryption: str | None = None
    kms_key: str | None = None


class S3ObjectStore(RemoteObjectStore):
    """An `ObjectStore` in a bucket.

    Args:
        client: of boto3, for S3.
        bucket: where objects are.
        retain_until: until when each object is locked, where the bucket's objects are.
        single_put_bytes: up to how many bytes are put in one request.
        versions: which version of some keys is read; see `at_versions`.

    Raises:
        InvalidKeyError: no key can have the prefix.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: S3Bucket,
        *,
        retain_until: RetentionRule = no_retention,
        single_put_bytes: int = SINGLE_PUT_BYTES,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"s3://{bucket.name}", bucket.prefix, retain_until=retain_until, versions=versions)
        self._client = client
        self._bucket: Final = bucket
        self._single_put_bytes = single_put_bytes
        self._has_locks = False

    @property
    def client(self) -> S3Client:
        """The client of boto3."""
        return self._client

    @property
    def bucket(self) -> S3Bucket:
        """Where objects are."""
        return self._bucket

    def at_versions(self, versions: Mapping[str, str]) -> S3ObjectStore:
        """See `ObjectStore.at_versions`."""
        same = copy(self)
        same._versions = versions  # noqa: SLF001 - its own class
        return same

    def create(self) -> None:
        """Make the bucket, with versions, and with locks where objects get them. One that is there is left as it is."""
        try:
            self._require_bucket()
        except StoreMissingError:
            with naming("cannot make", self.uri):
                self._make_bucket()

    def _make_bucket(self) -> None:
        region = self._client.meta.region_name
        where: dict[str, Any] = (
            {} if region in {None, _US_EAST_1} else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        lock: dict[str, Any] = {"ObjectLockEnabledForBucket": True} if self._bucket.lock_mode else {}
        # Whoever else makes it at the same moment makes the same.
        with suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
            self._client.create_bucket(Bucket=self._bucket.name, **where, **lock)
        self._client.put_bucket_versioning(Bucket=self._bucket.name, VersioningConfiguration={"Status": "Enabled"})

    def now(self) -> datetime:
        """The time that the service says with each answer, to the second."""
        with naming("cannot ask for the time of", self.uri):
            answer = self._client.list_objects_v2(Bucket=self._bucket.name, Prefix=self._prefix, MaxKeys=1)
        return self._said_time(answer["ResponseMetadata"]["HTTPHeaders"].get("date", ""))

    def keeps_versions(self) -> bool:
        """See `VersionKeeper.keeps_versions`."""
        with naming("cannot ask for the versioning of", self.uri):
            return self._client.get_bucket_versioning(Bucket=self._bucket.name).get("Status") == "Enabled"

    def versions(self, key: str) -> Sequence[str]:
        """See `VersionKeeper.versions`. Markers of deletions are none."""
        with naming("cannot list the versions of", self.locate(key)):
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self._bucket.name, Prefix=self._prefix + key
            )
            found = [each for page in pages for each in page.get("Versions", []) if each["Key"] == self._prefix + key]
        newest_first = sorted(found, key=lambda each: each["LastModified"], reverse=True)
        return [each["VersionId"] for each in newest_first if each["VersionId"] != "null"]

    def put_over(self, key: str, path: Path) -> ObjectInfo:
        """See `VersionKeeper.put_over`."""
        where = self.locate(key)
        if not self.keeps_versions():
            raise UnsupportedByStoreError(f"{where}: the bucket keeps no versions, so that what is there would be lost")
        try:
            with path.open("rb") as source, naming("cannot store", where):
                upload = self._upload(key, *sha256_of(pieces_of(source)), self._end_of_lock(key))
                version = put_over(self._client, upload, source, single_put_bytes=self._single_put_bytes)
                stored = Stored(upload, version, self._checksum(upload, source), alone=False)
                check_stored(self._client, stored, where)
        except OSError as error:
            raise ObjectStoreError(f"{path} cannot be stored as {key!r} at {where}: {error}") from error
        return ObjectInfo(key, upload.size, upload.sha256.hex(), version)

    def _put(self, key: str, source: BinaryIO) -> ObjectInfo:
        where = self.locate(key)
        upload = self._upload(key, *sha256_of(pieces_of(source)), self._end_of_lock(key))
        with naming("cannot store", where):
            try:
                version = put_if_absent(self._client, upload, source, single_put_bytes=self._single_put_bytes)
            except ClientError as error:
                if answer_of(error) is not Answer.PRECONDITION_FAILED:
                    raise
                raise self._refusal_of_put(key) from error
            check_stored(self._client, Stored(upload, version, self._checksum(upload, source), alone=True), where)
        return ObjectInfo(key, upload.size, upload.sha256.hex(), version)

    def _upload(self, key: str, size: int, sha256: bytes, retain_until: datetime | None) -> Upload:
        headers: dict[str, Any] = {}
        if self._bucket.lock_mode is not None and retain_until is not None:
            headers["ObjectLockMode"] = self._bucket.lock_mode
            headers["ObjectLockRetainUntilDate"] = retain_until
        if self._bucket.encryption is not None:
            headers["ServerSideEncryption"] = self._bucket.encryption
            if self._bucket.kms_key is not None:
                headers["SSEKMSKeyId"] = self._bucket.kms_key
        return Upload(self._bucket.name, self._prefix + key, size, sha256, headers)

    def _checksum(self, upload: Upload, source: BinaryIO) -> str:
        if upload.size <= self._single_put_bytes:
            return base64.b64encode(upload.sha256).decode("ascii")
        return composite_checksum(source)

    def replace(self, key: str, data: bytes, expected: str) -> ObjectInfo:
        """See `ObjectStore.replace`. The version before is removed; where that fails, it is left to the lifecycle."""
        where = self.locate(key)
        before = _Version.parse(expected)
        upload = self._upload(key, len(data), hashlib.sha256(data).digest(), None)
        with naming("cannot replace", where):
            try:
                version = put_if_match(self._client, upload, data, before.etag)
            except ClientError as error:
                if answer_of(error) not in {Answer.PRECONDITION_FAILED, Answer.NOT_FOUND, Answer.OBJECT_MISSING}:
                    raise
                raise self._refusal_of_replacement(key) from error
            stored = Stored(upload, version, base64.b64encode(upload.sha256).decode("ascii"), alone=False)
            check_stored(self._client, stored, where)
        if before.version_id is not None:
            with suppress(ClientError, BotoCoreError):
                self._client.delete_object(**upload.target, VersionId=before.version_id)
        return ObjectInfo(key, len(data), upload.sha256.hex(), version)

    def read_versioned(self, key: str, most: int) -> VersionedObject:
        """See `ObjectStore.read_versioned`; the version is the ETag, and the id where the bucket keeps versions."""
        where = self.locate(key)
        with naming("cannot read", where):
            answer = self._found(key, lambda: self._client.get_object(**self._target(key)))
            data: bytes = answer["Body"].read(most + 1)
            answer["Body"].close()
        if len(data) > most:
            raise OversizedObjectError(f"it has more than the {most:,} bytes that it can have")
        self._check_size(key, answer["ContentLength"], len(data))
        return VersionedObject(data, str(_Version(answer["ETag"], _id(answer))))

    def _open(self, key: str, version_id: str | None) -> S3ObjectFile:
        where = self.locate(key)
        get = partial(self._client.get_object, **self._target(key))
        with naming("cannot read", where):
            opened: S3ObjectFile = self._found(key, lambda: S3ObjectFile(get, where, version_id))
        return opened

    def _found(self, key: str, get: Callable[[], T]) -> T:
        """What is asked for; where it is not found, whether that is the object or the bucket.

        Raises:
            ObjectMissingError: the key has no object.
        """
        try:
            return get()
        except ClientError as error:
            if answer_of(error) not in {Answer.OBJECT_MISSING, Answer.NOT_FOUND}:
                raise
            self._require_bucket()
            raise ObjectMissingError(f"{key!r} has no object, looked for at {self.locate(key)}") from error
        except OSError as error:
            raise ObjectStoreError(str(error)) from error

    def confirm(self, key: str) -> ObjectInfo:
        """See `ObjectStore.confirm`."""
        with naming("cannot look at", self.locate(key)):
            head = self._found(key, lambda: self._client.head_object(**self._target(key)))
        if self._bucket.lock_mode is not None:
            lock = head.get("ObjectLockMode"), head.get("ObjectLockRetainUntilDate")
            self._check_lock(key, self._bucket.lock_mode, *lock)
        return ObjectInfo(key, head["ContentLength"], head.get("Metadata", {}).get(SHA256_METADATA), _id(head))

    def _look(self, key: str, version_id: str | None) -> ObjectInfo:
        version: dict[str, Any] = {} if version_id is None else {"VersionId": version_id}
        with naming("cannot look at", self.locate(key)):
            head = self._found(key, lambda: self._client.head_object(**self._target(key), **version))
        return ObjectInfo(key, head["ContentLength"], head.get("Metadata", {}).get(SHA256_METADATA), _id(head))

    def _listed(self, prefix: str, start_after: str) -> Iterator[tuple[str, int]]:  # noqa: ARG002 - see below
        # Where to begin is not said to the service: one leaves out `a/b` after `a`.
        paginator = self._client.get_paginator("list_objects_v2")
        pages = iter(paginator.paginate(Bucket=self._bucket.name, Prefix=self._prefix + prefix))
        while True:
            with naming("cannot list", f"{self.uri}/{prefix}"):
                page = next(pages, None)
            if page is None:
                return
            for found in page.get("Contents", []):
                yield found["Key"], found["Size"]

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`. All versions go, and markers of earlier deletions.

        Raises:
            RefusedByStoreError: a lock or a hold keeps a version, or the right is missing.
        """
        where = self.locate(key)
        with naming("cannot delete", where):
            # Each by its id: a deletion without one would leave a marker, also of what never was.
            kept: ClientError | None = None
            for version in self._all_versions(key):
                try:
                    self._client.delete_object(**self._target(key), VersionId=version)
                except ClientError as error:
                    if answer_of(error) is not Answer.REFUSED:
                        raise
                    # The others go all the same: what was put over it is nobody's archive.
                    kept = kept or error
            if kept is not None:
                raise kept
            if self._all_versions(key):
                raise RefusedByStoreError(f"cannot delete {where}: the service agreed, and it is still there")

    def _all_versions(self, key: str) -> Sequence[str]:
        """All versions and markers of a key, whose bucket may keep none."""
        found = []
        for page in self._client.get_paginator("list_object_versions").paginate(
            Bucket=self._bucket.name, Prefix=self._prefix + key
        ):
            each = [(one["Key"], one["VersionId"]) for one in page.get("Versions", [])]
            each += [(one["Key"], one["VersionId"]) for one in page.get("DeleteMarkers", [])]
            found += [version for name, version in each if name == self._prefix + key]
            # The key is the first of those that begin with it.
            if len(found) < len(each):
                break
        return found

    def set_hold(self, key: str, *, held: bool) -> None:
        """See `ObjectStore.set_hold`: S3's legal hold of one version."""
        where = self.locate(key)
        target = self._held_version(key)
        with naming("cannot hold" if held else "cannot lift the hold on", where):
            if not self._locks():
                raise UnsupportedByStoreError(f"{where} cannot be held: the bucket has no Object Lock, and no holds")
            self._client.put_object_legal_hold(**target, LegalHold={"Status": "ON" if held else "OFF"})
        if self._is_held(target, where) is not held:
            raise BrokenPromiseError(
                f"{where}: the service agreed to {'hold' if held else 'let go of'} it, and says that it did not"
            )

    def has_hold(self, key: str) -> bool | None:
        """See `ObjectStore.has_hold`. None where the bucket has no Object Lock."""
        return self._is_held(self._held_version(key), self.locate(key))

    def locked_until(self, key: str) -> datetime | None:
        """See `ObjectStore.locked_until`."""
        target = self._held_version(key)
        with naming("cannot ask for the lock on", self.locate(key)):
            until = self._retained_until(target)
        return None if until is None or until <= self.now() else until

    def _retained_until(self, target: Mapping[str, Any]) -> datetime | None:
        """The end of the lock of a version, past or not; None where it never had one."""
        try:
            retention = self._client.get_object_retention(**target).get("Retention", {})
        except ClientError as error:
            unlocked = error.response.get("Error", {}).get("Code") in _NO_LOCK
            # Asked last: a bucket without locks refuses the question.
            if unlocked or (answer_of(error) in {Answer.REFUSED, Answer.UNSUPPORTED} and not self._locks()):
                return None
            raise
        until: datetime | None = retention.get("RetainUntilDate")
        return until

    def _held_version(self, key: str) -> dict[str, Any]:
        """The version that is read under a key, which is the one to be held."""
        version = self._at_version(key, self._look).version
        return {**self._target(key), **({} if version is None else {"VersionId": version})}

    def _is_held(self, target: Mapping[str, Any], where: str) -> bool | None:
        with naming("cannot ask for the hold on", where):
            try:
                # A HEAD leaves the hold out where the login may not see it.
                answer = self._client.get_object_legal_hold(**target)
            except ClientError as error:
                unheld = error.response.get("Error", {}).get("Code") in _NO_HOLD
                if unheld or answer_of(error) in {Answer.REFUSED, Answer.UNSUPPORTED}:
                    # One service says of each object of a bucket without locks that it is not held.
                    if not self._locks():
                        return None
                    if unheld:
                        return False
                raise
        status = answer.get("LegalHold", {}).get("Status")
        if status not in {"ON", "OFF"}:
            raise ObjectStoreError(f"{where}: the service does not say whether it is held, but {status!r}")
        return status == "ON"

    def _locks(self) -> bool:
        """Whether the bucket has Object Lock, without which it knows no holds. It is never turned off again."""
        if self._has_locks:
            return True
        try:
            answer = self._client.get_object_lock_configuration(Bucket=self._bucket.name)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == _NO_LOCKS or answer_of(error) is Answer.UNSUPPORTED:
                return False
            raise
        self._has_locks = answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
        return self._has_locks

    def _target(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket.name, "Key": self._prefix + key}

    def _require_bucket(self) -> None:
        """Let a bucket pass that is there.

        Raises:
            StoreMissingError: it is not.
            ObjectStoreError: nobody can tell.
        """
        with naming("cannot look for", self.uri):
            try:
                self._client.head_bucket(Bucket=self._bucket.name)
            except ClientError as error:
                if answer_of(error) is Answer.NOT_FOUND:
                    raise StoreMissingError(
                        f"the bucket of the cold store, {self._bucket.name}, is not there: AUDIT_COLD_STORAGE_BUCKET "
                        "is mistyped, or it is not made yet. A new store is made by `compliance store init` alone"
                    ) from error
                raise


@dataclass(frozen=True)
class _Version:
    """What is compared and swapped: the ETag, and the id by which the version before is removed."""

    etag: str
    version_id: str | None

    def __str__(self) -> str:
        return f"{self.etag} {self.version_id or ''}"

    @classmethod
    def parse(cls, text: str) -> _Version:
        etag, _, version_id = text.partition(" ")
        return cls(etag, version_id or None)


def _id(answer: Mapping[str, Any]) -> str | None:
    version = answer.get("VersionId")
    return None if version in {None, "null"} else str(version)
