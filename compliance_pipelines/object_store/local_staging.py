"""Where the local store writes what is not yet an object, and the lock under which it becomes one.

Here: the store's lock, staging files and the removal of abandoned ones. Not here: what is written.

A staging file belongs to the process that holds its lock. The kernel releases locks when a process dies, however it
dies, so an unlocked staging file is an abandoned one, whatever its age. Staging files are made only under the store's
lock, and locked before it is released: nobody ever sees a living one unlocked.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from compliance_pipelines.object_store.local_files import make_directories, sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_ONLY: Final = 0o444


@dataclass(frozen=True)
class StagingFile:
    """An empty file, open for writing and read-only for everybody else."""

    path: Path
    file: BinaryIO


class StagingArea:
    """The staging files and the lock of one store.

    Args:
        directory: the store's reserved directory; made at the first use, where the store is there.
    """

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory
        self._files: Final = directory / "staging"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's lock, which one thread of one process has at a time."""
        if not self._directory.is_dir():
            # Without its parents: a store whose root is gone must not come back as an empty one.
            self._directory.mkdir(exist_ok=True)
            sync_directory(self._directory.parent)
        make_directories(self._files)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            # Closing alone would not release it while a child forked meanwhile has a copy of the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    @contextmanager
    def new_file(self) -> Iterator[StagingFile]:
        """A staging file that no other process removes before the block ends. Call it without the store's lock."""
        with ExitStack() as stack:
            with self.locked():
                self._remove_abandoned()
                staging = stack.enter_context(self.new_file_under_lock())
            yield staging

    @contextmanager
    def new_file_under_lock(self) -> Iterator[StagingFile]:
        """A staging file for a moment: call it with the store's lock, and keep that until the block ends."""
        path = self._files / uuid.uuid4().hex
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _READ_ONLY), "wb") as file:
            try:
                os.fchmod(file.fileno(), _READ_ONLY)
                fcntl.flock(file, fcntl.LOCK_EX)
                yield StagingFile(path, file)
            finally:
                path.unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        with os.scandir(self._files) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and not _is_locked(entry.path):
                    Path(entry.path).unlink(missing_ok=True)


def _is_locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, because an exclusive lock may need a file open for writing, which a read-only one refuses.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
