"""Files on their way to or from the cold store.

Here: making such a file, and removing those that a killed process left behind. Not here: their content.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.errors import StagingError

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER: Final = "compliance-pipelines-staging"
_OWNER_ONLY: Final = 0o700
_OTHERS: Final = 0o077


def staging_directory(configured: Path | None) -> Path:
    """The directory for staging files, which is made where it does not exist.

    Args:
        configured: None is one below the system's directory for temporary files, where anybody may have made one first.

    Raises:
        StagingError: it cannot be made, or that one belongs to somebody else.
    """
    base = configured or Path(tempfile.gettempdir()) / f"{_FOLDER}-{os.getuid()}"
    try:
        base.mkdir(parents=True, exist_ok=True, mode=_OWNER_ONLY)
        status = base.lstat()
    except OSError as error:
        raise _unusable(base, str(error)) from error
    if configured is None and (status.st_uid != os.getuid() or status.st_mode & _OTHERS):
        raise _unusable(base, "it belongs to somebody else, or others may write there")
    return base


def _unusable(directory: Path, reason: str) -> StagingError:
    return StagingError(
        f"{directory} cannot be used for staging files: {reason}; free space there, or set ARCHIVE_STAGING_PATH to "
        f"another directory, and run it again"
    )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_abandoned(directory: Path, suffix: str) -> int:
    """Remove the staging files that no living process has locked; return how many there were."""
    removed = 0
    for path in directory.glob(f"staged-*{suffix}"):
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if _try_lock(descriptor):
                    path.unlink()
                    removed += 1
            finally:
                os.close(descriptor)
    return removed


def _new_file(directory: Path, suffix: str) -> tuple[Path, int]:
    """A new, locked file and its descriptor."""
    while True:
        try:
            descriptor, name = tempfile.mkstemp(prefix="staged-", suffix=suffix, dir=directory)
        except OSError as error:
            raise _unusable(directory, str(error)) from error
        path = Path(name)
        # Another process may have taken the file for abandoned in the moment before it was locked.
        if _try_lock(descriptor) and path.exists():
            return path, descriptor
        os.close(descriptor)


@contextmanager
def staging_file(configured: Path | None, suffix: str) -> Iterator[Path]:
    """An empty file that is removed at the end, or by the next process where this one is killed.

    A lock on the file tells the living from the abandoned: the kernel lets go of it with the process. The file must
    be written in place: one that is moved over it would not be locked.

    Args:
        configured: the directory; None is one of the system's.
        suffix: the end of its name; abandoned files with the same suffix are removed.

    Raises:
        StagingError: no file can be made.
    """
    directory = staging_directory(configured)
    remove_abandoned(directory, suffix)
    path, descriptor = _new_file(directory, suffix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
