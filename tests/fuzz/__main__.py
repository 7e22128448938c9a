"""`python -m tests.fuzz [--count N] [--first N] [KIND ...]`: what is read of N mutated files of each kind.

Each kind in a process of its own with bounded memory. Prints a line each; a failure with the number that repeats it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Final

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import Target, targets

_KINDS: Final = (
    *("footer", "part", "manifest", "bundle", "note", "cosigned", "policy", "stamp"),
    *("proof", "record", "certificate", "import"),
)
_MEMORY: Final = 3 * 2**30
_PROCESS: Final = "--in-this-process"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def resident_kib() -> int:
    """Memory that this process holds now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])


def read_mutated(target: Target, number: int, directory: Path) -> bool:
    """Read the file of this number; whether it was refused.

    Raises:
        Exception: anything but what the reader may raise: a fault.
    """
    seed = target.seeds[number % len(target.seeds)]
    data = mutated(seed, number, start=target.start(seed))
    try:
        target.read(data, directory)
    except target.refusals as error:
        if not str(error).isprintable() or len(str(error)) > 2_000:
            raise AssertionError(f"the message does something to a terminal: {error!r}") from error
        return True
    if target.says_so and data != seed:
        raise AssertionError("a changed file was taken for a whole one")
    return False


def _run(kind: str, first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        directory = Path(name)
        target = targets(directory)[kind]
        started, refused, before = monotonic(), 0, 0
        for number in range(first, first + count):
            try:
                refused += read_mutated(target, number, directory)
            except BaseException:
                _say(f"{kind}: number {number} failed")
                raise
            if number - first == min(1_000, count - 1):
                before = resident_kib()
        seconds = monotonic() - started
        _say(
            f"{kind}: {count:,} files, {refused:,} refused, {seconds:,.0f} s, RSS {before:,} KiB after 1,000 and "
            f"{resident_kib():,} at the end"
        )


def main() -> None:
    """Run each kind; exit status 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("kinds", nargs="*", metavar="KIND", choices=[[], *_KINDS], help=", ".join(_KINDS))
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument(_PROCESS, action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.in_this_process:
        _run(given.kinds[0], given.first, given.count)
        return
    failed = False
    for kind in given.kinds or _KINDS:
        command = [sys.executable, "-m", "tests.fuzz", kind, "--count", str(given.count), "--first", str(given.first)]
        ended = subprocess.run([*command, _PROCESS], check=False).returncode
        failed |= ended != 0
        if ended < 0:
            _say(f"{kind}: the process was ended by signal {-ended}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
