"""An object of a service as a seekable file.

Here: positions, and how large the next range is. Not here: how a range is fetched (s3_reading.py, gcs_reading.py).
"""

from __future__ import annotations

import io
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing_extensions import Buffer

FIRST_RANGE: Final = 256 * 1024
LARGEST_RANGE: Final = 16 * 2**20


class RangedFile(io.RawIOBase):
    """A file whose bytes are fetched in ranges: small ones where it is read here and there, large ones in a row.

    Attributes:
        size: bytes of the object; an adapter sets it when it opens the object.
        sha256: that the object carries, lower-case hex; None: it carries none.
    """

    size: int
    sha256: str | None

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where
        self._position = 0
        self._begin = 0
        self._data = memoryview(b"")
        self._window = FIRST_RANGE

    @abstractmethod
    def _get(self, begin: int, last: int) -> bytes:
        """The bytes from one to another, both included and both in the object.

        Raises:
            OSError: the service fails, or gives others.
        """

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
            self._window = min(2 * self._window, LARGEST_RANGE) if offset == len(self._data) else FIRST_RANGE
            self._fetch(self._position, at_least=len(target))
            offset = 0
        piece = self._data[offset : offset + len(target)]
        target[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _fetch(self, begin: int, at_least: int) -> None:
        count = min(max(self._window, at_least), LARGEST_RANGE)
        self._data = memoryview(self._get(begin, min(begin + count, self.size) - 1))
        self._begin = begin
