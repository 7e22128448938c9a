"""What lies among the objects of the cold store and is none: strange names, links, pipes, empty directories.

Here: noting it, and objects under odd keys in the ledger and among the records of keys. Not here: those among parts,
which their reader notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from compliance_pipelines.archive.layout import PREFIX as ARCHIVES
from compliance_pipelines.archive.layout import parse_key
from compliance_pipelines.encryption.wrapped_key import RECORDS, object_of_record
from compliance_pipelines.ledger.key_objects import seq_of_key
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY, day_of_key
from compliance_pipelines.ledger.tiles import PREFIX, tile_of_key
from compliance_pipelines.ledger.timestamping import day_of_stamp
from compliance_pipelines.verification.bucket_ledger import note_unknown
from compliance_pipelines.verification.findings import Note, NoteKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.findings import Journal


@runtime_checkable
class _Tree(Protocol):
    """A store that is a directory, in which there can be what is no object."""

    def strangers(self, directory: str) -> Iterator[tuple[str, str]]:
        """Name and nature of everything below a directory that is neither an object nor leads to one."""


def note_strays(store: ObjectStore, journal: Journal) -> None:
    """Note what is no object below the project's prefixes, and objects that are neither the ledger's nor keys' records.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    for info in store.list(PREFIX):
        known = info.key in {CHECKPOINT_KEY, COSIGNED_KEY} or any(
            read(info.key) is not None for read in (tile_of_key, day_of_key, day_of_stamp, seq_of_key)
        )
        if not known:
            note_unknown(journal, info.key)
    for info in store.list(RECORDS):
        if parse_key(object_of_record(info.key) or "") is None:
            note_unknown(journal, info.key)
    if isinstance(store, _Tree):
        for directory in (ARCHIVES, PREFIX, RECORDS):
            for name, nature in store.strangers(directory.removesuffix("/")):
                message = f"{name!r} is {nature}, which is nothing that belongs there; it was not opened"
                journal.note(Note(kind=NoteKind.OBJECT_UNKNOWN, key=name, message=message))
