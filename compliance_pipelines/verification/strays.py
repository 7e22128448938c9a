"""What lies among the objects of the cold store and is none: strange names, links, pipes, empty directories.

Here: noting it. Not here: objects under odd keys among checkpoints and parts, which their readers note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from compliance_pipelines.archive.layout import PREFIX as ARCHIVES
from compliance_pipelines.ledger.publication import PREFIX as CHECKPOINTS
from compliance_pipelines.verification.bucket_ledger import note_unknown
from compliance_pipelines.verification.findings import Note, NoteKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.findings import Journal

_LEDGER: Final = CHECKPOINTS[: CHECKPOINTS.index("/") + 1]
# The first text that is after every key of a checkpoint: '0' comes after '/'.
_AFTER_CHECKPOINTS: Final = CHECKPOINTS.removesuffix("/") + "0"


@runtime_checkable
class _Tree(Protocol):
    """A store that is a directory, in which there can be what is no object."""

    def strangers(self, directory: str) -> Iterator[tuple[str, str]]:
        """Name and nature of everything below a directory that is neither an object nor leads to one."""


def note_strays(store: ObjectStore, journal: Journal) -> None:
    """Note what is no object below the project's prefixes, and objects of the ledger that are no checkpoints.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    for info in store.list(_LEDGER):
        if info.key >= CHECKPOINTS:
            break
        note_unknown(journal, info.key)
    for info in store.list(_LEDGER, start_after=_AFTER_CHECKPOINTS):
        note_unknown(journal, info.key)
    if isinstance(store, _Tree):
        for directory in (ARCHIVES, _LEDGER):
            for name, nature in store.strangers(directory.removesuffix("/")):
                message = f"{name!r} is {nature}, which is nothing that belongs there; it was not opened"
                journal.note(Note(kind=NoteKind.OBJECT_UNKNOWN, key=name, message=message))
