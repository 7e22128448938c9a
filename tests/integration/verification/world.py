"""A system with something of everything, made once and copied for each test, and hands to do damage with."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.tiles import ENTRIES, Tile, bundle_of, records_of
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Days, overwrite, remove
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.findings import Report

KEY: Final = SigningKey.generate("tests.example/audit")
TODAY: Final = datetime.now(UTC).date()

PURGED: Final = TODAY - timedelta(days=130)
"""Part 1 (20 entries) is purged; a late part 2 (5 entries) is in both stores."""
ARCHIVED: Final = TODAY - timedelta(days=120)
"""One part with two segments (10 and 7 entries), in both stores."""
OTHER_ARCHIVED: Final = TODAY - timedelta(days=119)
"""One part with one segment (8 entries), purged."""
HOT: Final = TODAY - timedelta(days=60)
"""Two segments (6 and 4 entries), in PostgreSQL only."""

SIZES: Final = (2, 4, 5, 8, 9)
"""The checkpoints: how many segments the ledger had. The cold store has the last one."""

BUNDLE: Final = Tile(ENTRIES, 0, SIZES[-1])
LEAVES: Final = Tile(0, 0, SIZES[-1])
"""All that the cold store needs of a ledger of so few."""


def fill(services: Services, days: Days) -> None:
    """Let time pass over an empty system."""
    with services.engine.begin() as connection:
        # What the project records about itself is of the day on which it happens, which may be the next one by then.
        ensure_days(connection, [TODAY + timedelta(days=1), TODAY, TODAY - timedelta(days=1)])
    for additions in ({PURGED: 20, OTHER_ARCHIVED: 8}, {ARCHIVED: 10, HOT: 6}, {ARCHIVED: 7}):
        for day, count in additions.items():
            days.append(day, count, sealed=False)
        seal_all(services)
    for day in (PURGED, ARCHIVED, OTHER_ARCHIVED):
        archive_day(services, day)
    later = replace(services, clock=lambda: datetime.now(UTC) + timedelta(days=8))
    purge_day(later, PURGED)
    purge_day(later, OTHER_ARCHIVED)
    days.append(PURGED, 5, sealed=False)
    days.append(HOT, 4, sealed=False)
    seal_all(services)
    archive_day(services, PURGED)
    seal_all(services)
    days.append(TODAY - timedelta(days=1), 3, sealed=False)


@dataclass(frozen=True)
class World:
    """One copy of the system."""

    services: Services
    days: Days

    @property
    def cold(self) -> Path:
        """The directory of the cold store."""
        directory = self.services.settings.audit_cold_storage_path
        assert directory is not None
        return directory

    def verify(self, *days: date) -> Report:
        """Verify with the database: the days, or everything."""
        return verify(self.services, days or None)

    def verify_offline(self, archived_through: date | None = None) -> Report:
        """Verify the cold store alone."""
        return verify_copy(self.cold, KEY.verifier_key(), archived_through=archived_through)

    def execute(self, statement: str, **parameters: object) -> list[tuple[object, ...]]:
        """Run a statement as superuser, with the triggers off."""
        return self.days.execute(statement, **parameters)

    @property
    def checkpoint_path(self) -> Path:
        """The file of the checkpoint."""
        return self.cold / CHECKPOINT_KEY

    def tile_path(self, tile: Tile) -> Path:
        """The file of a tile or an entry bundle."""
        return self.cold / tile.key

    def records(self) -> list[Segment]:
        """The records of the entry bundle."""
        data = self.tile_path(BUNDLE).read_bytes()
        return [Segment.from_record(record) for record in records_of(data, BUNDLE.width)]

    def write_note(self, note: str) -> None:
        """Put another checkpoint in the place of the cold store's."""
        overwrite(self.checkpoint_path, note.encode())

    def alter_record(self, at: int, **values: object) -> Segment:
        """Change a record in the entry bundle; by default the number of its entries."""
        records = self.records()
        changes: dict[str, Any] = values or {"entry_count": records[at].entry_count + 1}
        altered = replace(records[at], **changes)
        records[at] = altered
        overwrite(self.tile_path(BUNDLE), bundle_of(record.record_bytes() for record in records))
        return altered

    def alter_record_and_leaf(self, seq: int) -> None:
        """Change a record in the entry bundle, and its leaf in the tile."""
        leaf = self.alter_record(seq).leaf_hash()
        tile = bytearray(self.tile_path(LEAVES).read_bytes())
        tile[32 * seq : 32 * seq + 32] = leaf
        overwrite(self.tile_path(LEAVES), bytes(tile))

    def alter_leaf(self, seq: int) -> None:
        """Change a hash in the tile."""
        tile = bytearray(self.tile_path(LEAVES).read_bytes())
        tile[32 * seq] ^= 1
        overwrite(self.tile_path(LEAVES), bytes(tile))

    def object_path(self, day: date, part: int = 1) -> Path:
        """The file of a part's object."""
        return self.days.objects(day)[part - 1]

    def manifest_path(self, day: date, part: int = 1) -> Path:
        """The file of a part's manifest."""
        return self.days.manifests(day)[part - 1]

    def remove(self, *paths: Path) -> None:
        """Remove files of the cold store, and months that are empty then: a bucket has no directories."""
        for path in paths:
            remove(path)
        for directory in {path.parent for path in paths}:
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()

    def alter_object(self, day: date, part: int = 1) -> None:
        """Change one byte of an object's first column."""
        path = self.object_path(day, part)
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        overwrite(path, bytes(data))

    def alter_manifest(self, day: date, part: int = 1) -> None:
        """Change a number in a manifest."""
        path = self.manifest_path(day, part)
        document = json.loads(path.read_bytes())
        document["body"]["object_bytes"] += 1
        text = json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"
        overwrite(path, text.encode())


def note_of(
    records: Sequence[Segment], *, key: SigningKey = KEY, origin: str = KEY.name, root: bytes | None = None
) -> str:
    """A signed checkpoint over records, or over another root."""
    head = LedgerHead().extended(records)
    return sign_checkpoint(Checkpoint(origin=origin, size=head.size, root=head.root if root is None else root), key)


def forked(records: Sequence[Segment], key: SigningKey = KEY) -> str:
    """A valid signature over another root."""
    return note_of(records, key=key, root=bytes(32))


def kinds(report: Report) -> list[str]:
    """The kinds of the findings, sorted."""
    return sorted(str(finding.kind) for finding in report.findings)


def copied(source: Path, target: Path) -> LocalObjectStore:
    """A plain copy of a cold store."""
    shutil.copytree(source, target)
    return LocalObjectStore(target)
