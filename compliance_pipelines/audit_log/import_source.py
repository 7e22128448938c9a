"""The file that is imported, line by line, in constant memory.

Here: opening, gzip, the mark at the start, the bound on a line, what is known of the file afterwards. Not here: what a
line says.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import stat
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BUFFER_BYTES: Final = 2**20
# The marks of encodings that are refused (Unicode, section 23.8). UTF-32's first: one of them begins as UTF-16's does.
_OTHER_ENCODINGS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class ImportFileError(ComplianceError):
    """The file cannot be read to its end; nothing of it was imported."""


class _Watched(io.RawIOBase):
    """A file that counts and hashes the bytes that are read of it."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self._file = file
        self._digest = hashlib.sha256()
        self.count = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = self._file.readinto(buffer)
        self._digest.update(memoryview(buffer)[:count])
        self.count += count
        return count


class ImportSource:
    """An open import file.

    Attributes:
        size: of the file in bytes; None where it does not say, as a pipe does not.
        line_number: of the line that was read last, from 1.
        line_too_long: whether it is longer than is taken, its end not counted.
    """

    def __init__(self, path: Path, watched: _Watched, size: int | None, max_line_bytes: int) -> None:
        self._path = path
        self._watched = watched
        self._most = max_line_bytes
        self._most_read = max_line_bytes + len(b"\r\n")
        self._text: io.BufferedIOBase | None = None
        self._unread_rest = False
        self.size = size
        self.line_number = 0
        self.line_too_long = False

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far, compressed where it is."""
        return self._watched.count

    @property
    def sha256(self) -> str:
        """Of the bytes read so far, compressed where the file is, in hex."""
        return self._watched.sha256

    def lines(self) -> Iterator[bytes]:
        """Each line with its end; of one that is too long, only as much as shows that it is.

        A mark of UTF-8 before the first line (RFC 3629 section 6) belongs to no line. One that stands elsewhere does.

        Raises:
            ImportFileError: the file cannot be read to its end, or its mark says that it is not UTF-8.
        """
        with self._readable():
            self._text = self._open()
        while True:
            for _ in self.rest_of_line():
                pass
            line = self._read() if self.line_number else self._first()
            if not line:
                return
            self.line_number += 1
            self._unread_rest = len(line) == self._most_read and not line.endswith(b"\n")
            content = line.removesuffix(b"\n").removesuffix(b"\r")
            self.line_too_long = self._unread_rest or len(content) > self._most
            yield line

    def rest_of_line(self) -> Iterator[bytes]:
        """What :meth:`lines` has left of the last line, in pieces; nothing unless it was too long."""
        while self._unread_rest:
            piece = self._read()
            self._unread_rest = bool(piece) and not piece.endswith(b"\n")
            if piece:
                yield piece

    def _open(self) -> io.BufferedIOBase:
        plain = io.BufferedReader(self._watched, _BUFFER_BYTES)
        if plain.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC):
            return io.BufferedReader(gzip.GzipFile(fileobj=plain), _BUFFER_BYTES)
        return plain

    def _first(self) -> bytes:
        """The first line, without the mark that may stand before it."""
        line = self._read()
        for mark, encoding in _OTHER_ENCODINGS:
            if line.startswith(mark):
                raise ImportFileError(f"{self._path} is {encoding}: write it as UTF-8; nothing was imported")
        if not line.startswith(codecs.BOM_UTF8):
            return line
        line = line.removeprefix(codecs.BOM_UTF8)
        return line if line.endswith(b"\n") else line + self._read(self._most_read - len(line))

    def _read(self, most: int | None = None) -> bytes:
        if self._text is None:
            return b""
        with self._readable():
            return self._text.readline(self._most_read if most is None else most)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        where = f"{self._path} cannot be read beyond line {self.line_number}"
        try:
            yield
        except EOFError:
            raise ImportFileError(f"{where}: the gzip file ends too early; nothing was imported") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ImportFileError(f"{where}: it is no sound gzip file: {error}; nothing was imported") from None
        except OSError as error:
            raise ImportFileError(f"{where}: {error.strerror or error}; nothing was imported") from error


@contextmanager
def open_source(path: Path, *, max_line_bytes: int) -> Iterator[ImportSource]:
    """Open a file of lines, gzip or not; its first bytes decide, not its name.

    Args:
        path: the file, which may be a pipe.
        max_line_bytes: how long a line may be, its end not counted.

    Raises:
        ImportFileError: it cannot be opened.
    """
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise ImportFileError(f"{path} cannot be opened: {error.strerror}; nothing was imported") from error
    with file:
        status = os.fstat(file.fileno())
        yield ImportSource(
            path, _Watched(file), status.st_size if stat.S_ISREG(status.st_mode) else None, max_line_bytes
        )
