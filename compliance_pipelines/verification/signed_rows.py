"""The signatures of very many checkpoints, by as many processes as there are processors.

Here: whether the note of a row is signed by the key in charge and by nobody else, which nearly all are; and what runs
in the processes (`python -m`). Not here: what is wrong with a note that is not (checkpoints.py), and whether what it
says follows from the records (database_ledger.py).

An Ed25519 signature takes a tenth of a millisecond, and Python lets one thread at a time check one. So each process
gets notes and keys and answers with a byte for each note. Nothing is taken to be wrong because of an answer: whatever
is not said to be plainly signed, be it that a process died, is opened once more by whoever asked.
"""

from __future__ import annotations

import base64
import os
import struct
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import islice
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Final, NamedTuple, cast

from compliance_pipelines.ledger.checkpoint import VerifierKey

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.store import StoredCheckpoint

_MODULE: Final = "compliance_pipelines.verification.signed_rows"
# Starting the processes takes as long as checking so many.
_FEW: Final = 5_000
_AT_ONCE: Final = 1_000
# So many keep whoever compares the rows busy.
_MOST_PROCESSES: Final = 8
_WAITING: Final = 2
_COUNT: Final = struct.Struct(">I")
_HASH_BYTES: Final = 4
_SIGNATURE_BYTES: Final = _HASH_BYTES + 64


def text_of(note: str) -> str:
    """The text of a note, unchecked: what stands before its last empty line."""
    return note.rpartition("\n\n")[0] + "\n"


def plainly_signed(note: str, key: VerifierKey) -> bool:
    """Whether a note has exactly one signature line, and that is this key's of its :func:`text_of`."""
    line = note.rpartition("\n\n")[2]
    start = f"\u2014 {key.name} "
    if not line.startswith(start) or not line.endswith("\n"):
        return False
    encoded = line[len(start) : -1]
    try:
        signature = base64.b64decode(encoded, validate=True)
        return (
            len(signature) == _SIGNATURE_BYTES
            and signature[:_HASH_BYTES] == key.key_hash
            and base64.b64encode(signature).decode() == encoded
            and key.verify(text_of(note), signature[_HASH_BYTES:])
        )
    except ValueError:
        return False


def signed_rows(rows: Iterable[StoredCheckpoint], keys: KeyChain) -> Generator[tuple[StoredCheckpoint, bool]]:
    """Each row in order, and whether it is known to be plainly signed by the key in charge at its size.

    To be closed, which ends the processes.

    Args:
        rows: of the database.
        keys: of the ledger.
    """
    rows = iter(rows)
    beginning = list(islice(rows, _FEW))
    yield from ((row, plainly_signed(row.note, keys.in_charge(row.size))) for row in beginning)
    if len(beginning) < _FEW:
        return
    with ExitStack() as stack:
        workers = _Workers(keys, stack)
        waiting: deque[tuple[list[StoredCheckpoint], Future[bytes]]] = deque()
        while chunk := list(islice(rows, _AT_ONCE)):
            waiting.append((chunk, workers.submit(chunk)))
            if len(waiting) > _WAITING * workers.count:
                yield from _answered(*waiting.popleft())
        while waiting:
            yield from _answered(*waiting.popleft())


def _answered(chunk: list[StoredCheckpoint], answer: Future[bytes]) -> Iterator[tuple[StoredCheckpoint, bool]]:
    said = answer.result()
    if len(said) != len(chunk):
        said = bytes(len(chunk))
    return zip(chunk, map(bool, said), strict=True)


class _Workers:
    """The processes, with a thread each that waits for its answers; both end with the stack."""

    def __init__(self, keys: KeyChain, stack: ExitStack) -> None:
        self._keys = keys
        self._places = {key: place for place, key in enumerate(keys.keys)}
        self.count = min(_processors(), _MOST_PROCESSES)
        self._idle: SimpleQueue[_Process | None] = SimpleQueue()
        started = [_started(keys.keys) for _ in range(self.count)]
        for process in started:
            self._idle.put(process)
            if process is not None:
                stack.callback(process.close)
        self._threads = stack.enter_context(ThreadPoolExecutor(self.count, "signatures"))
        for process in started:
            if process is not None:
                # Before the threads are waited for, so that none waits for an answer.
                stack.callback(process.end)

    def submit(self, chunk: Sequence[StoredCheckpoint]) -> Future[bytes]:
        """A byte for each row; fewer where there is no answer."""
        places = [self._places[self._keys.in_charge(row.size)] for row in chunk]
        notes = [row.note.encode("utf-8", "surrogateescape") for row in chunk]
        numbers = struct.pack(f">{2 * len(chunk)}I", *places, *map(len, notes))
        return self._threads.submit(self._ask, len(chunk), b"".join((_COUNT.pack(len(chunk)), numbers, *notes)))

    def _ask(self, count: int, request: bytes) -> bytes:
        process = self._idle.get()
        try:
            if process is None:
                return b""
            process.notes.write(request)
            process.notes.flush()
            return process.answers.read(count)
        except OSError:
            return b""
        finally:
            self._idle.put(process)


class _Process(NamedTuple):
    process: subprocess.Popen[bytes]
    notes: IO[bytes]
    answers: IO[bytes]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        for pipe in (self.notes, self.answers):
            with suppress(OSError):
                pipe.close()


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _started(keys: Sequence[VerifierKey]) -> _Process | None:
    """A process that knows the keys; None where none can be started, so that there is no answer."""
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            [sys.executable, "-P", "-m", _MODULE, *(key.to_note_string() for key in keys)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd="/",
        )
    except OSError:
        return None
    return _Process(process, cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout))


def main() -> None:
    """What runs in a process: keys as arguments, notes on stdin, a byte for each on stdout."""
    keys = [VerifierKey.from_note_string(text) for text in sys.argv[1:]]
    notes, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := notes.read(_COUNT.size):
        (count,) = _COUNT.unpack(header)
        numbers = struct.unpack(f">{2 * count}I", notes.read(2 * count * _COUNT.size))
        said = (
            plainly_signed(notes.read(length).decode("utf-8", "surrogateescape"), keys[place])
            for place, length in zip(numbers[:count], numbers[count:], strict=True)
        )
        answers.write(bytes(said))
        answers.flush()


if __name__ == "__main__":
    main()
