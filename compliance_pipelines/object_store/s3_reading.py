"""An object in S3 as a seekable file.

Here: requests for ranges, and going on after a transfer that was cut. Not here: how large the next range is
(ranged.py), what errors mean (s3_errors.py).

All ranges are of one version of the object, or of one ETag where the bucket keeps no versions: an object that is
replaced meanwhile is never read half and half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from compliance_pipelines.object_store.ranged import FIRST_RANGE, RangedFile
from compliance_pipelines.object_store.s3_errors import Answer, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ATTEMPTS: Final = 5
_UNDEFINED: Final = -1


class S3ObjectFile(RangedFile):
    """An object that is opened with the request for its first range.

    Args:
        get: the client's `get_object` with the bucket and the key bound; takes `Range` and the rest of the request.
        where: the URI of the object, for messages.
        version_id: of the object; None: the newest, and that one from the first range on.

    Raises:
        ClientError: the service refuses; raised by the constructor, which fetches the first range.
        OSError: a range could not be fetched; raised by reading.
    """

    def __init__(self, get: Callable[..., Mapping[str, Any]], where: str, version_id: str | None = None) -> None:
        super().__init__(where)
        self._request = get
        self._same: dict[str, str] = {} if version_id is None else {"VersionId": version_id}
        self.size = _UNDEFINED
        self.sha256 = None
        self._open()

    def _open(self) -> None:
        """Fetch the first range, and whatever else is known of the object with it."""
        try:
            self._data = memoryview(self._repeated(0, FIRST_RANGE - 1))
        except ClientError as error:
            if answer_of(error) is not Answer.RANGE:
                raise
            self._open_empty()

    def _get(self, begin: int, last: int) -> bytes:
        try:
            return self._repeated(begin, last)
        except ClientError as error:
            raise OSError(f"{self._where} could not be read: {error}") from error

    def _repeated(self, begin: int, last: int) -> bytes:
        """A range; a transfer that was cut is begun again."""
        for attempt in range(_ATTEMPTS):
            try:
                return self._range(begin, last)
            except (BotoCoreError, OSError) as error:
                if attempt == _ATTEMPTS - 1:
                    raise OSError(f"{self._where} could not be read: {error}") from error
        raise AssertionError("unreachable")

    def _range(self, begin: int, last: int) -> bytes:
        answer = self._request(Range=f"bytes={begin}-{last}", **self._same)
        first, until, size = _content_range(answer, self._where)
        data: bytes = answer["Body"].read()
        if first != begin or until - first + 1 != len(data) or self.size not in {_UNDEFINED, size}:
            raise OSError(f"{self._where}: bytes {begin} to {last} were asked for, and others came")
        self._remember(answer, size)
        return data

    def _open_empty(self) -> None:
        """An object without bytes has no first one, and services refuse to give it."""
        answer = self._request(**self._same)
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
