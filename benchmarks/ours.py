"""Our own code as it is timed: sealing, archiving, restoring, appending.

Here: one measured run each, and what puts the database back to where it was. Not here: peers and reporting.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr
from sqlalchemy import text

from benchmarks.data import DAY, entries
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from benchmarks.measure import Stopwatch

_EVERYTHING: Final = 1_000_000_000
ARCHIVE_TABLES: Final = (
    "archived_segments",
    "archived_audit_logs",
    "archive_search_filters",
    "archive_scrubs",
    "archive_repairs",
    "archive_hold_looks",
    "archive_store_holds",
    "object_keys",
)
"""What knows of archives."""
_LEDGER_TABLES: Final = (
    "ledger_publications",
    "ledger_checkpoints",
    "ledger_segments",
    "audit_store",
    *ARCHIVE_TABLES,
)


def open_services(url: str, key: str, store: Path) -> Services:
    """Services on the measured database, with a bound on sealing that nothing reaches."""
    settings = Settings(
        _env_file=None,
        audit_log_database_url=SecretStr(url),
        audit_cold_storage_provider="local",
        audit_cold_storage_path=store,
        ledger_signing_key=SecretStr(key),
        ledger_seal_max_entries=_EVERYTHING,
        archive_staging_path=store.parent / "staging",
    )
    services = Services(
        settings=settings,
        engine=create_engine(url, pool_size=4),
        store=LocalObjectStore(store),
        keys=Keyring.of(SigningKey.from_note_string(key)),
        clock=system_clock,
    )
    init_store(services)
    return services


def forget(services: Services, *tables: str) -> None:
    """Empty some of the ledger's tables, against their triggers, as only a superuser can."""
    with services.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {', '.join(tables or _LEDGER_TABLES)}"))


def remove_store(services: Services) -> None:
    """Empty the cold store."""
    path = services.settings.audit_cold_storage_path
    if path is not None and path.exists():
        shutil.rmtree(path)


def time_sealing(services: Services, watch: Stopwatch) -> None:
    """Seal the day from nothing."""
    forget(services)
    remove_store(services)
    init_store(services)
    with watch.lap("seal"):
        seal(services)


def time_archiving(services: Services, watch: Stopwatch) -> None:
    """Archive the sealed day; the committed part and the verified part are two figures of one run."""
    forget(services, *ARCHIVE_TABLES)
    remove_archives(services)
    reached: dict[ArchiveStep, float] = {}
    started = time.perf_counter()

    def note(step: ArchiveStep) -> None:
        reached[step] = time.perf_counter() - started

    archive_day(services, DAY, hook=note)
    watch.record("archive, verified", time.perf_counter() - started)
    watch.record("archive, committed", reached[ArchiveStep.RECORDED])


def time_restoring(services: Services, watch: Stopwatch) -> None:
    """Restore the archived day, in place of the table of the round before."""
    with watch.lap("restore"):
        restore_day(services, DAY)


def restore_in_this_process(url: str, key: str, store: str) -> None:
    """The task whose peak memory is taken."""
    restore_day(open_services(url, key, Path(store)), DAY)


def remove_archives(services: Services) -> None:
    """Remove the parts and leave the checkpoints."""
    path = services.settings.audit_cold_storage_path
    if path is not None:
        for kind in ("audit-archives", "audit-keys"):
            shutil.rmtree(path / kind, ignore_errors=True)


def archive_in_this_process(url: str, key: str, store: str) -> None:
    """The task whose peak memory is taken."""
    archive_day(open_services(url, key, Path(store)), DAY)


def time_append(url: str, count: int, watch: Stopwatch) -> None:
    """Append `count` new entries to a database that has none."""
    engine = create_engine(url, pool_size=2)
    log = AuditLog(engine)
    with watch.lap("append_many"):
        log.append_many(entries(count))
    engine.dispose()


def seal_in_this_process(url: str, key: str, store: str) -> None:
    """Seal everything, in a process whose memory is not the measured one."""
    seal(open_services(url, key, Path(store)))
