"""`make bench`: every measurement in one run, on a PostgreSQL of its own.

Here: the order of the measurements and their limits. Not here: the measured code.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from benchmarks import buckets, conversations, data, growth, ledgers, ours, partitions, peers, search
from benchmarks.measure import Result, Stopwatch, peak_memory_mb, save, show
from compliance_pipelines.audit_log.migrate import upgrade
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from compliance_pipelines.postgres.engine import create_engine, read_conninfo

if TYPE_CHECKING:
    import sqlalchemy

ROUNDS: Final = 3
ENTRIES: Final = 2_000_000
MANY_ENTRIES: Final = 8_000_000
REQUIREMENT_SHARE: Final = 10

# The limits that the project set itself, as multiples of the floor, and for memory in MB.
COMMITTED_AT_MOST: Final = 1.6
VERIFIED_AT_MOST: Final = 2.2
SEALING_AT_MOST: Final = 1.4
SIZE_AT_MOST: Final = 1.0
APPEND_AT_MOST: Final = 2.5
RESTORE_AT_MOST: Final = 2.0
PEAK_MB_AT_MOST: Final = 600.0

FLOOR: Final = "COPY binary to /dev/null"
RESTORE_FLOOR: Final = "COPY binary from a file"


@dataclass(frozen=True)
class _Scale:
    """How large the measurement is: entries of the day, of the second memory measurement, and repetitions."""

    entries: int
    many: int
    rounds: int


def main() -> int:
    """Measure, print, save.

    Returns:
        0; a missed limit is shown in the table and is no failure of the run.
    """
    options = _options()
    work = options.state.resolve() / "bench"
    shutil.rmtree(work / "cold", ignore_errors=True)
    server = EmbeddedPostgres(work / "postgres")
    server.start()
    try:
        results = []
        if options.entries:
            results += _measure(Console(), server, work, _Scale(options.entries, options.many, options.rounds))
        if options.partition_entries:
            url = _new_database(server, "bench_partitions")
            results += partitions.measure(Console(), url, work, entries=options.partition_entries)
            server.drop_database("bench_partitions")
        if options.bucket_entries:
            url = _new_database(server, "bench_bucket")
            results += buckets.measure(Console(), url, work, entries=options.bucket_entries)
            server.drop_database("bench_bucket")
        if options.threads:
            results += conversations.measure(Console(), server, work, threads=options.threads, keys=options.keys)
        if options.ledger_segments:
            results += ledgers.measure(Console(), work, options.ledger_segments)
        if options.ledger_segments and options.online_segments:
            new_database = partial(_new_database, server)
            results += ledgers.measure_online(Console(), new_database, work, segments=options.online_segments)
            server.drop_database("bench_ledger")
        if options.search_days:
            url = _new_database(server, "bench_search")
            results += search.measure(Console(), url, work, days=options.search_days)
            server.drop_database("bench_search")
        if options.growth_passes:
            new_database = partial(_new_database, server)
            results += growth.measure(Console(), new_database, work, passes=options.growth_passes)
    finally:
        server.stop()
        shutil.rmtree(work, ignore_errors=True)
    show(results)
    save(results, options.state / "bench.json")
    return 0


def _options() -> argparse.Namespace:
    """What is measured, and how large."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".local"), help="directory for the figures and the servers")
    parser.add_argument("--entries", type=int, default=ENTRIES, help="entries of the measured day; 0: none")
    parser.add_argument("--many", type=int, default=MANY_ENTRIES, help="entries of the second memory measurement")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="repetitions, of which the median is taken")
    parser.add_argument("--threads", type=int, default=conversations.THREADS, help="conversations to purge; 0: none")
    parser.add_argument("--keys", type=int, default=conversations.KEYS, help="keys to plan over")
    parser.add_argument(
        "--partition-entries",
        type=int,
        default=partitions.ENTRIES,
        help="entries of the day that is purged from a default partition while others append; 0: none",
    )
    parser.add_argument(
        "--bucket-entries",
        type=int,
        default=buckets.ENTRIES,
        help="entries of the day that is archived into a bucket, encrypted; 0: none",
    )
    parser.add_argument(
        "--ledger-segments", type=int, default=ledgers.SEGMENTS, help="segments of the ledger of ten years; 0: none"
    )
    parser.add_argument(
        "--online-segments",
        type=int,
        default=ledgers.ONLINE_SEGMENTS,
        help="segments of a ledger that is verified with the rows of its database; 0, or no ledger of ten years: none",
    )
    parser.add_argument(
        "--growth-passes", type=int, default=growth.PASSES, help="sealing passes of each day of history; 0: none"
    )
    parser.add_argument(
        "--search-days", type=int, default=search.DAYS, help="archived days that are searched for one person; 0: none"
    )
    return parser.parse_args()


