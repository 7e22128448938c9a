"""How long an append takes while partitions come and go.

Here: a live writer in a process of its own, what is done meanwhile, and the latencies of each phase. Not here: the
measured code.

The writer appends at a fixed rate to today, to a day beside the one that is purged in a default partition, and to a
month whose other days are dropped: in its way is whatever is in the way of anybody.
"""

from __future__ import annotations

import multiprocessing
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from sqlalchemy import text

from benchmarks import data, ours
from benchmarks.measure import Result
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.entry import AuditEntry
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import create_ahead, drop_empty, ensure_days
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.postgres.engine import create_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from rich.console import Console

ENTRIES: Final = 400_000
AT_MOST_SECONDS: Final = 0.2

_RATE: Final = 300.0
_ALONE_SECONDS: Final = 5.0
_DAYS_DROPPED: Final = 60
_DAYS_AHEAD: Final = 60
_PEER: Final = "200 ms for an append"


@dataclass
class _Phases:
    """What was done when, in seconds of the monotonic clock that all processes share."""

    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.spans[name] = (started, time.monotonic())


def measure(console: Console, url: str, work: Path, *, entries: int) -> list[Result]:
    """Append all the time, and meanwhile make partitions, drop some, and purge a day in a default partition.

    Args:
        console: told what is done.
        url: of an empty migrated database.
        work: a directory for the cold store.
        entries: of the purged day.
    """
    services = ours.open_services(url, SigningKey.generate("bench.example/audit").to_note_string(), work / "parts")
    engine = services.engine
    today = datetime.now(UTC).date()
    console.print(f"making {entries:,} entries in a default partition, and {_DAYS_DROPPED} empty partitions")
    create_ahead(engine, today, 2)
    for age in range(2, 2 + _DAYS_DROPPED):
        with engine.begin() as connection:
            ensure_days(connection, [today - timedelta(days=age)])
    data.fill(engine, entries, own_table=False)
    seal(services)
    archive_day(services, data.DAY)
    with engine.begin() as connection:
        # Out of its grace, as the database has it; the clock stays what it is.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE archived_audit_logs SET verified_at = verified_at - interval '8 days'"))
    phases = _Phases()
    with _live_writer(url) as latencies:
        with phases.phase("alone"):
            time.sleep(_ALONE_SECONDS)
        with phases.phase(f"while {_DAYS_AHEAD} partitions are made"):
            create_ahead(engine, today, _DAYS_AHEAD)
        with phases.phase(f"while {_DAYS_DROPPED - 1} empty partitions are dropped"):
            drop_empty(engine, today)
        with phases.phase(f"while a day of {entries:,} is purged from a default partition"):
            purge_day(services, data.DAY)
    engine.dispose()
    return [_result(name, span, latencies) for name, span in phases.spans.items()]


def _result(name: str, span: tuple[float, float], latencies: list[tuple[float, float]]) -> Result:
    began, ended = span
    taken = sorted(seconds for started, seconds in latencies if began <= started <= ended)
    percentiles = {share: taken[min(len(taken) - 1, int(len(taken) * share))] * 1000 for share in (0.5, 0.99)}
    return Result(
        f"slowest append {name}",
        taken[-1],
        _PEER,
        taken[-1] / AT_MOST_SECONDS,
        1.0,
        remark=f"of {len(taken):,} in {ended - began:.1f} s; p50 {percentiles[0.5]:.1f} ms, "
        f"p99 {percentiles[0.99]:.1f} ms, max {taken[-1] * 1000:.1f} ms",
    )


@contextmanager
def _live_writer(url: str) -> Iterator[list[tuple[float, float]]]:
    """A process that appends; what is yielded is filled when it has ended: when each append began, and its seconds.

    Raises:
        RuntimeError: an append failed.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    stop = context.Event()
    process = context.Process(target=_write, args=(url, stop, sending))
    process.start()
    sending.close()
    latencies: list[tuple[float, float]] = []
    try:
        receiving.recv()
        yield latencies
    finally:
        stop.set()
        try:
            latencies += receiving.recv()
        except EOFError:
            raise RuntimeError("an append failed: the writer's message stands above") from None
        finally:
            process.join()


def _write(url: str, stop: Event, sending: Connection) -> None:
    engine = create_engine(url, pool_size=1)
    log = AuditLog(engine)
    today = datetime.now(UTC)
    moments = [
        today,
        datetime.combine(data.DAY + timedelta(days=1), today.timetz()),
        today - timedelta(days=20),
        datetime.combine(data.DAY, today.timetz()) + timedelta(days=2),
    ]
    for moment in moments:
        log.append(_entry(moment))
    sending.send("ready")
    latencies = []
    number = 0
    due = time.monotonic()
    while not stop.is_set():
        number += 1
        due += 1 / _RATE
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.monotonic()
        if not log.append(_entry(moments[number % len(moments)] - timedelta(microseconds=number))):
            raise RuntimeError("a new entry was taken for a repeat")
        latencies.append((started, time.monotonic() - started))
    sending.send(latencies)
    engine.dispose()


def _entry(moment: datetime) -> AuditEntry:
    return AuditEntry(
        log_entry_id=str(uuid4()),
        timestamp=moment,
        user_id="user-1",
        action="message.send",
        resource_type="conversation",
        resource_id="c-1",
        result="success",
        metadata={"latency_ms": 12},
    )
