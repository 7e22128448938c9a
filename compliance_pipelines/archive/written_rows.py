"""Whether an object of the store is the file that this process wrote, and decodes to the rows that went into it.

Here: comparing bytes with hashes, and what row groups decode to with what was written. Not here: that these rows are
those that were sealed, which is known of them before.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive.fingerprints import fingerprint
from compliance_pipelines.archive.parquet import open_part
from compliance_pipelines.base.streaming import run_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from compliance_pipelines.archive.parquet import PartReader, WrittenFile, WrittenGroup
    from compliance_pipelines.encryption.data_key import DataKey
    from compliance_pipelines.ledger.segments import Segment

_DECODERS: Final = 2
_CHUNK_BYTES: Final = 4 * 2**20


@dataclass(frozen=True)
class WrittenRows:
    """What one run of this process wrote.

    Attributes:
        file: the Parquet file.
        segments: whose rows they are, compared row by row with the ledger while they were written.
        canonical_bytes: length of the rows' canonical encodings.
        key: what the file is encrypted with; None where it is not.
    """

    file: WrittenFile
    segments: tuple[Segment, ...]
    canonical_bytes: int
    key: DataKey | None = None


class OtherBytesError(Exception):
    """An object's bytes are not those that were written."""


class ByteSource(Protocol):
    """What is needed of an object that is read once, from its beginning."""

    def read(self, size: int, /) -> bytes:
        """At most that many bytes; none at the end."""
        ...


class Passing(Protocol):
    """Lets the rows of a row group pass."""

    def __call__(self, row_group: int, batches: Iterable[pa.RecordBatch], /) -> Iterator[pa.RecordBatch]:
        """The same batches."""


def _passing(row_group: int, batches: Iterable[pa.RecordBatch], /) -> Iterator[pa.RecordBatch]:
    """Let them pass, and look at none."""
    del row_group
    return iter(batches)


def decodes_to_what_was_written(  # noqa: PLR0913 - what one reading is asked
    source: ByteSource,
    written: WrittenRows,
    *,
    name: str,
    fits: Callable[[PartReader], bool],
    progress: Callable[[int], None],
    passing: Passing = _passing,
) -> bool:
    """Read an object once, hash it, and decode its row groups in two threads.

    Nothing of it is decoded before the SHA-256 of all bytes up to there was the one that was written.

    Args:
        source: the object.
        written: what was written.
        name: how messages call the object.
        fits: whether the footer is what it should be.
        progress: told how many rows were compared so far.
        passing: gets the rows of each row group as they are decoded, in the thread that does, before anything is known
            of them.

    Returns:
        False also where nobody knows what was written.

    Raises:
        OtherBytesError: its bytes are not those that were written.
        UnreadableParquetError: it cannot be decoded.
        OSError: it cannot be read.
    """
    file = written.file
    with ExitStack() as stack:
        decoders = [stack.enter_context(_decoder(written, name, passing)) for _ in range(_DECODERS)]
        if not all(fits(decoder.part) for decoder in decoders):
            return False
        pool = stack.enter_context(ThreadPoolExecutor(_DECODERS, "read-back"))
        read = stack.enter_context(run_ahead(_as_written(source, file), depth=1, name="read-back-reader"))
        rows = 0
        for group, found in _decoded(read, decoders, pool):
            if found != group.fingerprint:
                return False
            rows += group.rows
            progress(rows)
    return rows == file.rows


def _decoded(
    read: Iterator[_GroupBytes], decoders: Sequence[_Decoder], pool: ThreadPoolExecutor
) -> Iterator[tuple[WrittenGroup, bytes]]:
    """Each group with the fingerprint of what it decodes to."""
    waiting: deque[tuple[WrittenGroup, Future[bytes]]] = deque()

    def first() -> tuple[WrittenGroup, bytes]:
        group, decoded = waiting.popleft()
        return group, decoded.result()

    for each in read:
        # A decoder has one group at a time.
        if len(waiting) == len(decoders):
            yield first()
        decoder = decoders[each.number % len(decoders)]
        waiting.append((each.group, pool.submit(decoder.fingerprint, each)))
    while waiting:
        yield first()


@dataclass(frozen=True)
class _GroupBytes:
    """A row group as it was read."""

    number: int
    group: WrittenGroup
    start: int
    data: bytes


def _as_written(source: ByteSource, file: WrittenFile) -> Iterator[_GroupBytes]:
    """The row groups of an object, as far as its bytes are those that were written.

    Raises:
        OtherBytesError: the next ones are not.
    """
    digest = hashlib.sha256()
    position = 0
    for number, group in enumerate(file.groups):
        data = _read(source, group.end - position)
        digest.update(data)
        if digest.copy().digest() != group.sha256:
            raise OtherBytesError
        yield _GroupBytes(number, group, position, data)
        position = group.end
    while position <= file.size and (data := source.read(_CHUNK_BYTES)):
        digest.update(data)
        position += len(data)
    if position != file.size or digest.hexdigest() != file.sha256:
        raise OtherBytesError


def _read(source: ByteSource, size: int) -> bytes:
    """That many bytes; fewer at the end."""
    pieces = []
    while size > 0 and (piece := source.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Window(io.RawIOBase):
    """A file of which one row group and the end are there."""

    def __init__(self, file: WrittenFile) -> None:
        self._size = file.size
        self._end = file.size - len(file.end), memoryview(file.end)
        self._pieces = [self._end]
        self._position = 0

    def show(self, start: int, data: bytes) -> None:
        """Show a row group in place of the one before."""
        self._pieces = [(start, memoryview(data)), self._end]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        for start, data in self._pieces:
            if start <= self._position < start + len(data):
                piece = data[self._position - start :][: len(buffer)]
                buffer[: len(piece)] = piece
                self._position += len(piece)
                return len(piece)
        if self._position >= self._size:
            return 0
        raise OSError(f"byte {self._position} of {self._size} is in no row group that is decoded now")


class _Decoder:
    """Decodes one row group after the other."""

    def __init__(self, window: _Window, part: PartReader, passing: Passing) -> None:
        self._window = window
        self._passing = passing
        self.part = part

    def fingerprint(self, read: _GroupBytes) -> bytes:
        """The fingerprint of a row group's rows."""
        self._window.show(read.start, read.data)
        return fingerprint(self._passing(read.number, self.part.batches(row_groups=[read.number])))


@contextmanager
def _decoder(written: WrittenRows, name: str, passing: Passing) -> Iterator[_Decoder]:
    window = _Window(written.file)
    with open_part(window, name=name, key=written.key) as part:
        yield _Decoder(window, part, passing)
