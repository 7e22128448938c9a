"""The keys of a directory tree in the order of their bytes, found as they are asked for.

Here: the ordered walk. Not here: what is known about an object besides its size.

A walk that sorts the names in each directory does not give the keys in order: the directory `a` comes before the file
`a.b` by name, but its keys, which begin with `a/`, come after it, because '.' is less than '/'. So a directory takes
part in the sorting with the '/' that its keys have.

Only directories and regular files are looked at. A copy that an auditor is handed may have links that lead out of it or
in circles, pipes that never answer, and names that are no keys; none of them is an object. The store's own directory
has such a name.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from compliance_pipelines.object_store.keys import key_problem

if TYPE_CHECKING:
    from collections.abc import Iterator


def objects_in_order(top: bytes, prefix: bytes, start_after: bytes) -> Iterator[tuple[str, int]]:
    """Key and size in bytes of every regular file below a directory, in key order.

    Memory holds the names of one directory for each level on the way to the current key, not the tree.

    Args:
        top: the directory.
        prefix: the beginning of the keys that are wanted; its complete segments are valid.
        start_after: only keys after this one; empty for all.

    Raises:
        OSError: a directory cannot be read.
    """
    start = prefix[: prefix.rfind(b"/") + 1]
    if not _is_real_directory(top, start):
        return
    levels = [_children(top, start, prefix, start_after)]
    while levels:
        if not levels[-1]:
            levels.pop()
            continue
        path = levels[-1].pop()
        if not _is_key(path.removesuffix(b"/")):
            continue
        if path.endswith(b"/"):
            levels.append(_children(top, path, prefix, start_after))
            continue
        try:
            status = os.lstat(os.path.join(top, path))  # noqa: PTH118  # pathlib has no paths of bytes
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(status.st_mode):
            yield path.decode(), status.st_size


def strangers_below(top: bytes, directory: bytes) -> Iterator[tuple[bytes, str]]:
    """Path and nature of everything below a directory that is neither an object nor leads to one.

    Nothing is opened and no link is followed. What a name that is no key hides is not looked at.

    Args:
        top: the directory of the store.
        directory: below it, without a slash at the end; it may be missing, or be something else itself.

    Raises:
        OSError: a directory cannot be read.
    """
    try:
        status = os.lstat(os.path.join(top, directory))  # noqa: PTH118  # as above
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(status.st_mode):
        yield directory, _nature(status.st_mode)
        return
    waiting = [directory]
    while waiting:
        path = waiting.pop()
        empty = True
        try:
            entries = os.scandir(os.path.join(top, path))  # noqa: PTH118  # as above
        except (FileNotFoundError, NotADirectoryError):
            continue
        with entries:
            for entry in entries:
                empty = False
                name = path + b"/" + entry.name
                if entry.is_dir(follow_symlinks=False) and _is_key(name):
                    waiting.append(name)
                elif not _is_key(name):
                    yield name, "a name that no object can have"
                elif not entry.is_file(follow_symlinks=False):
                    yield name, _nature(entry.stat(follow_symlinks=False).st_mode)
        if empty:
            yield path, "an empty directory"


def _nature(mode: int) -> str:
    natures = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
        stat.S_IFREG: "a file in the place of a directory",
    }
    return natures.get(stat.S_IFMT(mode), "something unknown")


def _is_real_directory(top: bytes, directory: bytes) -> bool:
    path = top
    for segment in directory.split(b"/")[:-1]:
        path = os.path.join(path, segment)  # noqa: PTH118  # as above
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return False
        except FileNotFoundError:
            return False
    return True


def _children(top: bytes, directory: bytes, prefix: bytes, start_after: bytes) -> list[bytes]:
    """Paths in a directory that are, or may lead to, wanted keys: last one first, directories with a '/' at the end."""
    found = []
    try:
        entries = os.scandir(os.path.join(top, directory))  # noqa: PTH118  # as above
    except (FileNotFoundError, NotADirectoryError):
        return []
    with entries:
        for entry in entries:
            path = directory + entry.name
            if entry.is_dir(follow_symlinks=False):
                keys_begin_with = path + b"/"
                if _may_lead_to_keys(keys_begin_with, prefix, start_after):
                    found.append(keys_begin_with)
            elif path.startswith(prefix) and path > start_after:
                found.append(path)
    found.sort(reverse=True)
    return found


def _may_lead_to_keys(directory: bytes, prefix: bytes, start_after: bytes) -> bool:
    if not (directory.startswith(prefix) or prefix.startswith(directory)):
        return False
    return directory > start_after or start_after.startswith(directory)


def _is_key(path: bytes) -> bool:
    try:
        return key_problem(path.decode()) is None
    except UnicodeDecodeError:
        return False
