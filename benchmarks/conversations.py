"""Conversation retention: planning and purging, against the saver's own deletion and against the floor.

Here: the measured ways, the latency that others see meanwhile. Not here: what lies in Redis (conversation_keys.py),
timing and reporting.

`python -m benchmarks.conversations --threads 500 --keys 20000` measures on a small scale; `--threads 0` the plan alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import multiprocessing.connection
import os
import re
import shutil
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr
from redis import Redis
from rich.console import Console

from benchmarks.conversation_keys import TEMPLATES, fill, steady_state, thread_id
from benchmarks.measure import Result, Stopwatch, peak_memory_mb, show
from compliance_pipelines.audit_log.environment import ensure_environment
from compliance_pipelines.audit_log.migrate import upgrade
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY, bind_environment
from compliance_pipelines.conversations.place import STORE_KEY
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.store import CheckpointStore
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from compliance_pipelines.local_stack.redis import EmbeddedRedis
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS: Final = 20_000
KEYS: Final = 1_000_000

# The limits that the project set itself.
FLOOR_AT_MOST: Final = 2.5
LOOP_AT_LEAST: Final = 4.0
PLAN_MB_AT_MOST: Final = 300.0
# Of a bare SCAN of the same keys, in a Redis where one conversation in a hundred is due.
PLAN_AT_MOST: Final = 2.0
# Of what a second client's GET takes when nothing else is done, at the 99th percentile.
LATENCY_AT_MOST: Final = 3.0

_FLOOR: Final = "pipelined UNLINK, keys known"
_ORDERED_FLOOR: Final = "pipelined UNLINK, thread by thread"
_LOOP: Final = "loop of RedisSaver.delete_thread"
_OURS: Final = "plan, purge, verify, record"
_THREAD_ID: Final = re.compile(rb"thread-\d+")
_PIPELINE: Final = 2_000
_QUIET_SECONDS: Final = 3.0
_ROUNDS: Final = 5
_COUNT: Final = 1_000
_PACES: Final = (0.5, 0.25)
_SCAN: Final = "bare SCAN"


# The measured ways


def delete_in_a_loop(client: Redis, threads: int) -> int:
    """The saver's own deletion, thread by thread; returns the keys that it leaves."""
    from langgraph.checkpoint.redis import RedisSaver  # noqa: PLC0415

    saver = RedisSaver(redis_client=client)
    for number in range(threads):
        saver.delete_thread(thread_id(number))
    return int(client.dbsize())


def unlink_known_keys(client: Redis, keys: list[bytes]) -> None:
    """One UNLINK a key, pipelined."""
    pipeline = client.pipeline(transaction=False)
    for start in range(0, len(keys), _PIPELINE):
        for key in keys[start : start + _PIPELINE]:
            pipeline.unlink(key)
        pipeline.execute()


def known_keys(client: Redis, *, thread_by_thread: bool = False) -> list[bytes]:
    """Every key, in the order in which SCAN gives them or with those of a thread together."""
    keys = list(client.scan_iter(count=10_000))
    if thread_by_thread:
        keys.sort(key=lambda key: found.group() if (found := _THREAD_ID.search(key)) else b"")
    return keys


def processor_seconds(client: Redis) -> float:
    """The processor time that the server has taken since its start, its own threads included."""
    used: dict[str, Any] = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


@contextmanager
def _retention(
    database_url: str, redis_url: str, signing_key: str, work: Path, *, pace: float = 1.0
) -> Iterator[Retention]:
    settings = Settings(
        _env_file=None,
        audit_log_database_url=SecretStr(database_url),
        audit_cold_storage_provider="local",
        audit_cold_storage_path=work,
        checkpoint_redis_url=SecretStr(redis_url),
        conversation_purge_max_threads=10**9,
        conversation_purge_max_share=1.0,
        conversation_pace=pace,
        # A wait in which nothing is done would make others' latency look better, and the ratios worse.
        conversation_purge_pause_seconds=0,
    )
    engine = create_engine(database_url, pool_size=3)
    key = SigningKey.from_note_string(signing_key)
    services = Services(settings, engine, LocalObjectStore(work), Keyring.of(key), system_clock)
    store = CheckpointStore(connect_url(redis_url))
    try:
        yield Retention(services, store)
    finally:
        store.close()
        engine.dispose()


def _bind(retention: Retention) -> None:
    """Say in the emptied Redis that it is the database's."""
    with retention.services.engine.begin() as connection:
        environment = ensure_environment(connection)
    bind_environment(retention.store.client, environment, setting="CHECKPOINT_REDIS_URL")


