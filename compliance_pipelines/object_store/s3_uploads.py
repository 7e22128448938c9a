"""Putting an object into S3 if its key has none: one request, or several for what is large.

Here: the requests and their checksums, conflicts that pass. Not here: whether the service kept what it was given
(s3_promises.py).

What is put in one request has the SHA-256 of its bytes, which the service compares. What is put in several has one for
each, and all of it is stored together with the last request or not at all.
"""

from __future__ import annotations

import base64
import hashlib
import io
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from botocore.exceptions import BotoCoreError, ClientError

from compliance_pipelines.object_store.remote import SHA256_METADATA
from compliance_pipelines.object_store.s3_errors import Answer, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

# One request for most parts. S3 takes 5 GiB in one, and 10,000 pieces of an object.
SINGLE_PUT_BYTES: Final = 256 * 2**20
PIECE_BYTES: Final = 64 * 2**20
_CONFLICTS: Final = 6


@dataclass(frozen=True)
class Upload:
    """What is to be put.

    Attributes:
        bucket: where.
        key: in the bucket, with the store's prefix.
        size: bytes.
        sha256: of all bytes.
        headers: further arguments of boto3 for the object: lock, encryption.
    """

    bucket: str
    key: str
    size: int
    sha256: bytes
    headers: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> dict[str, Any]:
        """The object, as boto3 is told of it."""
        return {"Bucket": self.bucket, "Key": self.key}

    @property
    def attributes(self) -> dict[str, Any]:
        """What the object has besides its bytes."""
        return {**self.headers, "Metadata": {SHA256_METADATA: self.sha256.hex()}}


def put_if_absent(
    client: S3Client, upload: Upload, source: BinaryIO, *, single_put_bytes: int = SINGLE_PUT_BYTES
) -> str | None:
    """Put an object unless the key has one.

    Args:
        client: of boto3.
        upload: what is to be put.
        source: its bytes, seekable, from the first on.
        single_put_bytes: up to how many are put in one request.

    Returns:
        the id of the version; None where the bucket keeps none.

    Raises:
        ClientError: the service refuses; a failed precondition: the key has an object.
        BotoCoreError: the service could not be reached.
        OSError: the source cannot be read.
    """
    return _put(client, upload, source, {"IfNoneMatch": "*"}, single_put_bytes)


def put_over(
    client: S3Client, upload: Upload, source: BinaryIO, *, single_put_bytes: int = SINGLE_PUT_BYTES
) -> str | None:
    """Put an object whatever is there, as the newest version of its key; otherwise as :func:`put_if_absent`."""
    return _put(client, upload, source, {}, single_put_bytes)


def _put(
    client: S3Client, upload: Upload, source: BinaryIO, condition: dict[str, Any], single_put_bytes: int
) -> str | None:
    if upload.size <= single_put_bytes:
        return _repeated_on_conflict(lambda: _put_at_once(client, upload, source, condition))
    return _repeated_on_conflict(lambda: _put_in_pieces(client, upload, source, condition))


def put_if_match(client: S3Client, upload: Upload, data: bytes, etag: str) -> str | None:
    """Put an object in the place of one with an ETag; otherwise as :func:`put_if_absent`."""
    return _repeated_on_conflict(lambda: _put_at_once(client, upload, io.BytesIO(data), {"IfMatch": etag}))


def _repeated_on_conflict(put: Callable[[], str | None]) -> str | None:
    """Put again while the service is busy with another request for the same key, which it says by a conflict."""
    for attempt in range(_CONFLICTS):
        try:
            return put()
        except ClientError as error:
            if answer_of(error) is not Answer.CONFLICT or attempt == _CONFLICTS - 1:
                raise
        time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311 - that two do not meet again
    raise AssertionError("unreachable")


def _put_at_once(client: S3Client, upload: Upload, source: BinaryIO, condition: dict[str, Any]) -> str | None:
    source.seek(0)
    answer = client.put_object(
        **upload.target, **upload.attributes, **condition, Body=source, ContentLength=upload.size,
        ChecksumSHA256=_base64(upload.sha256),
    )  # fmt: skip
    return _version(answer)


def _put_in_pieces(client: S3Client, upload: Upload, source: BinaryIO, condition: dict[str, Any]) -> str | None:
    source.seek(0)
    begun = client.create_multipart_upload(**upload.target, **upload.attributes, ChecksumAlgorithm="SHA256")
    upload_id = begun["UploadId"]
    try:
        parts: list[CompletedPartTypeDef] = [
            _put_piece(client, upload, upload_id, number, piece) for number, piece in enumerate(_pieces(source), 1)
        ]
        answer = client.complete_multipart_upload(
            **upload.target, **condition, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )
    except BaseException:
        # The first error is the one that matters; a lifecycle rule removes what cannot be removed now.
        with suppress(ClientError, BotoCoreError):
            client.abort_multipart_upload(**upload.target, UploadId=upload_id)
        raise
    return _version(answer)


def _put_piece(client: S3Client, upload: Upload, upload_id: str, number: int, piece: bytes) -> CompletedPartTypeDef:
    checksum = _base64(hashlib.sha256(piece).digest())
    answer = client.upload_part(
        **upload.target, UploadId=upload_id, PartNumber=number, Body=piece, ChecksumSHA256=checksum
    )
    return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(PIECE_BYTES):
        yield piece


def composite_checksum(source: BinaryIO) -> str:
    """What S3 calls the checksum of an object that was put in pieces: that of the checksums, and how many there are."""
    source.seek(0)
    digests = [hashlib.sha256(piece).digest() for piece in _pieces(source)]
    return f"{_base64(hashlib.sha256(b''.join(digests)).digest())}-{len(digests)}"


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _version(answer: Mapping[str, Any]) -> str | None:
    version = answer.get("VersionId")
    return None if version in {None, "null"} else str(version)
