"""Segments and rows for the tests of this package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlparse

import pyarrow as pa
from hypothesis import strategies as st

from compliance_pipelines.archive.catalogue import ArchivedPart
from compliance_pipelines.archive.layout import object_key, part_root
from compliance_pipelines.archive.manifest import Manifest
from compliance_pipelines.archive.parquet import PartLabel, PartWriter, WrittenFile
from compliance_pipelines.archive.readback import ColdArchive
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.hashing import SegmentHasher
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.object_store.local import LocalObjectStore

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY: Final = date(2026, 7, 1)
_MIDNIGHT: Final = datetime(2026, 7, 1, tzinfo=UTC)


def segment(seq: int, *, day: date = DAY, entry_count: int = 10) -> Segment:
    """A segment that looks like one; nothing was hashed for it."""
    return Segment(
        seq=seq,
        day=day,
        tx_from=1000 + 10 * seq,
        tx_to=1010 + 10 * seq,
        first_id=1 + 100 * seq,
        last_id=entry_count + 100 * seq,
        entry_count=entry_count,
        root=hashlib.sha256(f"segment {seq}".encode()).digest(),
        sealed_at=datetime(2026, 7, 2, 0, 0, seq % 60, 123456, tzinfo=UTC),
    )


def row(number: int, **values: object) -> dict[str, Any]:
    """One row in ENTRY_SCHEMA."""
    return {
        "id": number,
        "log_entry_id": f"entry-{number:08d}",
        "timestamp": _MIDNIGHT + timedelta(microseconds=number * 37),
        "user_id": f"user-{number % 7}",
        "action": "message.send",
        "resource_type": None,
        "resource_id": f"conversation-{number % 1000}",
        "result": "success",
        "metadata": f'{{"number": {number}}}',
        "created_at": _MIDNIGHT + timedelta(microseconds=number * 41),
        "tx_id": 1000 + number // 100,
        "nonce": hashlib.sha256(number.to_bytes(8)).digest()[:16],
        "commitment": None,
        **values,
    }


def batch_of(rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Rows as they travel."""
    return pa.RecordBatch.from_pylist(list(rows), schema=ENTRY_SCHEMA)


@dataclass(frozen=True)
class StoredPart:
    """A part of one day, committed in a store, as catalogue and ledger know it."""

    store: LocalObjectStore
    key: SigningKey
    rows: list[dict[str, Any]]
    segments: list[Segment]
    manifest: Manifest
    part: ArchivedPart

    @property
    def archive(self) -> ColdArchive:
        """What the code under test reads from."""
        return ColdArchive(self.store, self.key.verifier_key())

    def path(self, key: str) -> Path:
        """The file of an object."""
        return Path(unquote(urlparse(self.store.locate(key)).path))

    def overwrite(self, key: str, data: bytes) -> None:
        """Change an object, as somebody with access to the disk would."""
        self.path(key).chmod(0o600)
        self.path(key).write_bytes(data)


def sealed_segments(rows: Sequence[dict[str, Any]], *, first_seq: int = 0, day: date = DAY) -> list[Segment]:
    """The records of rows in id order: one segment for each ten transaction ids that occur."""
    segments = []
    for seq, tens in enumerate(sorted({row["tx_id"] // 10 for row in rows}), first_seq):
        own = [row for row in rows if row["tx_id"] // 10 == tens]
        span = replace(segment(seq, day=day), tx_from=tens * 10, tx_to=tens * 10 + 10)
        hasher = SegmentHasher([span])
        hasher.feed(batch_of(own))
        found = hasher.result(0)
        segments.append(
            replace(
                span,
                first_id=found.first_id,
                last_id=found.last_id,
                entry_count=found.entry_count,
                root=found.root,
                sealed_at=_MIDNIGHT + timedelta(days=1, seconds=seq),
            )
        )
    return segments


def write_part(path: Path, rows: Sequence[dict[str, Any]], label: PartLabel) -> WrittenFile:
    """A part's Parquet file."""
    with PartWriter(path, label, len(rows)) as writer:
        writer.write(batch_of(rows))
        return writer.finish()


def stored_part(directory: Path, *, number: int = 1, day: date = DAY, count: int = 2500) -> StoredPart:
    """Write a part of several segments, its manifest and what the catalogue says about it."""
    rows = [row(each) for each in range(1, count + 1)]
    segments = sealed_segments(rows, day=day)
    root = part_root(segments)
    store, key = LocalObjectStore(directory / "cold"), SigningKey.generate("tests.example/audit")
    store.create()
    written = write_part(directory / "staged", rows, PartLabel.of(day, number, root))
    hasher = SegmentHasher(segments)
    hasher.feed(batch_of(rows))
    manifest = Manifest(
        day=day,
        part=number,
        object_key=object_key(day, number, root),
        object_sha256=written.sha256,
        object_bytes=written.size,
        entry_count=count,
        canonical_bytes=hasher.canonical_bytes,
        first_id=1,
        last_id=count,
        root=root,
        segments=tuple(segments),
        created_at=_MIDNIGHT,
    )
    data = manifest.to_bytes(key)
    store.put_file(manifest.object_key, directory / "staged")
    store.put_bytes(manifest.manifest_key, data)
    return StoredPart(store, key, rows, segments, manifest, catalogue_row(store, manifest, data))


def catalogue_row(store: LocalObjectStore, manifest: Manifest, data: bytes) -> ArchivedPart:
    """What the catalogue says about a committed part."""
    return ArchivedPart(
        day=manifest.day,
        part=manifest.part,
        archive_location=store.locate(manifest.object_key),
        object_key=manifest.object_key,
        object_sha256=manifest.object_sha256,
        object_bytes=manifest.object_bytes,
        manifest_key=manifest.manifest_key,
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        entry_count=manifest.entry_count,
        canonical_bytes=manifest.canonical_bytes,
        first_id=manifest.first_id,
        last_id=manifest.last_id,
        root=manifest.root,
        encryption=None,
        archived_at=_MIDNIGHT,
        verified_at=None,
        purged_at=None,
        expired_at=None,
    )


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_NUMBERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)
_TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - aware by timezones

ANY_ROW = st.fixed_dictionaries(
    {
        "id": _NUMBERS,
        "log_entry_id": _TEXT,
        "timestamp": _TIMES,
        "user_id": _TEXT,
        "action": _TEXT,
        "resource_type": st.none() | _TEXT,
        "resource_id": st.none() | _TEXT,
        "result": _TEXT,
        "metadata": st.none() | _TEXT,
        "created_at": _TIMES,
        "tx_id": _NUMBERS,
        "nonce": st.binary(min_size=16, max_size=16),
        "commitment": st.none(),
    }
)