def plan_in_this_process(database_url: str, redis_url: str, signing_key: str, work: str) -> None:
    """The task whose peak memory is taken."""
    with _retention(database_url, redis_url, signing_key, Path(work)) as retention:
        retention.plan()


# What others see meanwhile


def _get_in_this_process(url: str, sending: multiprocessing.connection.Connection) -> None:
    """Ask for one key until told to stop, and send the seconds of each answer."""
    latencies: list[float] = []
    if hasattr(os, "sched_setaffinity"):
        # A core of its own, as far as there is one: what is measured is the server, not who gets which core.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        if os.sched_getscheduler(0) == os.SCHED_FIFO:
            # `chrt --fifo` keeps other work off the cores; then who wakes up must be let in, as it is without.
            os.sched_setparam(0, os.sched_param(os.sched_getparam(0).sched_priority + 1))
    with Redis.from_url(url) as client:
        client.get("benchmark:key")
        sending.send(None)
        while not sending.poll():
            started = time.perf_counter()
            client.get("benchmark:key")
            latencies.append(time.perf_counter() - started)
            time.sleep(0.001)
    sending.send(latencies)


def latencies_during(url: str, work: Callable[[], object]) -> list[float]:
    """Seconds of each GET of a second client while some work is done."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_get_in_this_process, args=(url, theirs))
    process.start()
    ours.recv()
    work()
    ours.send(None)
    latencies: list[float] = ours.recv()
    process.join()
    return latencies


def _p99_ms(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=100)[98] * 1000


# The whole


def measure(
    console: Console, server: EmbeddedPostgres, work: Path, *, threads: int = THREADS, keys: int = KEYS
) -> list[Result]:
    """Every measurement, on a Redis of its own.

    Args:
        console: for progress.
        server: a running PostgreSQL, in which a database is made.
        work: directory for the servers' files.
        threads: conversations that are planned and purged; 0: none.
        keys: keys over which a plan is made; 0: none.
    """
    redis_server = EmbeddedRedis(work / "redis")
    redis_server.start()
    url = redis_server.url()
    try:
        server.drop_database("bench_conversations")
        server.create_database("bench_conversations")
        database_url = server.url("bench_conversations")
        upgrade(database_url)
        key = SigningKey.generate("bench.example/conversations").to_note_string()
        with Redis.from_url(url) as client:
            arguments = (database_url, url, key, str(work / "cold"))
            return [
                *(_compare(console, client, url, threads, arguments) if threads else []),
                *(_large_plan(console, client, keys, arguments) if keys else []),
            ]
    finally:
        redis_server.stop()
        shutil.rmtree(work / "redis", ignore_errors=True)


def _compare(
    console: Console, client: Redis, url: str, threads: int, arguments: tuple[str, str, str, str]
) -> list[Result]:
    watch = Stopwatch()
    server_seconds: dict[str, float] = {}

    @contextmanager
    def lap(name: str) -> Iterator[None]:
        before = processor_seconds(client)
        with watch.lap(name):
            yield
        server_seconds[name] = processor_seconds(client) - before

    def remark(name: str, text: str) -> str:
        return f"{text}; {server_seconds[name]:.1f} s of the server's own"

    console.print(f"writing {threads:,} conversations, five times")
    total = fill(client, threads)
    known = known_keys(client)
    with lap(_FLOOR):
        unlink_known_keys(client, known)
    fill(client, threads)
    known = known_keys(client, thread_by_thread=True)
    with lap(_ORDERED_FLOOR):
        unlink_known_keys(client, known)
    del known
    fill(client, threads)
    with lap(_LOOP):
        left = delete_in_a_loop(client, threads)
    fill(client, threads)
    with _retention(arguments[0], arguments[1], arguments[2], Path(arguments[3])) as retention:
        _bind(retention)
        with lap(_OURS):
            retention.purge()
        remaining = int(client.dbsize()) - client.exists(ENVIRONMENT_KEY, STORE_KEY)
        # Once more, for the second client would take a core from the measured purge.
        fill(client, threads)
        _bind(retention)
        busy = latencies_during(url, retention.purge)
    quiet = latencies_during(url, lambda: time.sleep(_QUIET_SECONDS))
    floor, ours, loop = watch.median(_FLOOR), watch.median(_OURS), watch.median(_LOOP)
    ordered = watch.median(_ORDERED_FLOOR)
    faster = loop / ours
    missed = "" if faster >= LOOP_AT_LEAST else f", missed: at least {LOOP_AT_LEAST:g}"
    return [
        Result(_FLOOR, floor, _FLOOR, 1.0, remark=remark(_FLOOR, f"{total:,} keys of {threads:,} threads")),
        Result(_ORDERED_FLOOR, ordered, _FLOOR, ordered / floor, remark=remark(_ORDERED_FLOOR, "the same keys")),
        Result(_OURS, ours, _FLOOR, ours / floor, FLOOR_AT_MOST, remark=remark(_OURS, f"{remaining} keys left")),
        Result(
            _LOOP,
            loop,
            _FLOOR,
            loop / floor,
            remark=remark(_LOOP, f"{left:,} keys left; ours is {faster:.1f} times as fast{missed}"),
        ),
        Result(
            "GET of a second client, p99, during the purge",
            peer="nothing else is done",
            ratio=_p99_ms(busy) / _p99_ms(quiet),
            at_most=LATENCY_AT_MOST,
            remark=f"{_p99_ms(busy):.2f} ms, {_p99_ms(quiet):.2f} ms without; "
            f"longest {max(busy) * 1000:.1f} and {max(quiet) * 1000:.1f} ms",
        ),
    ]


def scan_all(client: Redis) -> int:
    """Nothing but the names of all keys; returns how many there are."""
    command: Any = client.scan
    cursor, keys = command(0, count=_COUNT)
    found = len(keys)
    while cursor:
        cursor, keys = command(cursor, count=_COUNT)
        found += len(keys)
    return found


def _large_plan(console: Console, client: Redis, keys: int, arguments: tuple[str, str, str, str]) -> list[Result]:
    per_thread = fill(client, TEMPLATES) / TEMPLATES
    console.print(f"writing {keys:,} keys")
    threads = int(keys / per_thread) + 1
    total = fill(client, threads, steady_state(threads))
    database_url, redis_url, signing_key, work = arguments
    watch = Stopwatch()
    ratios: list[float] = []
    with _retention(database_url, redis_url, signing_key, Path(work)) as retention:
        for _ in range(_ROUNDS):
            with watch.lap(_SCAN):
                scan_all(client)
            with watch.lap("plan"):
                plan = retention.plan()
            ratios.append(watch.laps["plan"][-1] / watch.laps[_SCAN][-1])
        latency = _latency_of_others(redis_url, f"a plan over {total:,} keys", retention.plan)
    peak = peak_memory_mb(plan_in_this_process, *arguments)
    scan = watch.median(_SCAN)
    results = [
        Result(f"{_SCAN} of {total:,} keys", scan, _SCAN, 1.0, remark=f"COUNT {_COUNT}"),
        Result(
            f"plan over {total:,} keys",
            watch.median("plan"),
            _SCAN,
            statistics.median(ratios),
            PLAN_AT_MOST,
            peak_mb=peak,
            remark=f"{len(plan.due)} of {plan.survey.threads_seen:,} threads due"
            + (f"; above {PLAN_MB_AT_MOST:g} MB" if peak > PLAN_MB_AT_MOST else ""),
        ),
        latency,
    ]
    for pace in _PACES:
        with (
            _retention(database_url, redis_url, signing_key, Path(work), pace=pace) as retention,
            watch.lap(f"pace {pace}"),
        ):
            retention.plan()
        seconds = watch.median(f"pace {pace}")
        results.append(Result(f"the same plan, CONVERSATION_PACE={pace}", seconds, _SCAN, seconds / scan))
    return results


def _latency_of_others(url: str, what: str, work: Callable[[], object]) -> Result:
    """A second client's GET while something is done, and without, by turns."""
    busy: list[float] = []
    quiet: list[float] = []
    for _ in range(_ROUNDS):
        quiet += latencies_during(url, lambda: time.sleep(_QUIET_SECONDS))
        busy += latencies_during(url, work)
    return Result(
        f"GET of a second client, p99, during {what}",
        peer="nothing else is done",
        ratio=_p99_ms(busy) / _p99_ms(quiet),
        at_most=LATENCY_AT_MOST,
        remark=f"{_p99_ms(busy):.2f} and {_p99_ms(quiet):.2f} ms; median {statistics.median(busy) * 1000:.2f} and "
        f"{statistics.median(quiet) * 1000:.2f} ms; longest {max(busy) * 1000:.1f} and {max(quiet) * 1000:.1f} ms",
    )


def main() -> int:
    """Measure this alone, on servers of its own, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversations", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".local"), help="directory for the servers")
    parser.add_argument("--threads", type=int, default=THREADS, help="conversations to purge")
    parser.add_argument("--keys", type=int, default=KEYS, help="keys to plan over")
    options = parser.parse_args()
    work = options.state.resolve() / "bench-conversations"
    server = EmbeddedPostgres(work / "postgres")
    server.start()
    try:
        results = measure(Console(), server, work, threads=options.threads, keys=options.keys)
    finally:
        server.stop()
        shutil.rmtree(work, ignore_errors=True)
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
