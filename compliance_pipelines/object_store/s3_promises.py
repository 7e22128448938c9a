"""Whether an S3 service kept what it was given, as it was asked to.

Here: the look at the object after each put. Not here: the put (s3_uploads.py).

Services drop promises in silence: one takes `If-None-Match` and overwrites, one takes a lock for an upload in pieces
and sets none, one compares no checksum. Nothing that was not seen here is reported as stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.object_store.port import BrokenPromiseError
from compliance_pipelines.object_store.remote import SHA256_METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.object_store.s3_uploads import Upload

_A_FEW: Final = 10
_CHUNK_BYTES: Final = 2**20


@dataclass(frozen=True)
class Stored:
    """An object that was put and is to be looked at.

    Attributes:
        upload: what was asked.
        version_id: that the service gave it; None: it keeps no versions.
        checksum: that S3 gives an object of these bytes, put in this way.
        alone: whether the key may have one version alone, as what is put once and for good.
    """

    upload: Upload
    version_id: str | None
    checksum: str
    alone: bool


def check_stored(client: S3Client, stored: Stored, where: str) -> None:
    """Let an object pass that is what was asked for.

    Args:
        client: of boto3.
        stored: the object.
        where: its URI, for messages.

    Raises:
        BrokenPromiseError: it is not; it is still there.
        ClientError: the service does not say.
        BotoCoreError: the service could not be reached.
    """
    head = _head(client, stored)
    broken = [*_broken(head, stored)]
    if "ChecksumSHA256" not in head and _read_hash(client, stored) != stored.upload.sha256:
        broken.append("its bytes are not those that were sent")
    if stored.alone and stored.version_id is not None:
        broken += _other_versions(client, stored)
    if broken:
        raise BrokenPromiseError(
            f"{where} was taken by the service, and is not what was asked for: {'; '.join(broken)}. It was left there. "
            "`compliance store check` tells what this service keeps"
        )


def _head(client: S3Client, stored: Stored) -> dict[str, Any]:
    return dict(client.head_object(**stored.upload.target, **_version(stored), ChecksumMode="ENABLED"))


def _version(stored: Stored) -> dict[str, Any]:
    return {} if stored.version_id is None else {"VersionId": stored.version_id}


def _read_hash(client: S3Client, stored: Stored) -> bytes:
    """The SHA-256 of what a service has that does not say it."""
    digest = hashlib.sha256()
    body = client.get_object(**stored.upload.target, **_version(stored))["Body"]
    for piece in body.iter_chunks(_CHUNK_BYTES):
        digest.update(piece)
    return digest.digest()


def _broken(head: dict[str, Any], stored: Stored) -> Iterator[str]:
    upload, headers = stored.upload, stored.upload.headers
    if head.get("ContentLength") != upload.size:
        yield f"it has {head.get('ContentLength')} bytes in place of {upload.size}"
    if head.get("ChecksumSHA256", stored.checksum) != stored.checksum:
        yield f"its SHA-256 is {head['ChecksumSHA256']} in place of {stored.checksum}"
    if head.get("Metadata", {}).get(SHA256_METADATA) != upload.sha256.hex():
        yield "it does not carry the SHA-256 that was sent"
    if "ObjectLockMode" in headers:
        asked = headers["ObjectLockRetainUntilDate"]
        if head.get("ObjectLockMode") != headers["ObjectLockMode"]:
            yield f"its lock is {head.get('ObjectLockMode') or 'none'} in place of {headers['ObjectLockMode']}"
        elif head.get("ObjectLockRetainUntilDate") != asked:
            yield f"its lock ends on {head.get('ObjectLockRetainUntilDate')} in place of {asked}"
    for name in ("ServerSideEncryption", "SSEKMSKeyId"):
        if name in headers and not _same_encryption(name, headers[name], str(head.get(name) or "")):
            yield f"its {name} is {head.get(name) or 'none'} in place of {headers[name]}"


def _same_encryption(name: str, asked: str, found: str) -> bool:
    """A key is asked for by id and told of by an ARN that ends in it; whose alias one is, the service alone knows."""
    if name == "SSEKMSKeyId" and found:
        return found == asked or found.endswith(f"/{asked}") or "alias/" in asked
    return found == asked


def _other_versions(client: S3Client, stored: Stored) -> Iterator[str]:
    """Versions besides ours; the key is the first of those that begin with it."""
    answer = client.list_object_versions(**_prefix(stored), MaxKeys=_A_FEW)
    versions = [each["VersionId"] for each in answer.get("Versions", []) if each["Key"] == stored.upload.key]
    markers = [each["VersionId"] for each in answer.get("DeleteMarkers", []) if each["Key"] == stored.upload.key]
    if stored.version_id not in versions:
        yield "the service does not list the version that it named"
    others = len([each for each in versions if each != stored.version_id])
    if others:
        yield f"the key has {others} other {'version' if others == 1 else 'versions'} although it was to be put once"
    if markers:
        yield "the key was deleted before, which leaves a marker and the older version"


def _prefix(stored: Stored) -> dict[str, Any]:
    return {"Bucket": stored.upload.bucket, "Prefix": stored.upload.key}
