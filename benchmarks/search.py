"""One person's entries in a year of archives, with the filters of the catalogue and without.

Here: the year, the searches and their comparison. Not here: how anything is searched.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from benchmarks import ours
from benchmarks.measure import Result, Stopwatch, peak_memory_mb
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.encryption.keyring import Keyring
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.search.engine import opened_engine
from compliance_pipelines.search.period import Period
from compliance_pipelines.search.searching import searched
from compliance_pipelines.search.wanted import read_everything
from compliance_pipelines.search_filters import Wanted, matching_row_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy
    from rich.console import Console

    from compliance_pipelines.search.plan import Plan
    from compliance_pipelines.search.wanted import Filters
    from compliance_pipelines.services import Services

DAYS: Final = 365
ROUNDS: Final = 3
_ENTRIES_A_DAY: Final = 20_000
_FIRST_DAY: Final = date(2025, 1, 1)
_PRESENT_DAYS: Final = 10
_PERSON: Final = "somebody@example.com"
_ENTRIES_OF_PERSON: Final = 20
_DAYS_AT_ONCE: Final = 30
# The limits that the project set itself: of the stored bytes, in seconds, and how many times as long reading everything
# takes. That depends on where it lies: a directory on the same machine is the fastest that there is.
BYTES_AT_MOST: Final = 0.05
SECONDS_AT_MOST: Final = 3.0
EVERYTHING_AT_LEAST: Final = 20.0
_MEMORY_MB: Final = 512

_FILTERED: Final = "search a year for one person, in {}"
_EVERYTHING: Final = "the same, every archive read, in {}"
_DIRECTORY: Final = "a directory"
_BUCKET: Final = "a bucket"
_ROWS: Final = text("""
    INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata)
    SELECT gen_random_uuid()::text,
           CAST(:start AS timestamptz) + n * interval '4 seconds',
           CASE WHEN :present AND n % 1000 = 7 THEN :person
                ELSE 'user-' || lpad(((n + :number) * 7919 % 5000)::text, 5, '0') END,
           (ARRAY['conversation.read', 'message.send', 'tool.invoke', 'authorization.check'])[1 + n % 4],
           (ARRAY['conversation', 'message', 'tool', 'conversation'])[1 + n % 4],
           'resource-' || md5((n + :number * 86400)::text),
           CASE WHEN n % 20 = 0 THEN 'failure' ELSE 'success' END,
           jsonb_build_object('request_id', md5((n * 31 + :number)::text), 'client_ip', '192.0.2.' || n % 250,
                              'latency_ms', n % 2500, 'input_tokens', n % 4000, 'output_tokens', n % 1200)
    FROM generate_series(0, :entries - 1) AS n
