"""What one archived day takes of a bucket: bytes, and requests by kind, counted in an embedded service.

Here: the measuring. Not here: prices, and what follows from both (costs.py).
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import data, ours
from compliance_pipelines.archive.catalogue import parts_of_day
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.scrub import scrub
from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.audit_log import migrate
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.encryption.keyring import Keyring
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.object_retention import ObjectRetention
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.services import Services

_WRITING: Final = ("Put", "List", "Copy", "Create", "Complete", "Upload", "Post")
_YEARS: Final = 7


class _Requests:
    """Counts what a client asks its service for."""

    def __init__(self, client: S3Client) -> None:
        self._counted: Counter[bool] = Counter()
        client.meta.events.register("before-call.s3", self._count)

    def _count(self, model: Any, **_: Any) -> None:  # noqa: ANN401 - botocore's
        self._counted[model.name.startswith(_WRITING)] += 1

    def of(self, work: Callable[[], object]) -> tuple[int, int]:
        """How many requests some work takes that write or list, and how many others."""
        self._counted.clear()
        work()
        return self._counted[True], self._counted[False]


def measure(entries: int) -> dict[str, float]:
    """Archive a day of so many entries into an embedded bucket, encrypted; what came of it, as costs.py names it."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        work = Path(directory)
        work.chmod(0o755)
        server, service = EmbeddedPostgres(work / "postgres"), EmbeddedSeaweedFS(work / "s3")
        for each in (server, service):
            each.start()
            running.callback(each.stop)
        os.environ.update(service.environment)
        server.create_database("costs")
        url = server.url("costs")
        migrate.upgrade(url)
        client = S3Endpoint(url=service.url, path_style=True).open()
        services = _services(url, client, work)
        running.callback(services.engine.dispose)
        return _measured(services, _Requests(client), entries)


def _services(url: str, client: S3Client, work: Path) -> Services:
    opened = ours.open_services(url, SigningKey.generate("bench.example/audit").to_note_string(), work / "not-used")
    store = S3ObjectStore(client, S3Bucket("costs", lock_mode="COMPLIANCE"), retain_until=ObjectRetention(_YEARS))
    keyring = Keyring.create(work / "keyring", datetime.now(UTC)).path
    update = {"audit_archive_encryption": True, "audit_archive_keyring_file": keyring}
    services = replace(opened, store=store, settings=opened.settings.model_copy(update=update))
    ours.forget(services, "audit_store")
    init_store(services)
    return services


def _measured(services: Services, requests: _Requests, entries: int) -> dict[str, float]:
    data.fill(services.engine, entries)
    seal(services)
    archived = requests.of(lambda: archive_day(services, data.DAY))
    read = requests.of(lambda: scrub(services, [data.DAY]))
    AuditLog(services.engine).append_many(data.entries(10))
    passed = requests.of(lambda: seal(services))
    with services.engine.connect() as connection:
        (part,) = parts_of_day(connection, data.DAY)
    return {
        "bytes_per_entry": round(part.object_bytes / part.entry_count, 2),
        "writes_per_part": archived[0],
        "reads_per_part": archived[1],
        "reads_per_reading": sum(read),
        "writes_per_pass": passed[0],
        "reads_per_pass": passed[1],
    }
