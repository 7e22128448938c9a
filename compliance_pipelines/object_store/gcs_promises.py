"""Whether Google Cloud Storage kept what it was given, as it was asked to.

Here: the look at the object after each put. Not here: the put (gcs_uploads.py).

Nothing that was not seen here is reported as stored. A bucket's own settings change what an object gets (a default
hold, a retention policy), and whatever else speaks Google's interface drops what it does not know in silence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.object_store.port import BrokenPromiseError
from compliance_pipelines.object_store.remote import SHA256_METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from compliance_pipelines.object_store.gcs_client import GcsService
    from compliance_pipelines.object_store.gcs_uploads import Upload

_A_FEW: Final = 10


@dataclass(frozen=True)
class Stored:
    """An object that was put and is to be looked at.

    Attributes:
        upload: what was asked.
        generation: that the service gave it; None: it named none.
        alone: whether the key may have one generation alone, as what is put once and for good.
    """

    upload: Upload
    generation: int | None
    alone: bool


def check_stored(service: GcsService, stored: Stored, where: str) -> None:
    """Let an object pass that is what was asked for.

    Args:
        service: where it is.
        stored: the object.
        where: its URI, for messages.

    Raises:
        BrokenPromiseError: it is not; it is still there.
        GoogleAPIError: the service does not say; the errors of requests and google-auth: it could not be reached.
    """
    broken = ["the service names no generation"] if stored.generation is None else []
    blob: Any = service.client.bucket(stored.upload.bucket).blob(stored.upload.key, generation=stored.generation)
    blob.reload(**service.waiting)
    broken += _broken(blob, stored.upload)
    if not blob.crc32c and _read_hash(service, blob) != stored.upload.sha256:
        broken.append("its bytes are not those that were sent")
    if stored.alone and stored.generation is not None:
        broken += _other_generations(service, stored)
    if broken:
        raise BrokenPromiseError(
            f"{where} was taken by the service, and is not what was asked for: {'; '.join(broken)}. It was left there. "
            "`compliance store check` tells what this service keeps"
        )


def lock_of(blob: Any) -> tuple[str | None, datetime | None]:  # noqa: ANN401 - of Google's library, without types
    """Mode and end of an object's lock."""
    return blob.retention.mode, blob.retention.retain_until_time


def generations(service: GcsService, bucket: str, key: str) -> Iterator[int]:
    """All generations of a key, the live one included; soft-deleted ones are none.

    Raises:
        GoogleAPIError: the service refuses or fails.
    """
    for blob in service.client.list_blobs(
        bucket, prefix=key, start_offset=key, versions=True, page_size=_A_FEW, **service.waiting
    ):
        # The key is the first of those that begin with it.
        if blob.name != key:
            return
        yield int(blob.generation)


def _read_hash(service: GcsService, blob: Any) -> bytes:  # noqa: ANN401 - of Google's library
    """The SHA-256 of what a service has that says no checksum."""
    digest = hashlib.sha256()
    with blob.open("rb", **service.waiting) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.digest()


def _broken(blob: Any, upload: Upload) -> Iterator[str]:  # noqa: ANN401 - of Google's library
    if blob.size != upload.size:
        yield f"it has {blob.size} bytes in place of {upload.size}"
    if blob.crc32c and blob.crc32c != upload.crc32c:
        yield f"its CRC32C is {blob.crc32c} in place of {upload.crc32c}"
    if (blob.metadata or {}).get(SHA256_METADATA) != upload.sha256.hex():
        yield "it does not carry the SHA-256 that was sent"
    if blob.content_encoding:
        yield f"it is said to be encoded as {blob.content_encoding}, and would be read as something else"
    yield from _broken_lock(blob, upload)
    key = str(blob.kms_key_name or "")
    if upload.kms_key is not None and key.partition("/cryptoKeyVersions/")[0] != upload.kms_key:
        yield f"its key is {key or 'none'} in place of {upload.kms_key}"


def _broken_lock(blob: Any, upload: Upload) -> Iterator[str]:  # noqa: ANN401 - of Google's library
    mode, until = lock_of(blob)
    if blob.event_based_hold:
        yield "it has an event-based hold that nobody asked for"
    if upload.lock_mode is None:
        if mode is not None or blob.retention_expiration_time is not None:
            yield f"it is locked until {until or blob.retention_expiration_time}, and must be replaceable"
    elif mode != upload.lock_mode:
        yield f"its lock is {mode or 'none'} in place of {upload.lock_mode}"
    elif until != upload.locked_until:
        yield f"its lock ends on {until} in place of {upload.locked_until}"


def _other_generations(service: GcsService, stored: Stored) -> Iterator[str]:
    found = list(generations(service, stored.upload.bucket, stored.upload.key))
    if stored.generation not in found:
        yield "the service does not list the generation that it named"
    others = len([each for each in found if each != stored.generation])
    if others:
        many = "generation" if others == 1 else "generations"
        yield f"the key has {others} other {many} although it was to be put once"
