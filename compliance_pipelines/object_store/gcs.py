"""The cold store in a bucket of Google Cloud Storage.

Here: `GcsObjectStore`. Not here: how the client is configured (gcs_client.py), how an object is put (gcs_uploads.py),
looked at afterwards (gcs_promises.py) and read (gcs_reading.py), what errors mean (gcs_errors.py), what is the same for
every service (remote.py).

A generation is what the service calls one content of a key for good. What is put once is put if the key has none, what
is replaced if it has the one that was read; and each object is looked at under the generation that the service named,
so that nobody's later one is taken for it.
"""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

from compliance_pipelines.object_store.gcs_errors import FAILURES, Answer, answer_of, naming
from compliance_pipelines.object_store.gcs_promises import Stored, check_stored, generations, lock_of
from compliance_pipelines.object_store.gcs_reading import GcsObjectFile
from compliance_pipelines.object_store.gcs_uploads import ABSENT, Crc32c, Upload, put
from compliance_pipelines.object_store.port import (
    BrokenPromiseError,
    ObjectInfo,
    ObjectMissingError,
    ObjectStoreError,
    OversizedObjectError,
    RefusedByStoreError,
    StoreMissingError,
    VersionedObject,
    no_retention,
)
from compliance_pipelines.object_store.remote import (
    SHA256_METADATA,
    RemoteObjectStore,
    pieces_of,
    sha256_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from compliance_pipelines.object_store.gcs_client import GcsService
    from compliance_pipelines.object_store.port import RetentionRule

T = TypeVar("T")

_HOLD_ATTEMPTS: Final = 5


@dataclass(frozen=True)
class GcsBucket:
    """Where objects are, and what each of them gets.

    Attributes:
        name: of the bucket.
        prefix: that all keys have in the bucket, without a slash at either end; empty: none.
        lock_mode: `Unlocked` or `Locked`; None: no object is locked.
        kms_key: `projects/.../cryptoKeys/...` that encrypts; None: the bucket's, or Google's.
        location: where in the world it is made; None: it is made by others.
    """

    name: str
    prefix: str = ""
    lock_mode: str | None = None
    kms_key: str | None = None
    location: str | None = None


class GcsObjectStore(RemoteObjectStore):
    """An `ObjectStore` in a bucket.

    Args:
        service: where the bucket is.
        bucket: where objects are.
        retain_until: until when each object is locked, where the bucket's objects are.
        versions: which generation of some keys is read; see `at_versions`.

    Raises:
        InvalidKeyError: no key can have the prefix.
    """

    def __init__(
        self,
        service: GcsService,
        bucket: GcsBucket,
        *,
        retain_until: RetentionRule = no_retention,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"gs://{bucket.name}", bucket.prefix, retain_until=retain_until, versions=versions)
        self._service: Final = service
        self._bucket: Final = bucket

    @property
    def service(self) -> GcsService:
        """Where the bucket is."""
        return self._service

    @property
    def bucket(self) -> GcsBucket:
        """Where objects are."""
        return self._bucket

    def at_versions(self, versions: Mapping[str, str]) -> GcsObjectStore:
        """See `ObjectStore.at_versions`; a version is a generation."""
        return GcsObjectStore(self._service, self._bucket, retain_until=self._retain_until, versions=versions)

    def create(self) -> None:
        """Make the bucket, with locks where objects get them. One that is there is left as it is.

        Raises:
            ObjectStoreError: it cannot be made, or it is not said where in the world.
        """
        try:
            self._require_bucket()
        except StoreMissingError as error:
            if self._bucket.location is None:
                raise ObjectStoreError(
                    f"the bucket of the cold store, {self._bucket.name}, is not there, and GCP_GCS_LOCATION does not "
                    "say where in the world it is to be: set it, or make the bucket as docs/cold-storage.md describes"
                ) from error
            with naming("cannot make", self.uri):
                self._make_bucket()

    def _make_bucket(self) -> None:
        # No versions: without them what is locked can be neither deleted nor hidden behind another generation.
        bucket: Any = self._service.client.bucket(self._bucket.name)
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.iam_configuration.public_access_prevention = "enforced"
        if self._bucket.kms_key is not None:
            bucket.default_kms_key_name = self._bucket.kms_key
        try:
            self._service.client.create_bucket(
                bucket,
                location=self._bucket.location,
                enable_object_retention=self._bucket.lock_mode is not None,
                **self._service.waiting,
            )
        except FAILURES as error:
            if answer_of(error) is not Answer.CONFLICT:
                raise
            # Whoever else makes it at the same moment makes the same; a stranger's is refused.
            self._require_bucket()

    def now(self) -> datetime:
        """The time that the service says with each answer, to the second."""
        with naming("cannot ask for the time of", self.uri):
            return self._said_time(self._service.said_time(self._bucket.name))

    def _put(self, key: str, source: BinaryIO) -> ObjectInfo:
        where = self.locate(key)
        upload = self._upload(key, source, self._end_of_lock(key))
        with naming("cannot store", where):
            try:
                generation = put(self._service, upload, source, ABSENT)
            except FAILURES as error:
                if answer_of(error) is not Answer.PRECONDITION_FAILED:
                    raise
                raise self._refusal_of_put(key) from error
            except ValueError as error:
                raise ObjectStoreError(f"{key!r} cannot be stored at {where}: its source changed: {error}") from error
            self._check(Stored(upload, generation, alone=True), where)
        return ObjectInfo(key, upload.size, upload.sha256.hex(), _version(generation))

    def _upload(self, key: str, source: BinaryIO, locked_until: datetime | None) -> Upload:
        crc32c = Crc32c()
        size, sha256 = sha256_of(crc32c.through(pieces_of(source)))
        locks = self._bucket.lock_mode is not None and locked_until is not None
        return Upload(
            bucket=self._bucket.name,
            key=self._prefix + key,
            size=size,
            sha256=sha256,
            crc32c=str(crc32c),
            lock_mode=self._bucket.lock_mode if locks else None,
            locked_until=locked_until if locks else None,
            kms_key=self._bucket.kms_key,
        )

    def upload_of(self, key: str, data: bytes) -> Upload:
        """What would be put for bytes that are not locked; for trials."""
        return self._upload(key, io.BytesIO(data), None)

    def _check(self, stored: Stored, where: str) -> None:
        try:
            check_stored(self._service, stored, where)
        except FAILURES as error:
            if answer_of(error) is not Answer.NOT_FOUND:
                raise
            raise BrokenPromiseError(f"{where} was taken by the service, and is not there") from error

    def replace(self, key: str, data: bytes, expected: str) -> ObjectInfo:
        """See `ObjectStore.replace`. The generation before is removed where the bucket keeps it.

        Where that fails it is left to the bucket's lifecycle.
        """
        where = self.locate(key)
        before = _generation(expected)
        if before is None:
            raise ObjectStoreError(f"cannot replace {where}: {expected!r} is no generation that was read")
        upload = self.upload_of(key, data)
        with naming("cannot replace", where):
            try:
                generation = put(self._service, upload, io.BytesIO(data), before)
            except FAILURES as error:
                if answer_of(error) is not Answer.PRECONDITION_FAILED:
                    raise
                raise self._refusal_of_replacement(key) from error
            self._check(Stored(upload, generation, alone=False), where)
        with suppress(*FAILURES):
            # Asked for only where it is listed: a service that forgets the generation would delete the new one.
            if before in self._generations(key):
                self._delete(key, before)
        return ObjectInfo(key, len(data), upload.sha256.hex(), _version(generation))

    def read_versioned(self, key: str, most: int) -> VersionedObject:
        """See `ObjectStore.read_versioned`; the version is the generation."""
        where = self.locate(key)
        with naming("cannot read", where):
            blob = self._loaded(key, None)
            if blob.size > most:
                raise OversizedObjectError(f"it has {blob.size:,} bytes, and none has more than {most:,}")
            file = GcsObjectFile(self._service, blob, where)
        try:
            data = io.BufferedReader(file).read(most + 1)
        except OSError as error:
            raise ObjectStoreError(f"cannot read {where}: {error}") from error
        self._check_size(key, blob.size, len(data))
        return VersionedObject(data, str(blob.generation))

    def _open(self, key: str, version: str | None) -> GcsObjectFile:
        where = self.locate(key)
        with naming("cannot read", where):
            return GcsObjectFile(self._service, self._loaded(key, version), where)

    def _look(self, key: str, version: str | None) -> ObjectInfo:
        with naming("cannot look at", self.locate(key)):
            return _info(key, self._loaded(key, version))

    def confirm(self, key: str) -> ObjectInfo:
        """See `ObjectStore.confirm`."""
        with naming("cannot look at", self.locate(key)):
            blob = self._loaded(key, None)
        if self._bucket.lock_mode is not None:
            self._check_lock(key, self._bucket.lock_mode, *lock_of(blob))
        return _info(key, blob)

    def has_hold(self, key: str) -> bool | None:
        """Whether the object has a temporary hold, at the version that is known of it.

        Raises:
            ObjectMissingError: the key has no object.
            ObjectStoreError: the store cannot tell.
        """

        def look(key: str, version: str | None) -> bool:
            with naming("cannot look for a hold on", self.locate(key)):
                return bool(self._loaded(key, version).temporary_hold)

        return self._at_version(key, look)

    def set_hold(self, key: str, *, held: bool) -> None:
        """Set or end the temporary hold of the object, at the version that is known of it.

        Raises:
            ObjectMissingError: the key has no object.
            BrokenPromiseError: the service agreed, and did not do it.
            ObjectStoreError: the store refuses or fails.
        """

        def hold(key: str, version: str | None) -> None:
            where = self.locate(key)
            with naming("cannot set the hold of" if held else "cannot end the hold of", where):
                blob = self._loaded(key, version)
                for _ in range(_HOLD_ATTEMPTS):
                    if bool(blob.temporary_hold) is held:
                        return
                    self._patch_hold(blob, held=held)
                    # What is there now, and not what the answer says: somebody else may have been faster.
                    blob = self._loaded(key, str(blob.generation))
            if bool(blob.temporary_hold) is not held:
                raise BrokenPromiseError(
                    f"{where}: the service agreed to {'set' if held else 'end'} its hold, and did not do it"
                )

        self._at_version(key, hold)

    def locked_until(self, key: str) -> datetime | None:
        """Until when a lock keeps the object, at the version that is known of it; None: no lock, or one that has ended.

        Raises:
            ObjectMissingError: the key has no object.
            ObjectStoreError: the store cannot tell.
        """

        def look(key: str, version: str | None) -> datetime | None:
            with naming("cannot look for the lock on", self.locate(key)):
                blob = self._loaded(key, version)
            # The bucket's own policy may keep it for longer than its lock.
            ends = (lock_of(blob)[1], blob.retention_expiration_time)
            return max((end for end in ends if end is not None), default=None)

        until = self._at_version(key, look)
        return None if until is None or until <= self.now() else until

    def _patch_hold(self, blob: Any, *, held: bool) -> None:  # noqa: ANN401 - of Google's library
        blob.temporary_hold = held
        try:
            blob.patch(if_metageneration_match=blob.metageneration, **self._service.waiting)
        except FAILURES as error:
            # A patch whose answer was lost, or somebody else's.
            if answer_of(error) is not Answer.PRECONDITION_FAILED:
                raise

    def _blob(self, key: str, generation: int | None) -> Any:  # noqa: ANN401 - of Google's library
        return self._service.client.bucket(self._bucket.name).blob(self._prefix + key, generation=generation)

    def _loaded(self, key: str, version: str | None) -> Any:  # noqa: ANN401 - of Google's library
        """The object with its properties.

        Raises:
            ObjectMissingError: the key has no object, or not this version.
        """
        generation = None if version is None else _generation(version)
        if version is not None and generation is None:
            raise ObjectMissingError(f"{key!r} has no version {version!r}, looked for at {self.locate(key)}")
        blob = self._blob(key, generation)
        try:
            blob.reload(**self._service.waiting)
        except FAILURES as error:
            if answer_of(error) is not Answer.NOT_FOUND:
                raise
            self._require_bucket()
            raise ObjectMissingError(f"{key!r} has no object, looked for at {self.locate(key)}") from error
        return blob

    def _listed(self, prefix: str, start_after: str) -> Iterator[tuple[str, int]]:
        with naming("cannot list", f"{self.uri}/{prefix}"):
            pages = self._service.client.list_blobs(
                self._bucket.name,
                prefix=self._prefix + prefix,
                # It begins with the string itself, which is passed over.
                start_offset=self._prefix + start_after if start_after else None,
                fields="items(name,size),nextPageToken",
                **self._service.waiting,
            ).pages
        while True:
            with naming("cannot list", f"{self.uri}/{prefix}"):
                page = next(pages, None)
            if page is None:
                return
            for blob in page:
                yield blob.name, int(blob.size)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`. All generations go; a bucket with soft delete has them for some days more.

        Raises:
            RefusedByStoreError: a lock or a hold keeps a generation, or the right is missing.
        """
        where = self.locate(key)
        with naming("cannot delete", where):
            # Each by its generation: without one, a bucket with versions would keep it as a noncurrent one.
            kept: Exception | None = None
            for generation in list(self._generations(key)):
                try:
                    self._delete(key, generation)
                except FAILURES as error:
                    if answer_of(error) is not Answer.REFUSED:
                        raise
                    # The others go all the same: what was put over it is nobody's archive.
                    kept = kept or error
            if kept is not None:
                raise kept
            if list(self._generations(key)):
                raise RefusedByStoreError(f"cannot delete {where}: the service agreed, and it is still there")

    def _delete(self, key: str, generation: int) -> None:
        try:
            self._blob(key, generation).delete(**self._service.waiting)
        except FAILURES as error:
            # Gone since it was listed, or by a request whose answer was lost.
            if answer_of(error) is not Answer.NOT_FOUND:
                raise

    def _generations(self, key: str) -> Iterator[int]:
        return generations(self._service, self._bucket.name, self._prefix + key)

    def _require_bucket(self) -> None:
        """Let a bucket pass that is there.

        Raises:
            StoreMissingError: it is not.
            ObjectStoreError: nobody can tell.
        """
        with naming("cannot look for", self.uri):
            # A listing, since reading the bucket's settings needs a right that readers of objects lack.
            try:
                next(self._service.client.list_blobs(self._bucket.name, max_results=1, **self._service.waiting).pages)
            except FAILURES as error:
                if answer_of(error) is Answer.NOT_FOUND:
                    raise StoreMissingError(
                        f"the bucket of the cold store, {self._bucket.name}, is not there: AUDIT_COLD_STORAGE_BUCKET "
                        "is mistyped, or it is not made yet. A new store is made by `compliance store init` alone"
                    ) from error
                raise


def _info(key: str, blob: Any) -> ObjectInfo:  # noqa: ANN401 - of Google's library
    return ObjectInfo(key, int(blob.size), (blob.metadata or {}).get(SHA256_METADATA), str(blob.generation))


def _version(generation: int | None) -> str | None:
    return None if generation is None else str(generation)


def _generation(version: str) -> int | None:
    """The generation that a version names; None where it is none, as another kind of store's is not."""
    return int(version) if version.isascii() and version.isdecimal() and int(version) > ABSENT else None
