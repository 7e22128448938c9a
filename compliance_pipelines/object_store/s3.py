"""The cold store in a bucket of an S3 service.

Here: `S3ObjectStore`. Not here: how the client is configured (s3_client.py), how an object is put (s3_uploads.py),
looked at afterwards (s3_promises.py) and read (s3_reading.py), what errors mean (s3_errors.py).

What is put once is put with `If-None-Match: *`, what is replaced with `If-Match`. In a bucket with versions each object
is looked at under the version that the service named, so that nobody's later one is taken for it.
"""

from __future__ import annotations

import base64
import hashlib
import io
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from compliance_pipelines.object_store.keys import check_key, check_prefix, key_problem
from compliance_pipelines.object_store.local_files import chunks, replacing
from compliance_pipelines.object_store.port import (
    BrokenPromiseError,
    ObjectExistsError,
    ObjectInfo,
    ObjectMissingError,
    ObjectReplacedError,
    ObjectStoreError,
    OversizedObjectError,
    RefusedByStoreError,
    StoreMissingError,
    UnsupportedByStoreError,
    VersionedObject,
    no_retention,
)
from compliance_pipelines.object_store.s3_errors import Answer, answer_of, naming
from compliance_pipelines.object_store.s3_promises import Stored, check_stored
from compliance_pipelines.object_store.s3_reading import S3ObjectFile
from compliance_pipelines.object_store.s3_uploads import (
    SHA256_METADATA,
    SINGLE_PUT_BYTES,
    Upload,
    composite_checksum,
    put_if_absent,
    put_if_match,
    put_over,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.object_store.port import RetentionRule

T = TypeVar("T")

_READ_BUFFER: Final = 1 << 20
_US_EAST_1: Final = "us-east-1"


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


class S3ObjectStore:
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
        self._client = client
        self._retain_until = retain_until
        self._versions: Mapping[str, str] = versions or {}
        self._bucket: Final = bucket
        self._prefix: Final = f"{bucket.prefix}/" if bucket.prefix else ""
        check_prefix(self._prefix)
        self._single_put_bytes = single_put_bytes

    @property
    def client(self) -> S3Client:
        """The client of boto3."""
        return self._client

    @property
    def bucket(self) -> S3Bucket:
        """Where objects are."""
        return self._bucket

    def object_key(self, key: str) -> str:
        """The key of an object as the service knows it, with the store's prefix."""
        return self._prefix + key

    @property
    def uri(self) -> str:
        """`s3://bucket`, and the prefix where there is one."""
        return f"s3://{self._bucket.name}/{self._bucket.prefix}".rstrip("/")

    def locate(self, key: str) -> str:
        """`s3://bucket/` and the key as it is."""
        check_key(key)
        return f"{self.uri}/{key}"

    def at_versions(self, versions: Mapping[str, str]) -> S3ObjectStore:
        """See `ObjectStore.at_versions`."""
        return S3ObjectStore(
            self._client,
            self._bucket,
            retain_until=self._retain_until,
            single_put_bytes=self._single_put_bytes,
            versions=versions,
        )

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
        said = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(said).astimezone(UTC)
        except (TypeError, ValueError):
            raise ObjectStoreError(f"{self.uri}: the service does not say what time it is, but {said!r}") from None

    def put_file(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.put_file`."""
        where = self.locate(key)
        try:
            with path.open("rb") as source:
                return self._put(key, source)
        except OSError as error:
            raise ObjectStoreError(f"{path} cannot be stored as {key!r} at {where}: {error}") from error

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """See `ObjectStore.put_bytes`."""
        self.locate(key)
        return self._put(key, io.BytesIO(data))

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
                upload = self._upload(key, *_hashed(source), self._retain_until(key))
                version = put_over(self._client, upload, source, single_put_bytes=self._single_put_bytes)
                stored = Stored(upload, version, self._checksum(upload, source), alone=False)
                check_stored(self._client, stored, where)
        except OSError as error:
            raise ObjectStoreError(f"{path} cannot be stored as {key!r} at {where}: {error}") from error
        return ObjectInfo(key, upload.size, upload.sha256.hex(), version)

    def _put(self, key: str, source: BinaryIO) -> ObjectInfo:
        where = self.locate(key)
        upload = self._upload(key, *_hashed(source), self._retain_until(key))
        with naming("cannot store", where):
            try:
                version = put_if_absent(self._client, upload, source, single_put_bytes=self._single_put_bytes)
            except ClientError as error:
                if answer_of(error) is not Answer.PRECONDITION_FAILED:
                    raise
                if self.stat(key) is None:
                    raise ObjectStoreError(
                        f"{key!r} cannot be stored at {where}: the service says that it has an object, and shows none. "
                        "It may take keys that continue it, or that it continues, for directories"
                    ) from error
                raise ObjectExistsError(f"{key!r} already has an object, at {where}; it was left as it is") from error
            check_stored(self._client, Stored(upload, version, self._checksum(upload, source), alone=True), where)
        return ObjectInfo(key, upload.size, upload.sha256.hex(), version)

    def _upload(self, key: str, size: int, sha256: bytes, retain_until: datetime | None) -> Upload:
        headers: dict[str, Any] = {}
        if self._bucket.lock_mode is not None and retain_until is not None:
            # To the second, as services keep it: what is looked at afterwards is compared exactly.
            headers["ObjectLockMode"] = self._bucket.lock_mode
            headers["ObjectLockRetainUntilDate"] = retain_until.astimezone(UTC).replace(microsecond=0)
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
                if self.stat(key) is None:
                    raise ObjectMissingError(f"{key!r} has no object any more, at {where}") from error
                raise ObjectReplacedError(
                    f"{key!r} at {where} is no longer what was read: another writer replaced it meanwhile"
                ) from error
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

    def get_bytes(self, key: str) -> bytes:
        """See `ObjectStore.get_bytes`."""
        with self.open(key) as file:
            try:
                return file.read()
            except OSError as error:
                raise ObjectStoreError(str(error)) from error

    def download(self, key: str, path: Path) -> ObjectInfo:
        """See `ObjectStore.download`."""
        where = self.locate(key)
        file = self._at_version(key, self._open)
        try:
            with file, replacing(path) as target:
                copied = 0
                for piece in chunks(io.BufferedReader(file, _READ_BUFFER)):
                    target.write(piece)
                    copied += len(piece)
                self._check_size(key, file.size, copied)
        except OSError as error:
            raise ObjectStoreError(f"{where} cannot be copied to {path}: {error}") from error
        return ObjectInfo(key, file.size, file.sha256)

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore.open`. What is read is one version, whatever is put meanwhile."""
        return io.BufferedReader(self._at_version(key, self._open), _READ_BUFFER)

    def _open(self, key: str, version_id: str | None) -> S3ObjectFile:
        where = self.locate(key)
        get = partial(self._client.get_object, **self._target(key))
        with naming("cannot read", where):
            opened: S3ObjectFile = self._found(key, lambda: S3ObjectFile(get, where, version_id))
        return opened

    def _at_version(self, key: str, read: Callable[[str, str | None], T]) -> T:
        """What is read of the version that is known, or of the newest where there is none or the store has it not.

        Raises:
            ObjectMissingError: the key has no object.
            ObjectStoreError: the version could not be looked at, and there is no newest one.
        """
        version = self._versions.get(key)
        if version is None:
            return read(key, None)
        try:
            return read(key, version)
        except (ObjectMissingError, RefusedByStoreError) as error:
            # The id is another bucket's where the store was moved, and no id at all to some services.
            try:
                return read(key, None)
            except ObjectMissingError:
                raise error from None

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

    def stat(self, key: str) -> ObjectInfo | None:
        """See `ObjectStore.stat`."""
        try:
            return self._at_version(key, self._look)
        except ObjectMissingError:
            return None

    def confirm(self, key: str) -> ObjectInfo:
        """See `ObjectStore.confirm`."""
        where, end = self.locate(key), self._retain_until(key)
        with naming("cannot look at", where):
            head = self._found(key, lambda: self._client.head_object(**self._target(key)))
        asked = self._bucket.lock_mode
        if asked is not None and end is not None:
            mode, until = (str(head.get(name) or "none") for name in ("ObjectLockMode", "ObjectLockRetainUntilDate"))
            if mode != asked or head["ObjectLockRetainUntilDate"] < end.replace(microsecond=0):
                raise BrokenPromiseError(
                    f"{where} is there, and not locked as it is to be ({asked} until {end}): its lock is {mode} until "
                    f"{until}. It was left there; lock it, or move it out of the store, and run again"
                )
        return ObjectInfo(key, head["ContentLength"], head.get("Metadata", {}).get(SHA256_METADATA), _id(head))

    def _look(self, key: str, version_id: str | None) -> ObjectInfo:
        version: dict[str, Any] = {} if version_id is None else {"VersionId": version_id}
        with naming("cannot look at", self.locate(key)):
            head = self._found(key, lambda: self._client.head_object(**self._target(key), **version))
        return ObjectInfo(key, head["ContentLength"], head.get("Metadata", {}).get(SHA256_METADATA), _id(head))

    def list(self, prefix: str, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`. Services list no checksums. What has no valid key is passed over.

        Raises:
            ObjectStoreError: the service fails, or lists keys in another order than that of their bytes.
        """
        check_prefix(prefix)
        check_prefix(start_after or "")
        return self._list(prefix, start_after or "")

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        # Where to begin is not said to the service: one leaves out `a/b` after `a`.
        where = f"{self.uri}/{prefix}"
        paginator = self._client.get_paginator("list_objects_v2")
        pages = iter(paginator.paginate(Bucket=self._bucket.name, Prefix=self._prefix + prefix))
        last = b""
        while True:
            with naming("cannot list", where):
                page = next(pages, None)
            if page is None:
                return
            for found in page.get("Contents", []):
                key = found["Key"].removeprefix(self._prefix)
                if not found["Key"].startswith(self._prefix + prefix):
                    continue
                if key.encode() <= last:
                    raise ObjectStoreError(
                        f"{where}: the service lists {key!r} after {last.decode()!r}, which is not the order of S3, "
                        "and what is still to come may be left out"
                    )
                last = key.encode()
                if last > start_after.encode() and key_problem(key) is None:
                    yield ObjectInfo(key, found["Size"], None)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`. All versions go, and markers of earlier deletions.

        Raises:
            RefusedByStoreError: a lock or a hold keeps a version, or the right is missing.
        """
        where = self.locate(key)
        with naming("cannot delete", where):
            # Each by its id: a deletion without one would leave a marker, also of what never was.
            for version in self._all_versions(key):
                self._client.delete_object(**self._target(key), VersionId=version)
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

    def _check_size(self, key: str, size: int, received: int) -> None:
        if received != size:
            raise ObjectStoreError(f"{self.locate(key)} has {size} bytes, but {received} were read")


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


def _hashed(source: BinaryIO) -> tuple[int, bytes]:
    digest = hashlib.sha256()
    size = 0
    while piece := source.read(_READ_BUFFER):
        digest.update(piece)
        size += len(piece)
    return size, digest.digest()
