"""Archiving into a bucket, encrypted, against archiving into a directory in plain: the same day in the same run.

Here: the ways and their comparison. Not here: how a day is archived. The service of the bucket runs on the same machine
and takes its share of the cores, which one in a network would not.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from benchmarks import data, ours
from benchmarks.measure import Result, Stopwatch
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.encryption.keyring import Keyring
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.object_retention import ObjectRetention
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint
from compliance_pipelines.postgres.engine import create_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client
    from rich.console import Console

    from compliance_pipelines.services import Services

ENTRIES: Final = 1_000_000
ROUNDS: Final = 3
PLAIN: Final = "a directory, in plain"
ENCRYPTED: Final = "a directory, encrypted"
BUCKET: Final = "a bucket, in plain"
BOTH: Final = "a bucket, encrypted"
_YEARS: Final = 7
# The limits that the project set itself, as multiples of the directory in plain.
BUCKET_AT_MOST: Final = 1.3
ENCRYPTED_AT_MOST: Final = 1.05


@dataclass(frozen=True)
class _Ways:
    """The same services, with each of the stores."""

    services: Services
    client: S3Client
    keyring: Path

    def round(self, number: int) -> Iterator[tuple[str, Services]]:
        """One way after the other; those into a bucket begin with what the directory has of the ledger."""
        yield PLAIN, self.services
        yield ENCRYPTED, self._encrypted(self.services)
        yield BUCKET, self._into_bucket(f"plain-{number}")
        yield BOTH, self._encrypted(self._into_bucket(f"encrypted-{number}"))

    def _encrypted(self, services: Services) -> Services:
        update = {"audit_archive_encryption": True, "audit_archive_keyring_file": self.keyring}
        return replace(services, settings=services.settings.model_copy(update=update))

    def _into_bucket(self, prefix: str) -> Services:
        bucket = S3Bucket("bench", prefix=prefix, lock_mode="COMPLIANCE")
        store = S3ObjectStore(self.client, bucket, retain_until=ObjectRetention(_YEARS))
        store.create()
        ours.remove_archives(self.services)
        for info in self.services.store.list(""):
            store.put_bytes(info.key, self.services.store.get_bytes(info.key))
        return replace(self.services, store=store)


def measure(console: Console, url: str, work: Path, entries: int, rounds: int = ROUNDS) -> list[Result]:
    """Archive and verify a day in each way.

    Args:
        console: told what is going on.
        url: of a fresh migrated database, as superuser.
        work: directory for the cold store, the service and the keyring.
        entries: of the day.
        rounds: of which the median is taken.
    """
    engine = create_engine(url, pool_size=2)
    console.print(f"making {entries:,} entries for a bucket")
    data.fill(engine, entries)
    engine.dispose()
    key = SigningKey.generate("bench.example/audit").to_note_string()
    services = ours.open_services(url, key, work / "cold-beside-a-bucket")
    seal(services)
    server = EmbeddedSeaweedFS(work / "s3")
    server.start()
    os.environ.update(server.environment)
    watch = Stopwatch()
    try:
        client = S3Endpoint(url=server.url, path_style=True).open()
        ways = _Ways(services, client, Keyring.create(work / "bench.keyring", datetime.now(UTC)).path)
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}")
            for name, opened in ways.round(number):
                ours.forget(services, *ours.ARCHIVE_TABLES)
                ours.remove_archives(services)
                started = time.perf_counter()
                archive_day(opened, data.DAY)
                watch.record(name, time.perf_counter() - started)
    finally:
        services.engine.dispose()
        server.stop()
    return [
        _compared(watch, ENCRYPTED, PLAIN, ENCRYPTED_AT_MOST, entries),
        _compared(watch, BUCKET, PLAIN, None, entries),
        _compared(watch, BOTH, BUCKET, ENCRYPTED_AT_MOST, entries),
        _compared(watch, BOTH, PLAIN, BUCKET_AT_MOST, entries),
    ]


def _compared(watch: Stopwatch, way: str, peer: str, at_most: float | None, entries: int) -> Result:
    seconds, other = watch.median(way), watch.median(peer)
    remark = f"{seconds:.2f} and {other:.2f} s, {entries:,} entries, verified"
    return Result(f"archive into {way}", seconds, peer, seconds / other, at_most, remark=remark)
