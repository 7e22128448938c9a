"""The other ways of doing it, each timed in the same run: PostgreSQL's own COPY, DuckDB's scanner, the requirement's.

Here: the peers. Not here: our own code.
"""

from __future__ import annotations

import gzip
import json
import shutil
import time
from typing import TYPE_CHECKING, Final

import sqlalchemy
from sqlalchemy import text

from benchmarks.data import DAY

if TYPE_CHECKING:
    from pathlib import Path

LEAF: Final = f"audit_logs_{DAY:%Y_%m_%d}"
_BATCH: Final = 1000


def copy_to_nothing(engine: sqlalchemy.Engine) -> None:
    """The floor: PostgreSQL writes the day in its binary format and throws it away."""
    with engine.connect() as connection:
        connection.execute(text(f"COPY {LEAF} TO '/dev/null' (FORMAT binary)"))


def duckdb_to_parquet(conninfo: str, target: Path) -> str | None:
    """DuckDB's scanner to one Parquet file, nothing checked; the reason where it cannot be had, else None."""
    try:
        import duckdb  # noqa: PLC0415 - optional
        import duckdb_extension_postgres_scanner as packaged  # type: ignore[import-untyped]  # noqa: PLC0415 - optional
    except ImportError as error:
        return f"not installed: {error.name}"
    home = target.parent / "duckdb"
    connection = duckdb.connect(config={"extension_directory": str(home), "threads": 2})
    extension = next(_package_directory(packaged).rglob("*.duckdb_extension"))
    connection.execute(f"INSTALL '{extension}'")
    connection.execute("LOAD postgres_scanner")
    quoted = conninfo.replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS hot (TYPE postgres, READ_ONLY)")
    connection.execute(f"COPY (SELECT * FROM hot.public.{LEAF}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    connection.close()
    shutil.rmtree(home, ignore_errors=True)
    return None


def _package_directory(package: object) -> Path:
    from pathlib import Path  # noqa: PLC0415 - only annotations need it elsewhere

    return Path(str(package.__file__)).parent  # type: ignore[attr-defined]


def requirement_way(engine: sqlalchemy.Engine, target: Path, count: int) -> None:
    """A cursor, JSON and gzip, a thousand rows at a time, with the file names made unique so that nothing is lost."""
    target.mkdir(parents=True, exist_ok=True)
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=_BATCH).execute(
            text(f"SELECT * FROM {LEAF} ORDER BY id LIMIT :count"), {"count": count}
        )
        for number, batch in enumerate(rows.mappings().partitions(_BATCH)):
            compressed = gzip.compress(json.dumps([dict(row) for row in batch], default=str).encode())
            (target / f"audit-logs-{DAY}-{number:06d}.json.gz").write_bytes(compressed)
    shutil.rmtree(target)


def prepare_bare_table(engine: sqlalchemy.Engine) -> None:
    """An empty table with the columns and indexes of audit_logs, no partitions and no triggers."""
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS bare_audit_logs"))
        connection.execute(
            text(
                "CREATE TABLE bare_audit_logs (LIKE audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
                " INCLUDING INDEXES)"
            )
        )


def copy_into_bare_table(engine: sqlalchemy.Engine, source: Path) -> None:
    """COPY of rows that are ready in a file, as COPY's text format."""
    raw = engine.raw_connection()
    try:
        with (
            raw.driver_connection.cursor() as cursor,  # type: ignore[union-attr]
            cursor.copy(
                'COPY bare_audit_logs (log_entry_id, "timestamp", user_id, action, resource_type, resource_id,'
                " result, metadata) FROM STDIN"
            ) as copy,
            source.open("rb") as file,
        ):
            while block := file.read(1 << 20):
                copy.write(block)
        raw.commit()
    finally:
        raw.close()


def copy_from_file(engine: sqlalchemy.Engine, source: Path) -> float:
    """The floor of a restore: PostgreSQL reads the same rows, ready in its binary format, from a file of its own.

    Returns:
        seconds, the making of the file not counted.
    """
    with engine.begin() as connection:
        connection.execute(text(f"COPY {LEAF} TO '{source}' (FORMAT binary)"))
        connection.execute(text("DROP TABLE IF EXISTS bare_restored"))
        connection.execute(text("CREATE TABLE bare_restored (LIKE audit_logs)"))
    started = time.perf_counter()
    with engine.begin() as connection:
        connection.execute(text(f"COPY bare_restored FROM '{source}' (FORMAT binary)"))
    return time.perf_counter() - started
