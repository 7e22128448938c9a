"""The private directory of one search.

Here: making it, the room in it, and removing it, also what a killed process left behind. Not here: what is put there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.errors import StagingError
from compliance_pipelines.archive.staging import staging_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX: Final = "search-"
_LOCK: Final = "lock"
_ROOM_BYTES: Final = 64 * 2**20


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of a directory; None where a living process does, or where it is gone."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove_abandoned(base: Path) -> int:
    """Remove the directories that no living process has locked; return how many there were."""
    removed = 0
    for folder in base.glob(f"{_PREFIX}*"):
        descriptor = _locked(folder)
        if descriptor is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
            removed += 1
    return removed


@contextmanager
def private_folder(configured: Path | None) -> Iterator[Path]:
    """An empty directory that its owner alone can enter, and that is gone at the end.

    Args:
        configured: the directory to make it in; None is one of the system's.

    Raises:
        StagingError: it cannot be made.
    """
    base = staging_directory(configured)
    remove_abandoned(base)
    while True:
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        except OSError as error:
            raise StagingError(
                f"{base} cannot be used for staging files: {error}; free space there, or set ARCHIVE_STAGING_PATH to "
                "another directory, and run it again"
            ) from error
        descriptor = _locked(folder)
        if descriptor is not None:
            if folder.exists():
                break
            # Another process took it for abandoned in the moment before it was locked.
            os.close(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def new_file(folder: Path, name: str) -> Path:
    """A new file that its owner alone can read."""
    path = folder / name
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    return path


def require_room(folder: Path, size: int) -> None:
    """Let a search begin that has room for its files.

    Raises:
        StagingError: it has not.
    """
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
        if free < size + _ROOM_BYTES:
            raise StagingError(
                f"{size:,} bytes are to be read, and {folder.parent} has {free:,} bytes free: search a shorter time, "
                "free space there, or set ARCHIVE_STAGING_PATH to another directory"
            )
