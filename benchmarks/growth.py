"""How much longer the daily work takes with ten years of history than with one.

Here: making a history, and the same work on top of each. Not here: how long a ledger of ten years takes to be verified
(ledgers.py).

Days of the history are archived and purged: segments, catalogue rows, and the log in the cold store are there, valid
and signed; their parts are not, as nothing that is measured reads one. The days that are worked on are real.
"""

from __future__ import annotations

import random
import shutil
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from sqlalchemy import text

from benchmarks import ours
from benchmarks.measure import Result, Stopwatch
from compliance_pipelines.archive.catalogue import days_with_parts, facts_of_days, snapshot
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.figures import take_figures
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.audit_log.entry import AuditEntry
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import create_ahead, ensure_days
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint
from compliance_pipelines.ledger.log_reading import EMPTY_LOG
from compliance_pipelines.ledger.proofs import prove
from compliance_pipelines.ledger.publication import publish
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.orchestration.backlog import due_steps, hidden_days
from compliance_pipelines.orchestration.records import DAYS_PER_TICK
from compliance_pipelines.verification.online import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import psycopg
    from rich.console import Console

    from compliance_pipelines.ledger.log_reading import LogHead
    from compliance_pipelines.services import Services

DAYS: Final = (365, 3_650)
PASSES: Final = 24
AT_MOST: Final = 1.3

_ROUNDS: Final = 5
_LOOKS: Final = 10  # of each round: they take milliseconds
_WORKED_ON: Final = 3  # days that are archived and verified
_AGE: Final = 100  # of the first of them: they are due
_ENTRIES: Final = 2_000  # of such a day
_A_PASS: Final = 200  # entries
_ENTRIES_OF_SEGMENT: Final = 100
_STEP_DAYS: Final = 10  # published together
_SEGMENT_COLUMNS: Final = "seq, day, tx_from, tx_to, first_id, last_id, entry_count, root, sealed_at"
_PART_COLUMNS: Final = (
    "day, part, archive_location, object_key, object_sha256, object_bytes, manifest_key, manifest_sha256, entry_count,"
    " canonical_bytes, first_id, last_id, root, archived_at, verified_at, purged_at"
)


