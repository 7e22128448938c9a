"""An object in Google Cloud Storage as a seekable file.

Here: requests for ranges of one generation. Not here: how large the next range is (ranged.py), going on after a
transfer that was cut, which Google's library does, and what errors mean (gcs_errors.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compliance_pipelines.object_store.gcs_errors import FAILURES, said
from compliance_pipelines.object_store.ranged import RangedFile
from compliance_pipelines.object_store.remote import SHA256_METADATA

if TYPE_CHECKING:
    from google.cloud.storage import Blob

    from compliance_pipelines.object_store.gcs_client import GcsService


class GcsObjectFile(RangedFile):
    """An object whose properties are known; its generation is read, whatever is put meanwhile.

    Args:
        service: where it is.
        blob: the object, whose properties were loaded.
        where: its URI, for messages.
    """

    def __init__(self, service: GcsService, blob: Blob, where: str) -> None:
        super().__init__(where)
        self._service = service
        self._blob: Any = blob
        self.size = int(blob.size)
        self.sha256 = (blob.metadata or {}).get(SHA256_METADATA)

    def _get(self, begin: int, last: int) -> bytes:
        try:
            data: bytes = self._blob.download_as_bytes(
                start=begin, end=last, raw_download=True, checksum=None, **self._service.waiting
            )
        except FAILURES as error:
            raise OSError(f"{self._where} could not be read: {said(error)}") from error
        if len(data) != last - begin + 1:
            raise OSError(f"{self._where}: bytes {begin} to {last} were asked for, and {len(data)} came")
        return data
