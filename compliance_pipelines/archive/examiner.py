"""Looking into a stranger's file in a process of its own, which may die: bounded memory, time and answer.

Here: starting it, its bounds, taking its answer; and what runs in it (`python -m`). Not here: what is looked at
(examination.py). The process bounds what a file can cost and contains a crash of a decoder. It is no sandbox against
code that a decoder's flaw might let run; that is why it gets none of our environment, and why its answer is checked.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from compliance_pipelines.archive.examination import Examination, MalformedExaminationError, examine
from compliance_pipelines.archive.parquet import PartLabel
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.base.strict_json import MalformedJsonError, parse_strictly
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.ledger.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Sequence

_MODULE: Final = "compliance_pipelines.archive.examiner"
# A part of any size needs less than half of this: one row group and what its libraries reserve.
_MOST_MEMORY: Final = 3 * 2**29
_LEAST_SECONDS: Final = 60
_MOST_SECONDS_TOGETHER: Final = 3_600.0
_BYTES_PER_SECOND: Final = 2**20
_MOST_ANSWER_BYTES: Final = 2**20
_MOST_ANSWER_VALUES: Final = 100_000
# Allocators that reserve little ahead, so that the bound on memory is one on what is used.
_ENVIRONMENT: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MIMALLOC_ARENA_RESERVE": "65536",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class ExaminationsExceededError(TransientError):
    """The files before took all the time that is for looking into files that nobody vouches for."""


class Examiner:
    """Looks into files one after another, for so much time together.

    Whoever fills a bucket with files that take their time holds up a verification so long and no longer.

    Args:
        most_seconds: wall time for all of them together.
    """

    def __init__(self, most_seconds: float = _MOST_SECONDS_TOGETHER) -> None:
        self._most_seconds = most_seconds
        self._spent = 0.0

    def examine(
        self, path: Path, *, label: PartLabel, day: date, segments: Sequence[Segment], key: DataKey | None = None
    ) -> Examination:
        """As :func:`examine`, in a process that is stopped where it takes more than any part of this size can need.

        Raises:
            ExaminationsExceededError: there is no time left for it.
            TransientError: the process cannot be started, which says nothing about the file.
        """
        if self._spent >= self._most_seconds:
            raise ExaminationsExceededError(
                f"{self._spent:,.0f} s went by with looking into files that nobody vouches for, and no more is spent "
                "on them: bring back what was found to be damaged, then verify again"
            )
        started = monotonic()
        try:
            return _examine_apart(path, label=label, day=day, segments=segments, key=key)
        finally:
            self._spent += monotonic() - started


def _examine_apart(
    path: Path, *, label: PartLabel, day: date, segments: Sequence[Segment], key: DataKey | None
) -> Examination:
    seconds = _LEAST_SECONDS + path.stat().st_size // _BYTES_PER_SECOND
    request = {
        "path": str(path),
        "day": day.isoformat(),
        "label": [label.day, label.part, label.root],
        "segments": [segment.to_json() for segment in segments],
        "key": None if key is None else key.secret.hex(),
        "seconds": seconds,
        "memory": _MOST_MEMORY,
    }
    ended, answer = _run(json.dumps(request).encode("ascii"), wall_seconds=2 * seconds)
    if ended != 0:
        return Examination(
            unreadable=f"looking into it takes more than {_MOST_MEMORY // 2**20:,} MiB of memory or {seconds:,} s, or "
            "crashes the decoder"
        )
    try:
        values = parse_strictly(answer, most_bytes=_MOST_ANSWER_BYTES, most_values=_MOST_ANSWER_VALUES)
        return Examination.from_json(values)
    except (MalformedJsonError, MalformedExaminationError) as error:
        return Examination(unreadable=f"looking into it gave no answer: {error}")


def _run(request: bytes, wall_seconds: int) -> tuple[int | None, bytes]:
    """How the process ended (None: it was stopped), and what it answered, in bounded memory and time."""
    environment = {**_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        with _in_memory() as asked, tempfile.TemporaryFile() as answered:
            asked.write(request)
            asked.seek(0)
            process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
                [sys.executable, "-P", "-m", _MODULE],
                stdin=asked,
                stdout=answered,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
            try:
                ended: int | None = process.wait(wall_seconds)
            except subprocess.TimeoutExpired:
                ended = None
            finally:
                process.kill()
                process.wait()
            answered.seek(0)
            return ended, answered.read(_MOST_ANSWER_BYTES + 1)
    except OSError as error:
        raise TransientError(
            f"no process could be started to look into a file that nobody vouches for: {error}; run it again"
        ) from error


def _in_memory() -> BinaryIO:
    """A file that no disk has where the system can make one: the key of an encrypted object is in it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("examination"), "w+b")
    return tempfile.TemporaryFile()


def _limit(memory: int, seconds: int) -> None:
    """What this process may use: no more than it was given already."""
    for kind, wanted in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, _MOST_ANSWER_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (bound, bound))


def main() -> None:
    """What runs in the process: the request on stdin, the answer on stdout."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    segments = [Segment.from_json(record) for record in request["segments"]]
    _limit(request["memory"], request["seconds"])
    found = examine(
        Path(request["path"]),
        label=PartLabel(*request["label"]),
        day=date.fromisoformat(request["day"]),
        segments=segments,
        key=None if request["key"] is None else DataKey(bytes.fromhex(request["key"])),
    )
    sys.stdout.write(json.dumps(found.to_json()))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
