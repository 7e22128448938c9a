"""A process of its own that writes to a local store, for the tests that kill it, limit it or race it.

`python -m tests.unit.object_store.writer_process COMMAND ROOT ...`
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectExistsError, ObjectStoreError

if TYPE_CHECKING:
    from collections.abc import Callable

_OPERATIONS = {
    "fcntl.flock",
    "open",
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.scandir",
}


def _kill_before_operation(number: int) -> None:
    """SIGKILL this process before its n-th operation on the file system, counted from now and from 1."""
    seen = 0

    def count(event: str, _arguments: object) -> None:
        nonlocal seen
        if event in _OPERATIONS:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def put_killed_everywhere(roots: str, key: str, source: str) -> None:
    """Put a file into ROOTS/1, ROOTS/2, ... and die before the first, second, ... operation, until there is none.

    Prints the number of processes that were killed; the next root has the finished put.
    """
    for number in itertools.count(1):
        store = LocalObjectStore(Path(roots) / str(number))
        store.create()
        if not _killed(number, partial(store.put_file, key, Path(source))):
            print(number - 1)  # noqa: T201  # the answer to the test
            return


def delete_killed_everywhere(roots: str, key: str, content: str) -> None:
    """Delete an object from ROOTS/1, ROOTS/2, ..., each of which gets it first, and die as above."""
    for number in itertools.count(1):
        store = LocalObjectStore(Path(roots) / str(number))
        store.create()
        store.put_bytes(key, content.encode())
        if not _killed(number, partial(store.delete, key)):
            print(number - 1)  # noqa: T201  # the answer to the test
            return


def replace_killed_everywhere(roots: str, key: str, content: str, other: str) -> None:
    """Replace an object in ROOTS/1, ROOTS/2, ..., each of which gets it first, and die as above."""
    for number in itertools.count(1):
        store = LocalObjectStore(Path(roots) / str(number))
        store.create()
        store.put_bytes(key, content.encode())
        version = store.read_versioned(key, len(content)).version
        if not _killed(number, partial(store.replace, key, other.encode(), version)):
            print(number - 1)  # noqa: T201  # the answer to the test
            return


def _killed(operation: int, do: Callable[[], object]) -> bool:
    """Whether a child that does something was killed before its n-th operation; False when it has fewer."""
    child = os.fork()
    if child == 0:
        try:
            _kill_before_operation(operation)
            do()
        except BaseException:  # noqa: BLE001  # the child must not go on as if it were the parent
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in {0, -signal.SIGKILL}:
        sys.exit(f"the process that was to be killed before operation {operation} ended with {code}")
    return code != 0


def put_until_the_limit_kills(root: str, key: str, source: str, limit: str) -> None:
    """Put a file, and be killed by the kernel in the middle of writing, at `limit` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    LocalObjectStore(Path(root)).put_file(key, Path(source))


def put_with_limit(root: str, key: str, source: str, limit: str) -> None:
    """Put a file of which no more than `limit` bytes can be written, and print the error."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        LocalObjectStore(Path(root)).put_file(key, Path(source))
    except ObjectStoreError as error:
        print(error)  # noqa: T201  # the answer to the test


def fill_small_disk(root: str, key: str, source: str) -> None:
    """In a namespace whose `root` is a disk of 1 MB: put a file that is too large, then one that is not.

    Prints the error, then what the store and its staging area hold.
    """
    store = LocalObjectStore(Path(root))
    try:
        store.put_file(key, Path(source))
    except ObjectStoreError as error:
        print(error)  # noqa: T201  # the answer to the test
    print([info.key for info in store.list("")], os.listdir(Path(root) / ".object-store" / "staging"))  # noqa: T201, PTH208
    store.put_bytes("small", b"data")
    print([info.key for info in store.list("")])  # noqa: T201


def put_escaped_key(root: str, escaped_key: str) -> None:
    """Put under a key that is given in Python's escapes, because the locale cannot have it, and list the store."""
    store = LocalObjectStore(Path(root))
    store.put_bytes(escaped_key.encode().decode("unicode_escape"), b"data")
    print(sys.getfilesystemencoding(), ascii([info.key for info in store.list("")]))  # noqa: T201


def fork_while_putting(root: str, key: str) -> None:
    """Put, and let a child that outlives the put be forked under the store's lock; then put again."""
    reading, writing = os.pipe()
    children: list[int] = []

    def fork_at_the_link(event: str, _arguments: object) -> None:
        if event == "os.link" and not children:
            children.append(os.fork())
            if children == [0]:
                os.close(writing)
                os.read(reading, 1)
                os._exit(0)

    sys.addaudithook(fork_at_the_link)
    store = LocalObjectStore(Path(root))
    store.put_bytes(key, b"data")
    signal.alarm(900)  # a lock that the child still has would be waited for without end
    store.put_bytes(f"{key}.2", b"data")
    os.close(writing)
    os.waitpid(children[0], 0)


def race(root: str, content: str, *keys: str) -> None:
    """After a line on standard input, put the content under every key; print the keys that were won."""
    store = LocalObjectStore(Path(root))
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    for key in keys:
        try:
            store.put_bytes(key, content.encode())
        except ObjectExistsError:
            continue
        print(key)  # noqa: T201


if __name__ == "__main__":
    {
        command.__name__: command
        for command in (
            put_killed_everywhere,
            delete_killed_everywhere,
            replace_killed_everywhere,
            put_until_the_limit_kills,
            put_with_limit,
            fill_small_disk,
            put_escaped_key,
            fork_while_putting,
            race,
        )
    }[sys.argv[1]](*sys.argv[2:])
