"""The checksums that the local store records beside its objects.

Here: one small file per object, in the store's reserved directory. Not here: computing checksums.

Files, because they survive a plain recursive copy, which extended attributes do not. Each is one line as `sha256sum`
writes it, with the key as the file's name, so that anybody checks a copy without this code:

    cat .object-store/checksums/*/* | sha256sum --check --quiet

The file's own name is the SHA-256 of the key: whatever its length and its segments, it is a valid name that cannot get
in the way of another. A record that is missing or unreadable is no record (None): the copy may be partial, and what
matters is verified against manifests, never against these.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_RECORD: Final = re.compile(r"([0-9a-f]{64})  (.+)\n", re.DOTALL)
_LONGEST_RECORD_BYTES: Final = 4096


class ChecksumRecords:
    """The records of one store.

    Args:
        directory: the store's reserved directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory / "checksums"

    def path(self, key: str) -> Path:
        """Where the key's record is."""
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._directory / name[:2] / name

    def read(self, key: str) -> str | None:
        """The recorded hex digest, or None when there is no record of this key that makes sense."""
        try:
            with self.path(key).open("rb") as file:
                text = file.read(_LONGEST_RECORD_BYTES).decode()
        except (OSError, UnicodeDecodeError):
            return None
        match = _RECORD.fullmatch(text)
        return match[1] if match is not None and match[2] == key else None


def record(key: str, sha256: str) -> bytes:
    """The content of a key's record."""
    return f"{sha256}  {key}\n".encode()
