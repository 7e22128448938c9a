"""Putting an object into Google Cloud Storage if its key has none, or has the generation that was read.

Here: the request, or the requests for what is large, and their checksum. Not here: whether the service kept what it was
given (gcs_promises.py).

The CRC32C of all bytes is in the first request, whichever way they are sent, so that the service refuses others and
stores nothing. Google's library is told to compute none of its own: it would notice a difference after the object is
there, and then delete whatever the key has.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import google_crc32c

from compliance_pipelines.object_store.remote import SHA256_METADATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from compliance_pipelines.object_store.gcs_client import GcsService

# The library sends what is no larger than 8 MiB in one request. A multiple of 256 KiB, in memory once.
PIECE_BYTES: Final = 16 * 2**20
ABSENT: Final = 0

_checksum: Callable[[], Any] = google_crc32c.Checksum  # which has no types


@dataclass(frozen=True)
class Upload:
    """What is to be put.

    Attributes:
        bucket: where.
        key: in the bucket, with the store's prefix.
        size: bytes.
        sha256: of all bytes.
        crc32c: of all bytes, in base64 as the service says it.
        lock_mode: `Locked` or `Unlocked`; None: the object is not locked.
        locked_until: the end of the lock, to the second; None: the object is not locked.
        kms_key: that encrypts it, `projects/.../cryptoKeys/...`; None: the bucket's.
    """

    bucket: str
    key: str
    size: int
    sha256: bytes
    crc32c: str
    lock_mode: str | None = None
    locked_until: datetime | None = None
    kms_key: str | None = None


class Crc32c:
    """The checksum of what comes through."""

    def __init__(self) -> None:
        self._checksum: Any = _checksum()

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Hand pieces on."""
        for piece in pieces:
            self._checksum.update(piece)
            yield piece

    def __str__(self) -> str:
        return base64.b64encode(self._checksum.digest()).decode("ascii")


def put(service: GcsService, upload: Upload, source: BinaryIO, generation: int) -> int | None:
    """Put an object if its key has the generation that is named; for what is put once that is `ABSENT`.

    Args:
        service: where.
        upload: what is to be put.
        source: its bytes, seekable, from the first on.
        generation: that the key must have.

    Returns:
        the generation that the service names; None where it names none.

    Raises:
        GoogleAPIError: the service refuses or fails; a failed precondition: the key has another generation. The
            errors of requests and of google-auth say that it could not be reached.
        OSError: the source cannot be read.
        ValueError: the source has fewer bytes.
    """
    blob: Any = service.client.bucket(upload.bucket).blob(
        upload.key, chunk_size=PIECE_BYTES, kms_key_name=upload.kms_key
    )
    blob.metadata = {SHA256_METADATA: upload.sha256.hex()}
    blob.crc32c = upload.crc32c
    if upload.lock_mode is not None and upload.locked_until is not None:
        blob.retention.mode = upload.lock_mode
        blob.retention.retain_until_time = upload.locked_until
    source.seek(0)
    blob.upload_from_file(
        source,
        size=upload.size,
        content_type="application/octet-stream",
        if_generation_match=generation,
        checksum=None,
        **service.waiting,
    )
    return None if blob.generation is None else int(blob.generation)
