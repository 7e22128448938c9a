"""What the local store needs of a file system and the standard library does not offer in one call.

Here: directories that outlast a power failure, copying with a hash, replacing a file at once. Not here: keys, objects.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

_CHUNK_BYTES: Final = 1 << 20


def sync_directory(directory: Path) -> None:
    """Force a directory's entries to disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_path(directory: Path, top: Path) -> None:
    """Force the entries of a directory and of its parents up to `top` to disk.

    All of them, not only those that this process made: another may have made one and died before it was on disk.
    A directory without changes costs next to nothing.
    """
    sync_directory(directory)
    for parent in directory.parents:
        if not parent.is_relative_to(top):
            break
        sync_directory(parent)


def make_directories(directory: Path) -> None:
    """Make a directory and the missing ones above it, durably."""
    if directory.is_dir():
        return
    make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def remove_empty_directories(directory: Path, top: Path) -> None:
    """Remove a directory and those above it, below `top`, as far as they are empty."""
    while directory != top:
        try:
            directory.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        directory = directory.parent


def chunks(source: io.BufferedReader | io.FileIO) -> Iterator[memoryview]:
    """What is left of a file, piece by piece; a piece is valid until the next one is asked for."""
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    while count := source.readinto(buffer):
        yield buffer[:count]


def hashed(pieces: Iterator[memoryview]) -> str:
    """The hex digest of the SHA-256 of pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def write_hashed(target: BinaryIO, pieces: Iterator[memoryview]) -> tuple[int, str]:
    """Write pieces and force them to disk; their number of bytes and the hex digest of their SHA-256."""
    digest = hashlib.sha256()
    size = 0
    for piece in pieces:
        digest.update(piece)
        target.write(piece)
        size += len(piece)
    target.flush()
    os.fsync(target.fileno())
    return size, digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends well, and is removed otherwise."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
