"""Which parts a cold store lacks that the catalogue knows, after it was lost or an older copy took its place.

Here: looking for each object, and what is to be done about those that are missing. Not here: the ledger's objects
(ledger/republishing.py), writing a part again (repair.py). Nothing is read: an object that is there may be damaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.catalogue import all_parts

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class LostParts:
    """The days of which a part, or its manifest, is not in the cold store; each in order.

    Attributes:
        hot: those whose entries are still in PostgreSQL.
        gone: those whose entries are not: nothing but a copy of the store has them.
        entries: in the parts of these last ones.
    """

    hot: tuple[date, ...]
    gone: tuple[date, ...]
    entries: int


def lost_parts(services: Services) -> LostParts:
    """Look for every part that has not expired.

    Raises:
        ObjectStoreError: the store failed; then nothing can be told.
    """
    with services.engine.connect() as connection:
        parts = [part for part in all_parts(connection) if part.expired_at is None]
    there = {info.key for info in services.store.list("audit-archives/")}
    missing = [part for part in parts if not {part.object_key, part.manifest_key} <= there]
    gone = [part for part in missing if part.purged_at is not None]
    return LostParts(
        hot=tuple(sorted({part.day for part in missing if part.purged_at is None})),
        gone=tuple(sorted({part.day for part in gone})),
        entries=sum(part.entry_count for part in gone),
    )


def forget_verifications(services: Services) -> None:
    """Have what is not purged yet read back once more before it is: it was verified when the store was another."""
    with services.engine.begin() as connection:
        connection.execute(sql.FORGET_VERIFICATIONS)
