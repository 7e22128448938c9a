"""An object in S3 as a seekable file.

Here: ranges, how large the next one is, and going on after a transfer that was cut. Not here: what errors mean
(s3_errors.py).

All ranges are of one version of the object, or of one ETag where the bucket keeps no versions: an object that is
replaced meanwhile is never read half and half.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from compliance_pipelines.object_store.s3_errors import Answer, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Buffer

_FIRST_RANGE: Final = 256 * 1024
_LARGEST_RANGE: Final = 16 * 2**20
_ATTEMPTS: Final = 5
_UNDEFINED: Final = -1


class S3ObjectFile(io.RawIOBase):
    """A file whose bytes are fetched in ranges: small ones where it is read here and there, large ones in a row.

    Args:
        get: the client's `get_object` with the bucket and the key bound; takes `Range` and the rest of the request.
        where: the URI of the object, for messages.
        version_id: of the object; None: the newest, and that one from the first range on.

    Raises:
        ClientError: the service refuses; raised by the constructor, which fetches the first range.
        OSError: a range could not be fetched; raised by reading.
    """

    def __init__(self, get: Callable[..., Mapping[str, Any]], where: str, version_id: str | None = None) -> None:
        super().__init__()
        self._get = get
        self._where = where
        self._same: dict[str, str] = {} if version_id is None else {"VersionId": version_id}
        self._position = 0
        self._begin = 0
        self._data = memoryview(b"")
        self._window = _FIRST_RANGE
        self.size = _UNDEFINED
        self.sha256: str | None = None
        self._fetch(0)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go somewhere; beyond the end there is nothing to be read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(f"{self._where} has no byte before the first")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer as far as the range at hand goes.

        Raises:
            OSError: the service fails.
        """
        target = memoryview(buffer).cast("B")
        if self._position >= self.size or not target:
            return 0
        offset = self._position - self._begin
        if not 0 <= offset < len(self._data):
            self._window = min(2 * self._window, _LARGEST_RANGE) if offset == len(self._data) else _FIRST_RANGE
            self._fetch(self._position, at_least=len(target))
            offset = 0
        piece = self._data[offset : offset + len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _fetch(self, begin: int, at_least: int = 0) -> None:
        """Get the range that begins there; a transfer that was cut is begun again."""
        count = min(max(self._window, at_least), _LARGEST_RANGE)
        last = begin + count - 1 if self.size == _UNDEFINED else min(begin + count, self.size) - 1
        for attempt in range(_ATTEMPTS):
            try:
                self._data = memoryview(self._range(begin, last))
            except ClientError as error:
                if self.size == _UNDEFINED:
                    if answer_of(error) is Answer.RANGE:
                        self._open_empty()
                        return
                    raise
                raise OSError(f"{self._where} could not be read: {error}") from error
            except (BotoCoreError, OSError) as error:
                if attempt == _ATTEMPTS - 1:
                    raise OSError(f"{self._where} could not be read: {error}") from error
            else:
                self._begin = begin
                return

    def _range(self, begin: int, last: int) -> bytes:
        answer = self._get(Range=f"bytes={begin}-{last}", **self._same)
        first, until, size = _content_range(answer, self._where)
        data: bytes = answer["Body"].read()
        if first != begin or until - first + 1 != len(data) or self.size not in {_UNDEFINED, size}:
            raise OSError(f"{self._where}: bytes {begin} to {last} were asked for, and others came")
        self._remember(answer, size)
        return data

    def _open_empty(self) -> None:
        """An object without bytes has no first one, and services refuse to give it."""
        answer = self._get(**self._same)
        if answer["Body"].read():
            raise OSError(f"{self._where} changed while it was opened")
        self._remember(answer, 0)

    def _remember(self, answer: Mapping[str, Any], size: int) -> None:
        if self.size == _UNDEFINED:
            self.size = size
            self.sha256 = answer.get("Metadata", {}).get("sha256")
            version = answer.get("VersionId")
            if not self._same:
                self._same = {"IfMatch": answer["ETag"]} if version in {None, "null"} else {"VersionId": str(version)}


def _content_range(answer: Mapping[str, Any], where: str) -> tuple[int, int, int]:
    """First and last byte of a range, and the size of the object."""
    text = str(answer.get("ContentRange", ""))
    try:
        span, size = text.removeprefix("bytes ").split("/")
        first, last = span.split("-")
        return int(first), int(last), int(size)
    except ValueError:
        raise OSError(f"{where}: the service sent no range but {text!r}") from None
