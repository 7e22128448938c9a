"""A system with something of everything, made once and copied for each test, and hands to do damage with."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint
from compliance_pipelines.ledger.publication import Publication, publication_key
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.verification.offline import verify_copy
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Days, overwrite, remove
from tests.support.sealing import seal_all

if TYPE_CHECKING:
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
"""The checkpoints: how many segments the ledger had."""


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

    def checkpoint_path(self, size: int) -> Path:
        """The file of a checkpoint object."""
        return self.cold / publication_key(size)

    def publication(self, size: int) -> Publication:
        """The content of a checkpoint object."""
        return Publication.from_bytes(self.checkpoint_path(size).read_bytes())

    def write_publication(self, publication: Publication, size: int | None = None) -> None:
        """Put another object in a checkpoint's place."""
        overwrite(self.checkpoint_path(size or publication.size), publication.to_bytes())

    def alter_record(self, size: int, position: int = 0) -> int:
        """Change a segment record in a checkpoint object; the note stays. Returns the segment's seq."""
        publication = self.publication(size)
        records = list(publication.segments)
        records[position] = replace(records[position], entry_count=records[position].entry_count + 1)
        self.write_publication(replace(publication, segments=tuple(records)))
        return records[position].seq

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


def forked(publication: Publication, key: SigningKey = KEY) -> Publication:
    """The same records under a valid signature over another root."""
    checkpoint = Checkpoint(origin=key.name, size=publication.size, root=bytes(32))
    return replace(publication, note=sign_checkpoint(checkpoint, key))


def kinds(report: Report) -> list[str]:
    """The kinds of the findings, sorted."""
    return sorted(str(finding.kind) for finding in report.findings)


def copied(source: Path, target: Path) -> LocalObjectStore:
    """A plain copy of a cold store."""
    shutil.copytree(source, target)
    return LocalObjectStore(target)
