"""Conversation retention: planning and purging, against the saver's own deletion and against the floor.

Here: what lies in Redis, the measured ways, the latency that others see meanwhile. Not here: timing and reporting.

A few conversations are written by the real saver and copied under other ids, document by document, index and all, so
that the layout is the saver's. `python -m benchmarks.conversations --threads 500 --keys 20000` measures on a small
scale.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.connection
import re
import shutil
import statistics
import sys
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr
from redis import Redis
from rich.console import Console

from benchmarks.measure import Result, Stopwatch, peak_memory_mb, show
from compliance_pipelines.audit_log.environment import ensure_environment
from compliance_pipelines.audit_log.migrate import upgrade
from compliance_pipelines.clock import system_clock
from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.environment import bind_environment
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.store import CheckpointStore
from compliance_pipelines.database import create_engine
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from compliance_pipelines.local_stack.redis import EmbeddedRedis
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS: Final = 20_000
KEYS: Final = 1_000_000
CHECKPOINTS: Final = 10

# The limits that the project set itself.
FLOOR_AT_MOST: Final = 2.5
LOOP_AT_LEAST: Final = 4.0
PLAN_SECONDS_AT_MOST: Final = 60.0
PLAN_MB_AT_MOST: Final = 300.0

_FLOOR: Final = "pipelined UNLINK, keys known"
_ORDERED_FLOOR: Final = "pipelined UNLINK, thread by thread"
_LOOP: Final = "loop of RedisSaver.delete_thread"
_OURS: Final = "plan, purge, verify, record"
_THREAD_ID: Final = re.compile(rb"thread-\d+")
_TEMPLATES: Final = 20
_PIPELINE: Final = 2_000
_THREADS_PER_PIPELINE: Final = 50
_QUIET_SECONDS: Final = 3.0
_AGE: Final = timedelta(days=120)


# What lies in Redis


def _write_templates(client: Redis) -> None:
    """A few conversations by the real saver, of about ten checkpoints with two writes each."""
    # Imported here: the process whose memory is measured must not load what production does not need.
    from langgraph.checkpoint.base import empty_checkpoint  # noqa: PLC0415
    from langgraph.checkpoint.redis import RedisSaver  # noqa: PLC0415

    saver = RedisSaver(redis_client=client)
    saver.setup()
    moment = (datetime.now(UTC) - _AGE).isoformat()
    for number in range(_TEMPLATES):
        config: Any = {"configurable": {"thread_id": _template(number), "checkpoint_ns": ""}}
        for step in range(CHECKPOINTS):
            checkpoint = empty_checkpoint()
            checkpoint["ts"] = moment
            checkpoint["channel_values"] = {
                "user_id": f"user:{number}",
                "messages": [{"role": "user", "content": "lorem ipsum " * 15}] * (step // 3 + 1),
            }
            config = saver.put(config, checkpoint, {"source": "loop", "step": step, "parents": {}}, {})
            writes = [("messages", [{"role": "assistant", "content": "dolor sit " * 10}]), ("branch:to:answer", None)]
            saver.put_writes(config, writes, str(uuid.uuid4()))


def _template(number: int) -> str:
    return f"thread-{number:08d}"


def fill(client: Redis, threads: int) -> int:
    """Empty Redis, write conversations, and return the number of their keys."""
    command: Any = client.execute_command
    for index in command("FT._LIST"):
        command("FT.DROPINDEX", index)
    client.flushall()
    _write_templates(client)
    documents = {key: json.dumps(client.json().get(key)).encode() for key in client.scan_iter(_type="ReJSON-RL")}
    strings: dict[bytes, Any] = {key: client.get(key) for key in client.scan_iter(_type="string")}
    sets: dict[bytes, Any] = {key: client.zrange(key, 0, -1, withscores=True) for key in client.scan_iter(_type="zset")}
    pipeline: Any = client.pipeline(transaction=False)
    waiting = 0
    for number in range(_TEMPLATES, threads):
        old, new = _template(number % _TEMPLATES).encode(), _template(number).encode()
        for key, text in documents.items():
            if old in key:
                pipeline.execute_command("JSON.SET", key.replace(old, new), "$", text.replace(old, new))
        for key, value in strings.items():
            if old in key:
                pipeline.set(key.replace(old, new), value.replace(old, new))
        for key, members in sets.items():
            if old in key:
                pipeline.zadd(key.replace(old, new), {member.replace(old, new): score for member, score in members})
        waiting += 1
        if waiting == _THREADS_PER_PIPELINE:
            pipeline.execute()
            waiting = 0
    pipeline.execute()
    return int(client.dbsize())


# The measured ways


def delete_in_a_loop(client: Redis, threads: int) -> int:
    """The saver's own deletion, thread by thread; returns the keys that it leaves."""
    from langgraph.checkpoint.redis import RedisSaver  # noqa: PLC0415

    saver = RedisSaver(redis_client=client)
    for number in range(threads):
        saver.delete_thread(_template(number))
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
def _retention(database_url: str, redis_url: str, signing_key: str, work: Path) -> Iterator[Retention]:
    settings = Settings(
        _env_file=None,
        audit_log_database_url=SecretStr(database_url),
        audit_cold_storage_provider="local",
        audit_cold_storage_path=work,
        checkpoint_redis_url=SecretStr(redis_url),
        conversation_purge_max_threads=10**9,
        conversation_purge_max_share=1.0,
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
        threads: conversations that are planned and purged.
        keys: keys over which a plan is made.
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
                *_compare(console, client, url, threads, arguments),
                *_large_plan(console, client, keys, arguments),
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
        remaining = int(client.dbsize()) - 1  # the environment's key stays
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
            "GET of a second client, p99",
            remark=f"{_p99_ms(busy):.2f} ms during the purge, {_p99_ms(quiet):.2f} ms without; "
            f"longest {max(busy) * 1000:.1f} and {max(quiet) * 1000:.1f} ms",
        ),
    ]


def _large_plan(console: Console, client: Redis, keys: int, arguments: tuple[str, str, str, str]) -> list[Result]:
    per_thread = fill(client, _TEMPLATES) / _TEMPLATES
    console.print(f"writing {keys:,} keys")
    total = fill(client, int(keys / per_thread) + 1)
    watch = Stopwatch()
    with _retention(arguments[0], arguments[1], arguments[2], Path(arguments[3])) as retention, watch.lap("plan"):
        retention.plan()
    peak = peak_memory_mb(plan_in_this_process, *arguments)
    seconds = watch.median("plan")
    limits = [
        f"above {PLAN_SECONDS_AT_MOST:g} s" if seconds > PLAN_SECONDS_AT_MOST else "",
        f"above {PLAN_MB_AT_MOST:g} MB" if peak > PLAN_MB_AT_MOST else "",
    ]
    return [Result(f"plan over {total:,} keys", seconds, peak_mb=peak, remark="; ".join(filter(None, limits)))]


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