@dataclass(frozen=True)
class _History:
    """The days before the first that is worked on, each sealed in so many passes."""

    end: date
    days: int
    passes: int

    def segments(self, first: int, count: int) -> list[Segment]:
        """The records of some days, the first one counted from the history's first."""
        begin = self.end - timedelta(days=self.days)
        return [
            _segment(seq, begin + timedelta(days=seq // self.passes), seq % self.passes)
            for seq in range(first * self.passes, (first + count) * self.passes)
        ]


def _segment(seq: int, day: date, number: int) -> Segment:
    root = random.Random(seq).randbytes(32)  # noqa: S311 - reproducible
    sealed_at = datetime.combine(day, time(), UTC) + timedelta(minutes=number)
    first_id = _ENTRIES_OF_SEGMENT * seq + 1
    last_id = _ENTRIES_OF_SEGMENT * (seq + 1)
    return Segment(seq, day, 10 * seq + 1, 10 * seq + 11, first_id, last_id, _ENTRIES_OF_SEGMENT, root, sealed_at)


def measure(
    console: Console, new_database: Callable[[str], str], work: Path, *, passes: int, days: Sequence[int] = DAYS
) -> list[Result]:
    """Do the daily work on top of each history.

    Args:
        console: told what is done.
        new_database: makes an empty migrated database of a name, and gives its URL as superuser.
        work: a directory for the cold stores.
        passes: that sealed each day of the histories.
        days: lengths of the histories; ratios are to the first.
    """
    watches = {each: Stopwatch() for each in days}
    first = datetime.now(UTC).date() - timedelta(days=_AGE)
    with ExitStack() as stack:
        opened = {}
        for each in days:
            console.print(f"making {each:,} days of history with {passes:,} passes each")
            url, cold = new_database(f"bench_growth_{each}"), work / f"growth-{each}"
            stack.callback(shutil.rmtree, cold, ignore_errors=True)
            key = SigningKey.generate("bench.example/growth")
            opened[each] = ours.open_services(url, key.to_note_string(), cold)
            stack.callback(opened[each].engine.dispose)
            _make(opened[each], key, _History(first, each, passes))
            _fill(opened[each], [first + timedelta(days=number) for number in range(_WORKED_ON)])
        # By turns, so that whatever else the machine does slows down all of them.
        for _ in range(_ROUNDS):
            for each, services in opened.items():
                _daily_work(services, watches[each])
        for number in range(_WORKED_ON):
            for each, services in opened.items():
                _work_on(services, first + timedelta(days=number), watches[each])
    floor = watches[days[0]]
    results = []
    for each in days:
        for name in floor.laps:
            seconds, before = watches[each].median(name), floor.median(name)
            limit = None if each == days[0] else AT_MOST
            remark = f"{1_000 * seconds:.1f} ms"
            results.append(
                Result(f"{name}, {each:,} days", seconds, f"{days[0]:,} days", seconds / before, limit, remark=remark)
            )
    return results


def _make(services: Services, key: SigningKey, history: _History) -> None:
    log = EMPTY_LOG
    raw = services.engine.raw_connection()
    try:
        connection: psycopg.Connection[tuple[object, ...]] = raw.driver_connection  # type: ignore[assignment]
        connection.execute("SET session_replication_role = replica")
        for first in range(0, history.days, _STEP_DAYS):
            segments = history.segments(first, min(_STEP_DAYS, history.days - first))
            log = _extended(services, key, connection, log, segments)
        connection.execute("SET session_replication_role = origin")
        last = history.segments(history.days - 1, 1)[-1]
        connection.execute("SELECT audit_adopt_cluster(%s)", (last.tx_to,))
        connection.execute("SELECT setval('audit_logs_id_seq', %s)", (last.last_id,))
        connection.commit()
        connection.autocommit = True
        # As autovacuum has done in the course of ten years.
        connection.execute("VACUUM ANALYZE")
        connection.autocommit = False
    finally:
        raw.close()


def _extended(
    services: Services,
    key: SigningKey,
    connection: psycopg.Connection[tuple[object, ...]],
    log: LogHead,
    segments: list[Segment],
) -> LogHead:
    head = log.head.extended(segments)
    note = sign_checkpoint(Checkpoint(key.name, head.size, head.root), key)
    log = publish(services.store, log, segments, note, lambda _: None)
    signed_at = segments[-1].sealed_at
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY ledger_segments ({_SEGMENT_COLUMNS}) FROM STDIN") as copy:
            for segment in segments:
                copy.write_row(astuple(segment))
        with cursor.copy(f"COPY archived_audit_logs ({_PART_COLUMNS}) FROM STDIN") as copy:
            for part in _parts(segments):
                copy.write_row(part)
        with cursor.copy("COPY archived_segments (segment_seq, day, part) FROM STDIN") as copy:
            for segment in segments:
                copy.write_row((segment.seq, segment.day, 1))
    connection.execute(
        "INSERT INTO ledger_checkpoints (size, root, tx_horizon, frontier, note, signed_at)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        (head.size, head.root, head.tx_horizon, head.frontier, note, signed_at),
    )
    connection.execute("INSERT INTO ledger_publications (size, object_key) VALUES (%s, 'checkpoint')", (head.size,))
    return log


def _parts(segments: list[Segment]) -> Iterator[tuple[object, ...]]:
    by_day: dict[date, list[Segment]] = {}
    for segment in segments:
        by_day.setdefault(segment.day, []).append(segment)
    for day, of_day in by_day.items():
        key = f"audit-archives/{day:%Y/%m}/audit-logs-{day}.1"
        at = datetime.combine(day, time(), UTC) + timedelta(days=91)
        entries = sum(segment.entry_count for segment in of_day)
        first, last = of_day[0].first_id, of_day[-1].last_id
        yield (
            day, 1, f"file:///{key}", f"{key}.parquet", "0" * 64, 100 * entries, f"{key}.manifest.json", "0" * 64,
            entries, 200 * entries, first, last, of_day[0].root, at, at, at + timedelta(days=7),
        )  # fmt: skip


def _entries(day: date, count: int) -> list[AuditEntry]:
    start = datetime.combine(day, time(), UTC)
    return [
        AuditEntry(
            log_entry_id=str(uuid4()),
            timestamp=start + timedelta(microseconds=number),
            user_id=f"user:{number % 50}",
            action="conversation.read",
            result="success",
            metadata={"number": number},
        )
        for number in range(count)
    ]


def _fill(services: Services, days: Sequence[date]) -> None:
    """Real days after the history, sealed."""
    create_ahead(services.engine, datetime.now(UTC).date(), 1)
    with services.engine.begin() as connection:
        ensure_days(connection, days)
    log = AuditLog(services.engine)
    for day in days:
        log.append_many(_entries(day, _ENTRIES))
    seal(services)
    with services.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))


def _daily_work(services: Services, watch: Stopwatch) -> None:
    today = datetime.now(UTC).date()
    entries = _entries(today, _A_PASS)
    AuditLog(services.engine).append_many(entries)
    with watch.lap("a sealing pass"):
        seal(services)
    with watch.lap("prove"):
        prove(services, entries[7].log_entry_id, finder=ArchiveEntryFinder(services))
    for _ in range(_LOOKS):
        _look(services, today, watch)


def _look(services: Services, today: date, watch: Stopwatch) -> None:
    with watch.lap("status"):
        take_figures(services)
    with watch.lap("what is due, of a schedule's tick"):
        due_steps(services)
    with watch.lap("days of a tick of the sensor `records`"), snapshot(services) as connection:
        facts_of_days(connection, days_with_parts(connection, date.min, today, DAYS_PER_TICK))
    with watch.lap("days that nothing asks for, of a daily check"):
        hidden_days(services)


def _work_on(services: Services, day: date, watch: Stopwatch) -> None:
    with watch.lap(f"archive a day of {_ENTRIES:,}"):
        archive_day(services, day)
    with watch.lap("verify DAY"):
        report = verify(services, [day])
    if not report.ok:
        raise AssertionError(f"the made history is not in order: {report.findings[:3]}")
