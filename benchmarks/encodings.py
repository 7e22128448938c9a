"""What it costs that strings in a part are plain, which every reader of Parquet knows: size, writing and reading.

Here: the same rows in both encodings, by turns. Not here: how a part is written. It needs no server.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Result, Stopwatch, show
from compliance_pipelines.archive.parquet import ROW_GROUP_ROWS, writer_options
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRIES: Final = 1_000_000
ROUNDS: Final = 5
_STRINGS: Final = ("log_entry_id", "resource_id", "metadata")
_ACTIONS: Final = ("conversation.read", "message.send", "tool.invoke", "authorization.check")
_TYPES: Final = ("conversation", "message", "tool", "conversation")
_BEGIN: Final = datetime(2025, 10, 1, tzinfo=UTC)
PLAIN: Final = "plain"
APART: Final = "lengths apart (DELTA_LENGTH_BYTE_ARRAY)"


def _rows(count: int) -> Iterator[tuple[Any, ...]]:
    """The entries of benchmarks/data.py, in the order of ENTRY_SCHEMA."""
    # The same bytes in each run, so that two runs compare.
    chance = random.Random(1)  # noqa: S311
    for n in range(1, count + 1):
        metadata = {
            "request_id": _hexadecimal(n * 31),
            "client_ip": f"192.0.2.{n % 250}",
            "latency_ms": n % 2500,
            "input_tokens": n % 4000,
            "output_tokens": n % 1200,
        }
        yield (
            n,
            str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            _BEGIN + timedelta(milliseconds=n % 86_400_000),
            f"user-{n * 7919 % 5000:05d}",
            _ACTIONS[n % 4],
            _TYPES[n % 4],
            f"resource-{_hexadecimal(n)}",
            "success" if n % 20 else "failure",
            json.dumps(metadata),
            _BEGIN + timedelta(days=1, milliseconds=n // 1000),
            1000 + n // 1000,
            chance.randbytes(16),
            None,
        )


def _hexadecimal(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def measure(entries: int, rounds: int = ROUNDS) -> list[Result]:
    """Write and read the rows of a day in each encoding.

    Args:
        entries: of the day.
        rounds: of which the median is taken.
    """
    columns = zip(*_rows(entries), strict=True)
    arrays = [pa.array(values, field.type) for field, values in zip(ENTRY_SCHEMA, columns, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=ENTRY_SCHEMA)
    plain = writer_options(entries, None)
    apart = dict.fromkeys(_STRINGS, "DELTA_LENGTH_BYTE_ARRAY")
    ways = {PLAIN: plain, APART: {**plain, "column_encoding": {**plain["column_encoding"], **apart}}}
    watch, sizes = Stopwatch(), {}
    for _ in range(rounds):
        for name, options in ways.items():
            buffer = io.BytesIO()
            started = time.perf_counter()
            with pq.ParquetWriter(buffer, ENTRY_SCHEMA, **options) as writer:
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
            watch.record(f"write {name}", time.perf_counter() - started)
            sizes[name] = buffer.tell()
            buffer.seek(0)
            started = time.perf_counter()
            pq.read_table(buffer, use_threads=False)
            watch.record(f"read {name}", time.perf_counter() - started)
    results = []
    for verb in ("write", "read"):
        seconds, other = watch.median(f"{verb} {PLAIN}"), watch.median(f"{verb} {APART}")
        remark = f"{seconds:.3f} and {other:.3f} s"
        results.append(
            Result(f"{verb} {entries:,} entries, {PLAIN}", seconds, APART, seconds / other, None, remark=remark)
        )
    remark = f"{sizes[PLAIN]:,} and {sizes[APART]:,} bytes"
    ratio = sizes[PLAIN] / sizes[APART]
    results.append(Result(f"size of {entries:,} entries, {PLAIN}", None, APART, ratio, None, remark=remark))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encodings", description=__doc__)
    parser.add_argument("--entries", type=int, default=ENTRIES, help="entries of the day")
    show(measure(parser.parse_args().entries))
