"""Deletion records in the audit log and its archives.

Here: finding the entries of action `account_deletion`, wherever they are, and those that say which of them stand for no
erasure any more. Not here: what they are needed for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from compliance_pipelines.archive.catalogue import all_parts
from compliance_pipelines.archive.layout import PREFIX, PartKey, parse_key
from compliance_pipelines.archive.lookup import open_stored
from compliance_pipelines.archive.readback import (
    ColdArchive,
    ExpectedObject,
    PartDamagedError,
    check_object,
    read_manifest,
)
from compliance_pipelines.audit_log.deletion import ACTION
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.erasure import sql
from compliance_pipelines.erasure.decisions import CORRECT, DELETION_RECORDS, REFUSE, WITHDRAW
from compliance_pipelines.ledger.store_identity import check_identity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import date, datetime

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.services import Services

_REVOKING: Final = (CORRECT, WITHDRAW, REFUSE)
_COLUMNS: Final = ["log_entry_id", "timestamp", "user_id", "action", "result", "metadata"]


@dataclass(frozen=True)
class DeletionRecord:
    """An entry that says that a person's data was deleted.

    Attributes:
        log_entry_id: of the entry.
        timestamp: when.
        name: the person's user id, or a pseudonym.
        result: `success` or `partial`.
        metadata: what was deleted, and why.
        archived: whether it was read from the cold store.
    """

    log_entry_id: str
    timestamp: datetime
    name: str
    result: str
    metadata: dict[str, Any]
    archived: bool


@dataclass(frozen=True)
class FoundRecords:
    """What the audit log and its archives say of deletions.

    Attributes:
        deletions: the records, those in PostgreSQL first.
        revoked: ids of records that are not to be carried out again: the request was withdrawn or refused afterwards,
            or had meant somebody else.
    """

    deletions: tuple[DeletionRecord, ...]
    revoked: frozenset[str]


def deletion_records(
    services: Services, since: datetime, *, names: Collection[str] | None = None
) -> Iterator[DeletionRecord]:
    """The deletion records from a moment on: in PostgreSQL, in archives that it knows, in archives that it does not.

    A database that was restored to an older state does not know the archives that were made later. These are believed
    only if their manifest is signed by the key in use and every row is as it was sealed.

    Args:
        services: the opened services.
        since: aware.
        names: only those of people called so; None for all.

    Raises:
        LedgerError: the key, the database and the cold store do not belong together.
        UnreadableParquetError: an archive is damaged.
        PartDamagedError: one that the database does not know is not what its manifest says.
        ManifestError: a manifest that the database does not know is not ours.
        ObjectStoreError: the store failed, or an archive is missing.
    """
    for _, record in _entries(services, since, (ACTION,), names):
        yield record


def found_records(services: Services, since: datetime) -> FoundRecords:
    """The same, with the decisions since then, in one pass.

    Raises: as :func:`deletion_records`.
    """
    deletions = []
    revoked: set[str] = set()
    for action, record in _entries(services, since, (ACTION, *_REVOKING)):
        if action == ACTION:
            deletions.append(record)
            continue
        named = record.metadata.get(DELETION_RECORDS)
        if isinstance(named, list):
            revoked.update(each for each in named if isinstance(each, str))
    return FoundRecords(tuple(deletions), frozenset(revoked))


def _entries(
    services: Services, since: datetime, actions: Sequence[str], names: Collection[str] | None = None
) -> Iterator[tuple[str, DeletionRecord]]:
    with services.engine.connect() as connection:
        check_identity(services, connection)
        bounds = {"actions": list(actions), "since": since, "names": None if names is None else sorted(names)}
        rows = connection.execute(sql.DELETION_RECORDS, bounds).all()
        parts = all_parts(connection)
    for row in rows:
        yield (
            row.action,
            DeletionRecord(
                row.log_entry_id, row.timestamp, row.user_id, row.result, _metadata(row.metadata), archived=False
            ),
        )
    for batch in _archived(services, parts, utc_day(since), actions):
        for hit in _with_actions(batch, actions).to_pylist():
            if hit["timestamp"] >= since and (names is None or hit["user_id"] in names):
                yield (
                    hit["action"],
                    DeletionRecord(
                        hit["log_entry_id"],
                        hit["timestamp"],
                        hit["user_id"],
                        hit["result"],
                        _metadata(hit["metadata"]),
                        archived=True,
                    ),
                )


def _with_actions(batch: pa.RecordBatch, actions: Sequence[str]) -> pa.RecordBatch:
    return batch.filter(pc.is_in(batch.column("action"), pa.array(actions)))


def _archived(
    services: Services, parts: Sequence[ArchivedPart], first_day: date, actions: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows of every archived day from `first_day` on that is not in PostgreSQL any more, or never was."""
    for part in parts:
        if part.day >= first_day and part.purged_at is not None and part.expired_at is None:
            with open_stored(services, part) as reader:
                yield from reader.batches(columns=_COLUMNS)
    known = {key.family for part in parts if (key := parse_key(part.object_key)) is not None}
    unknown: dict[tuple[date, int, str], PartKey] = {}
    for info in services.store.list(PREFIX):
        key = parse_key(info.key)
        if key is not None and key.is_manifest and key.day >= first_day and key.family not in known:
            # Of several revisions of a part the newest counts.
            unknown[key.family] = max(key, unknown.get(key.family, key), key=lambda each: each.revision)
    for key in unknown.values():
        yield from _unknown_part(services, key.manifest_key, actions)


def _unknown_part(services: Services, manifest_key: str, actions: Sequence[str]) -> Sequence[pa.RecordBatch]:
    """The entries of a part that the database does not know; all of it was compared with its manifest."""
    archive = ColdArchive.of(services)
    manifest, _ = read_manifest(archive, manifest_key)
    found: list[pa.RecordBatch] = []

    def keep(batch: pa.RecordBatch) -> None:
        found.append(_with_actions(batch.select(_COLUMNS), actions))

    checked = check_object(archive, ExpectedObject.of_manifest(manifest), on_batch=keep)
    if checked.findings:
        raise PartDamagedError(checked.findings)
    return found


def _metadata(text: str | None) -> dict[str, Any]:
    parsed = json.loads(text or "{}")
    return parsed if isinstance(parsed, dict) else {}
