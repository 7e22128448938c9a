"""Where the files of a run are: in memory where there is enough.

A cold store makes each object durable and a test's database is a few hundred new files: some file systems take ten
times as long for either.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108  only for directories with random names, and pytest's own
_LEAST_BYTES: Final = 4 * 2**30  # containers often have 64 MB there


def memory_directory() -> Path | None:
    """A directory for files in memory, if this machine has one that holds the data of a test run and may run it."""
    if not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK):
        return None
    there = os.statvfs(_MEMORY)
    if there.f_flag & os.ST_NOEXEC or there.f_frsize * there.f_blocks < _LEAST_BYTES:
        return None
    return _MEMORY


def pytest_configure() -> None:
    """Let pytest make the directories of tests there, unless it was told where."""
    in_memory = memory_directory()
    if in_memory is not None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(in_memory))