def _new_database(server: EmbeddedPostgres, name: str) -> str:
    server.drop_database(name)
    server.create_database(name)
    url = server.url(name)
    upgrade(url)
    return url


def _measure(console: Console, server: EmbeddedPostgres, work: Path, scale: _Scale) -> list[Result]:
    entries, many, rounds = scale.entries, scale.many, scale.rounds
    watch = Stopwatch()
    key = SigningKey.generate("bench.example/audit").to_note_string()
    url = _new_database(server, "bench")
    engine = create_engine(url, pool_size=2)
    console.print(f"making {entries:,} entries")
    data.fill(engine, entries)
    console.print(f"{data.average_entry_bytes(engine):.0f} bytes an entry as text")
    services = ours.open_services(url, key, work / "cold")
    duckdb_reason = None
    for number in range(rounds):
        console.print(f"round {number + 1} of {rounds}")
        with watch.lap(FLOOR):
            peers.copy_to_nothing(engine)
        with watch.lap("DuckDB"):
            duckdb_reason = peers.duckdb_to_parquet(read_conninfo(url).for_libpq(), work / "duckdb.parquet")
        with watch.lap("requirement"):
            peers.requirement_way(engine, work / "json", entries // REQUIREMENT_SHARE)
        ours.time_sealing(services, watch)
        ours.time_archiving(services, watch)
        watch.record(RESTORE_FLOOR, peers.copy_from_file(engine, server.data_dir / "rows.copy"))
        ours.time_restoring(services, watch)
    size = _size(work, duckdb_reason)
    services.engine.dispose()
    console.print("peak memory")
    ours.forget(services, *ours.ARCHIVE_TABLES)
    ours.remove_archives(services)
    services.engine.dispose()
    peaks = _peaks(url, key, work / "cold", entries)
    engine.dispose()
    append = _measure_append(console, server, work, entries, rounds)
    peaks += _measure_many(console, server, work, key, many)
    return [
        *_ratios(watch, duckdb_reason, entries),
        size,
        *_restore_ratios(watch, entries),
        *append,
        *peaks,
    ]


def _size(work: Path, duckdb_reason: str | None) -> Result:
    """The archive's size against that of the same rows, columns and compression as DuckDB writes them."""
    name, peer = "size of the archive", "DuckDB's Parquet, zstd"
    if duckdb_reason is not None:
        return Result(name, remark=duckdb_reason)
    ours_bytes = sum(path.stat().st_size for path in (work / "cold/audit-archives").rglob("*.parquet"))
    theirs = (work / "duckdb.parquet").stat().st_size
    remark = f"{ours_bytes:,} and {theirs:,} bytes"
    return Result(name, None, peer, ours_bytes / theirs, SIZE_AT_MOST, remark=remark)


def _measure_append(console: Console, server: EmbeddedPostgres, work: Path, entries: int, rounds: int) -> list[Result]:
    watch = Stopwatch()
    rows = work / "rows.copy"
    for number in range(rounds):
        console.print(f"append, round {number + 1} of {rounds}")
        url = _new_database(server, "bench_append")
        engine = create_engine(url, pool_size=1)
        data.make_day(engine)
        ours.time_append(url, entries, watch)
        if not rows.exists():
            _write_rows(engine, rows)
        peers.prepare_bare_table(engine)
        with watch.lap("bare"):
            peers.copy_into_bare_table(engine, rows)
        engine.dispose()
    server.drop_database("bench_append")
    floor, measured = watch.median("bare"), watch.median("append_many")
    peer = "COPY into a bare table"
    return [
        Result(peer, floor, peer, 1.0),
        Result("append_many", measured, peer, measured / floor, APPEND_AT_MOST),
    ]


def _write_rows(engine: sqlalchemy.Engine, target: Path) -> None:
    raw = engine.raw_connection()
    try:
        with (
            raw.driver_connection.cursor() as cursor,  # type: ignore[union-attr]
            cursor.copy(
                'COPY (SELECT log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata'
                " FROM audit_logs ORDER BY id) TO STDOUT"
            ) as copy,
            target.open("wb") as file,
        ):
            for block in copy:
                file.write(block)
    finally:
        raw.close()


def _peaks(url: str, key: str, store: Path, count: int) -> list[Result]:
    """Peak memory of archiving and of restoring, in a process of its own each."""
    tasks = (("archiving", ours.archive_in_this_process), ("restoring", ours.restore_in_this_process))
    results = []
    for name, task in tasks:
        peak = peak_memory_mb(task, url, key, str(store))
        remark = "" if peak <= PEAK_MB_AT_MOST else f"above {PEAK_MB_AT_MOST:.0f} MB"
        results.append(Result(f"peak memory of {name} {count:,}", peak_mb=peak, remark=remark))
    return results


def _measure_many(console: Console, server: EmbeddedPostgres, work: Path, key: str, many: int) -> list[Result]:
    console.print(f"making {many:,} entries")
    server.drop_database("bench")
    url = _new_database(server, "bench_many")
    engine = create_engine(url, pool_size=1)
    data.fill(engine, many)
    engine.dispose()
    process = multiprocessing.get_context("spawn").Process(
        target=ours.seal_in_this_process, args=(url, key, str(work / "many"))
    )
    process.start()
    process.join()
    return _peaks(url, key, work / "many", many)


def _ratios(watch: Stopwatch, duckdb_reason: str | None, entries: int) -> list[Result]:
    floor = watch.median(FLOOR)
    requirement = watch.median("requirement") * REQUIREMENT_SHARE
    results = [Result(FLOOR, floor, FLOOR, 1.0, remark=f"{entries:,} entries")]
    if duckdb_reason is None:
        seconds = watch.median("DuckDB")
        results.append(Result("DuckDB scanner to Parquet", seconds, FLOOR, seconds / floor, remark="nothing checked"))
    else:
        results.append(Result("DuckDB scanner to Parquet", remark=duckdb_reason))
    results.append(
        Result(
            "the requirement's way",
            requirement,
            FLOOR,
            requirement / floor,
            remark=f"measured on {entries // REQUIREMENT_SHARE:,}, scaled",
        )
    )
    for name, limit in (
        ("archive, committed", COMMITTED_AT_MOST),
        ("archive, verified", VERIFIED_AT_MOST),
        ("seal", SEALING_AT_MOST),
    ):
        seconds = watch.median(name)
        results.append(Result(name, seconds, FLOOR, seconds / floor, limit))
    return results


def _restore_ratios(watch: Stopwatch, entries: int) -> list[Result]:
    floor, seconds = watch.median(RESTORE_FLOOR), watch.median("restore")
    rate = f"{entries / seconds:,.0f} entries a second"
    return [
        Result(RESTORE_FLOOR, floor, RESTORE_FLOOR, 1.0),
        Result("restore", seconds, RESTORE_FLOOR, seconds / floor, RESTORE_AT_MOST, remark=rate),
    ]


if __name__ == "__main__":
    sys.exit(main())