""")


@dataclass(frozen=True)
class _Searched:
    """What one search took: seconds, entries found, bytes read, bytes stored."""

    seconds: float
    entries: int
    read: int
    stored: int


def measure(console: Console, url: str, work: Path, days: int = DAYS, rounds: int = ROUNDS) -> list[Result]:
    """Archive a year, encrypted, and search it.

    Args:
        console: told what is going on.
        url: of a fresh migrated database, as superuser.
        work: directory for the cold store and the keyring.
        days: of the year.
        rounds: of which the median is taken.
    """
    key = SigningKey.generate("bench.example/audit").to_note_string()
    store = work / "cold-of-a-year"
    shutil.rmtree(store, ignore_errors=True)
    keyring = work / "search.keyring"
    keyring.unlink(missing_ok=True)
    Keyring.create(keyring, datetime.now(UTC))
    services = _opened(url, key, store, keyring)
    owner = create_engine(url, pool_size=1)
    started = time.perf_counter()
    for first in range(0, days, _DAYS_AT_ONCE):
        _archived(services, owner, range(first, min(first + _DAYS_AT_ONCE, days)), days)
    made = time.perf_counter() - started
    console.print(f"{days:,} days of {_ENTRIES_A_DAY:,} entries archived and purged in {made:.0f} s")
    results = _compared(services, _DIRECTORY, days, rounds)
    with _in_a_bucket(services, work) as opened:
        results += _compared(opened, _BUCKET, days, rounds)
    services.engine.dispose()
    owner.dispose()
    peak = peak_memory_mb(stream_in_this_process, url, key, str(store), str(keyring), days)
    shutil.rmtree(store, ignore_errors=True)
    streamed = f"{days * _ENTRIES_A_DAY:,} entries, DuckDB with {_MEMORY_MB} MiB"
    return [*results, Result("stream a year of archives", peak_mb=peak, remark=streamed)]


def _compared(services: Services, where: str, days: int, rounds: int) -> list[Result]:
    """Search with filters and without."""
    watch = Stopwatch()
    filtered, everything = _FILTERED.format(where), _EVERYTHING.format(where)
    for _ in range(rounds):
        some = _search(services, days, matching_row_groups)
        watch.record(filtered, some.seconds)
        every = _search(services, days, read_everything)
        watch.record(everything, every.seconds)
    if some.entries != every.entries or not some.entries:
        raise RuntimeError(f"{some.entries} entries were found with filters, and {every.entries} without")
    seconds, all_seconds = watch.median(filtered), watch.median(everything)
    found = f"{some.entries:,} entries on {min(_PRESENT_DAYS, days)} of {days:,} days"
    share = some.read / some.stored
    return [
        Result(filtered, seconds, f"{SECONDS_AT_MOST:g} s", seconds / SECONDS_AT_MOST, 1.0, remark=found),
        Result(
            filtered,
            seconds,
            f"{everything}, divided by {EVERYTHING_AT_LEAST:g}",
            seconds / all_seconds * EVERYTHING_AT_LEAST,
            1.0,
            remark=f"every archive read: {all_seconds:.2f} s, {all_seconds / seconds:.1f} times as long",
        ),
        Result(
            "bytes read for it", None, "bytes stored", share, BYTES_AT_MOST, remark=f"{some.read:,} of {some.stored:,}"
        ),
    ]


@contextmanager
def _in_a_bucket(services: Services, work: Path) -> Iterator[Services]:
    """The same year in a bucket of a service on the same machine."""
    server = EmbeddedSeaweedFS(work / "s3-of-a-year")
    server.start()
    try:
        os.environ.update(server.environment)
        client = S3Endpoint(url=server.url, path_style=True).open()
        bucket = S3ObjectStore(client, S3Bucket("bench", prefix="year"))
        bucket.create()
        for info in services.store.list(""):
            bucket.put_bytes(info.key, services.store.get_bytes(info.key))
        yield replace(services, store=bucket)
    finally:
        server.stop()


def _opened(url: str, key: str, store: Path, keyring: Path) -> Services:
    services = ours.open_services(url, key, store)
    update = {
        "audit_archive_encryption": True,
        "audit_archive_keyring_file": keyring,
        "compliance_local_stack": True,
    }
    return replace(
        services,
        settings=services.settings.model_copy(update=update),
        clock=lambda: datetime.now(UTC) + timedelta(days=30),
    )


def _archived(services: Services, owner: sqlalchemy.Engine, numbers: range, days: int) -> None:
    """Fill some days, seal, archive and purge them."""
    present = {number * days // _PRESENT_DAYS for number in range(_PRESENT_DAYS)}
    with owner.begin() as connection:
        for number in numbers:
            day = _FIRST_DAY + timedelta(days=number)
            connection.execute(text("SELECT audit_create_day(:day)"), {"day": day})
            connection.execute(
                _ROWS,
                {
                    "start": f"{day} 00:00:00+00",
                    "number": number,
                    "present": number in present,
                    "person": _PERSON,
                    "entries": _ENTRIES_A_DAY,
                },
            )
    seal(services)
    for number in numbers:
        archive_day(services, _FIRST_DAY + timedelta(days=number))
    for number in numbers:
        purge_day(services, _FIRST_DAY + timedelta(days=number))


def _search(services: Services, days: int, filters: Filters) -> _Searched:
    """Find the person's entries, from the plan to the last one."""
    plans: list[Plan] = []

    def note(plan: Plan) -> bool:
        plans.append(plan)
        return True

    period = Period.of(_FIRST_DAY, _FIRST_DAY + timedelta(days=days - 1))
    started = time.perf_counter()
    with searched(services, period, Wanted(frozenset({_PERSON})), filters=filters, on_plan=note) as found:
        if found is None or found.missing:
            raise RuntimeError(f"the search was not whole: {found}")
        with opened_engine(found.entries, _MEMORY_MB) as engine, engine.entries(limit=None, oldest_first=False) as rows:
            entries = sum(batch.num_rows for batch in rows)
        seconds = time.perf_counter() - started
        return _Searched(seconds, entries, found.object_bytes, plans[0].stored_bytes)


def stream_in_this_process(url: str, key: str, store: str, keyring: str, days: int) -> None:
    """The task whose peak memory is taken: every column of every entry passes by."""
    services = _opened(url, key, Path(store), Path(keyring))
    period = Period.of(_FIRST_DAY, _FIRST_DAY + timedelta(days=days - 1))
    with searched(services, period, Wanted(), on_plan=lambda _: True) as found:
        if found is None:
            raise RuntimeError("nothing was searched")
        with opened_engine(found.entries, _MEMORY_MB) as engine, engine.query("FROM audit_log") as rows:
            count = sum(batch.num_rows for batch in rows)
    services.engine.dispose()
    if count != days * _ENTRIES_A_DAY:
        raise RuntimeError(f"{count:,} entries of {days} days passed by")
