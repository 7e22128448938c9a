"""Finding single entries in the cold store.

Here: which ids a day's parts hold, and one entry with the rows of its segment. Not here: proofs and appends, which ask
through ports of their own.

An object is copied and its hash compared before anything of it is parsed: a stranger's file finds nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from compliance_pipelines.archive.catalogue import ArchivedPart, all_parts, parts_of_day, segments_of_part
from compliance_pipelines.archive.parquet import PartReader, UnreadableParquetError, open_part
from compliance_pipelines.archive.readback import copy_hashed
from compliance_pipelines.archive.staging import staging_file
from compliance_pipelines.encryption.data_key import Encryption
from compliance_pipelines.encryption.errors import EncryptionError
from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.ledger.proofs import AmbiguousEntryError, FoundEntry
from compliance_pipelines.object_store.port import ObjectStoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.base.errors import ComplianceError
    from compliance_pipelines.services import Services

_ID: Final = "log_entry_id"
_TIME: Final = "timestamp"
_TX_ID: Final = "tx_id"


class ArchivedIds:
    """Tells which entries the purged archives of a day hold, so that a repeated append stays a repeat."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def of_day(self, connection: sqlalchemy.Connection, day: date) -> _PurgedParts:
        """The purged parts of a day that have not expired."""
        parts = [part for part in parts_of_day(connection, day) if part.purged_at and not part.expired_at]
        return _PurgedParts(self._services, parts)


class _PurgedParts:
    """The purged parts of one day."""

    def __init__(self, services: Services, parts: Sequence[ArchivedPart]) -> None:
        self._services = services
        self._parts = parts

    def present(self, log_entry_ids: Collection[str]) -> dict[str, datetime]:
        """Those of the ids that a part holds, each with its timestamp.

        Raises:
            UnreadableParquetError: an object is damaged.
            ObjectStoreError: the store failed, or an object is missing.
        """
        found: dict[str, datetime] = {}
        if not log_entry_ids:
            return found
        wanted = pa.array(sorted(set(log_entry_ids)), pa.string())
        for part in self._parts:
            with open_stored(self._services, part) as reader:
                for batch in reader.batches(row_groups=_row_groups(reader, wanted), columns=[_ID, _TIME]):
                    hits = batch.filter(pc.is_in(batch.column(_ID), value_set=wanted))
                    found.update(zip(hits.column(_ID).to_pylist(), hits.column(_TIME).to_pylist(), strict=True))
        return found


@contextmanager
def open_stored(services: Services, part: ArchivedPart) -> Iterator[PartReader]:
    """Open a copy of a part's object, to read some of it.

    Raises:
        UnreadableParquetError: it is not the object that was committed.
        EncryptionError: its key cannot be had.
        ObjectStoreError: the store failed, or the object is missing.
        TransientError: it could not be copied.
    """
    with staging_file(services.settings.archive_staging_path, ".lookup") as path:
        _, sha256 = copy_hashed(services.store.at_versions(part.versions), part.object_key, path, part.object_bytes)
        if sha256 != part.object_sha256:
            raise UnreadableParquetError(
                f"{part.object_key} is not the object that was committed, which has {part.object_bytes:,} bytes and "
                f"the SHA-256 {part.object_sha256}; nothing is read from it. Run `compliance verify {part.day}`"
            )
        encryption = Encryption.from_json(part.encryption)
        key = None if encryption is None else services.data_keys.of_object(part.object_key, encryption)
        with open_part(path, name=part.object_key, key=key) as reader:
            yield reader


def _row_groups(reader: PartReader, wanted: pa.Array) -> list[int]:
    """The row groups that may hold one of the ids."""

    def may_hold(bounds: tuple[str, str] | None) -> bool:
        if bounds is None:
            return True
        inside = pc.and_(pc.greater_equal(wanted, bounds[0]), pc.less_equal(wanted, bounds[1]))
        return bool(pc.any(inside).as_py())

    return [group for group, bounds in enumerate(reader.ranges(_ID)) if may_hold(bounds)]


class ArchiveEntryFinder:
    """Finds archived entries for proofs."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @contextmanager
    def find(self, log_entry_id: str, day: date | None) -> Iterator[FoundEntry | None]:
        """The entry with the rows of its segment; None where no part holds it.

        Without a day every part is looked into. One that cannot be read matters only if the entry is in no other.

        Raises:
            AmbiguousEntryError: parts of several days hold the id, and no day was given.
            UnreadableParquetError: the entry was not found, and an object is damaged.
            EncryptionError: the entry was not found, and the key of an object cannot be had.
            KmsError: likewise, because a service refuses, or does not answer.
            ObjectStoreError: the entry was not found, and the store failed or an object is missing.
        """
        with self._services.engine.connect() as connection:
            known = all_parts(connection) if day is None else parts_of_day(connection, day)
        found = self._search([part for part in known if not part.expired_at], log_entry_id)
        if len({part.day for part, _ in found}) > 1:
            raise AmbiguousEntryError(
                f"{log_entry_id} stands on {', '.join(str(part.day) for part, _ in found)}: give the day with --day"
            )
        if not found:
            yield None
            return
        part, tx_id = found[0]
        with open_stored(self._services, part) as reader:
            yield FoundEntry(part.day, tx_id, reader.batches(row_groups=self._groups_of_segment(reader, part, tx_id)))

    def _search(self, parts: Sequence[ArchivedPart], log_entry_id: str) -> list[tuple[ArchivedPart, int]]:
        """The parts that hold the id, each with the entry's transaction id."""
        wanted = pa.array([log_entry_id], pa.string())
        found: list[tuple[ArchivedPart, int]] = []
        failure: ComplianceError | None = None
        for part in parts:
            try:
                with open_stored(self._services, part) as reader:
                    for batch in reader.batches(row_groups=_row_groups(reader, wanted), columns=[_ID, _TX_ID]):
                        hits = batch.filter(pc.is_in(batch.column(_ID), value_set=wanted))
                        found.extend((part, tx_id) for tx_id in hits.column(_TX_ID).to_pylist())
            except (UnreadableParquetError, ObjectStoreError, EncryptionError, KmsError) as error:
                failure = failure or error
        if failure is not None and not found:
            raise failure
        return found

    def _groups_of_segment(self, reader: PartReader, part: ArchivedPart, tx_id: int) -> list[int] | None:
        """The row groups that may hold rows of the entry's segment; None for all."""
        with self._services.engine.connect() as connection:
            segment = next((each for each in segments_of_part(connection, part) if each.covers(tx_id)), None)
        if segment is None:
            return None
        ranges = reader.ranges(_TX_ID)
        return [
            group
            for group, bounds in enumerate(ranges)
            if bounds is None or (bounds[0] < segment.tx_to and bounds[1] >= segment.tx_from)
        ]
