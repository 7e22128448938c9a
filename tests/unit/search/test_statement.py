"""No SQL that a person writes reads a file, reaches the network, or sees anything but the one table."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from compliance_pipelines.archive.parquet import PartLabel, PartWriter
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.search import statement
from compliance_pipelines.search.engine import opened_engine, refuse_wrong_query
from compliance_pipelines.search.errors import QueryFailedError, QueryRefusedError
from compliance_pipelines.search.fetching import StagedFile
from compliance_pipelines.search.period import Period
from compliance_pipelines.search.relation import Entries
from compliance_pipelines.search_filters import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

    from compliance_pipelines.search.engine import Engine

DAY = date(2026, 1, 5)
SECRET = "what stands in a file"
secret_table = pa.table({"secret": [SECRET]})  # what a replacement scan would find by its name


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Over two encrypted entries, one of them blinded."""
    key = DataKey.new()
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    rows = [
        (1, "a", at, "user-1", "read", "thing", "r-1", "success", '{"n": 1}', at, 7, b"n" * 16, None),
        (2, "b", at, None, "read", "thing", None, "success", None, at, 7, None, b"c" * 32),
    ]
    columns = [
        pa.array(list(values), field.type) for values, field in zip(zip(*rows, strict=True), ENTRY_SCHEMA, strict=True)
    ]
    with PartWriter(tmp_path / "a.parquet", PartLabel.of(DAY, 1, b""), 2, key) as writer:
        writer.write(pa.RecordBatch.from_arrays(columns, schema=ENTRY_SCHEMA))
        writer.finish()
    entries = Entries([StagedFile(tmp_path / "a.parquet", DAY, "hot", key)], Period.of(DAY, DAY), Wanted())
    with opened_engine(entries, 64) as opened:
        yield opened


def result(engine: Engine, sql: str) -> list[tuple[object, ...]]:
    with engine.query(sql) as rows:
        return [tuple(row.values()) for row in rows.read_all().to_pylist()]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*), count(user_id) FROM audit_log", [(2, 1)]),
        ("SELECT log_entry_id FROM audit_log WHERE blinded AND user_id IS NULL", [("b",)]),
        ("WITH c AS (SELECT id FROM audit_log) SELECT max(a.id) FROM c AS a JOIN c AS b USING (id);", [(2,)]),
        ("SELECT r FROM audit_log, range(2) AS t(r) WHERE id = 1 ORDER BY r", [(0,), (1,)]),
        ("SELECT metadata->>'$.n' FROM audit_log WHERE id = 1", [("1",)]),
        ("SELECT count(*) FROM (DESCRIBE audit_log)", [(13,)]),
        ("PIVOT (SELECT action, result FROM audit_log) ON result IN ('success') USING count(*)", [("read", 2)]),
        (
            "SELECT current_setting('TimeZone'), \"timestamp\"::VARCHAR FROM audit_log WHERE id = 1",
            [("UTC", "2026-01-05 12:00:00+00")],
        ),
        ("VALUES (1)", [(1,)]),
        ("SELECT current_setting('enable_progress_bar')", [(False,)]),
    ],
)
def test_what_reads_the_table_is_run(engine: Engine, sql: str, rows: list[tuple[object, ...]]) -> None:
    refuse_wrong_query(sql)
    assert result(engine, sql) == rows


ESCAPES = [
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_json_auto('{file}')",
    "SELECT * FROM read_parquet('{file}')",
    "SELECT * FROM parquet_metadata('{file}')",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM '{file}'",
    'SELECT * FROM "{file}"',
    "SELECT (SELECT content FROM read_text('{file}')) FROM audit_log",
    "SELECT * FROM audit_log WHERE EXISTS (FROM read_text('{file}'))",
    "WITH c AS (FROM read_text('{file}')) SELECT * FROM c",
    "WITH c AS MATERIALIZED (FROM '{file}') SELECT * FROM c UNION ALL SELECT * FROM c",
    'SELECT * FROM (WITH "{file}" AS (SELECT 1) SELECT 1), "{file}"',
    "FROM query('FROM read_text(''{file}'')')",
    "FROM query_table('{file}')",
    "FROM query_table(['audit_log', '{file}'])",
    "FROM json_execute_serialized_sql('{{}}')",
    "SUMMARIZE '{file}'",
    "DESCRIBE (FROM read_csv('{file}'))",
    "DESCRIBE '{file}'",
    "COPY audit_log TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.parquet'",
    "EXPORT DATABASE '{folder}/out'",
    "CREATE TABLE t AS FROM '{file}'",
    "CREATE SECRET (TYPE s3)",
    "ATTACH '{folder}/out.db' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "PREPARE p AS SELECT 1",
    "EXPLAIN ANALYZE FROM '{file}'",
    "SELECT 1; FROM read_text('{file}')",
    "SELECT $1",
    "SELECT getenv('HOME')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM system.main.duckdb_settings()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM staged",
    "SELECT * FROM secret_table",
    "SELECT * FROM 'http://127.0.0.1:9/x.csv'",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "",
    "SELEC",
]


@pytest.mark.parametrize("sql", ESCAPES)
def test_what_reaches_for_anything_else_is_refused(engine: Engine, tmp_path: Path, sql: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text(f"{SECRET}\n")
    before = sorted(tmp_path.iterdir())
    written = sql.format(file=file, folder=tmp_path)
    for run in (refuse_wrong_query, lambda text: result(engine, text)):
        with pytest.raises((QueryRefusedError, QueryFailedError)) as refused:
            run(written)
        assert SECRET not in str(refused.value)
        assert "\n" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("sql", ESCAPES)
def test_the_settings_of_the_connection_alone_keep_files_and_network_out(
    engine: Engine, tmp_path: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should something slip through the look at the statement, it finds nothing."""
    file = tmp_path / "secret.csv"
    file.write_text(f"{SECRET}\n")
    before = sorted(tmp_path.iterdir())

    def unchecked(connection: duckdb.DuckDBPyConnection, text: str) -> str:
        return text

    monkeypatch.setattr("compliance_pipelines.search.engine.checked_statement", unchecked)
    try:
        shown = str(result(engine, sql.format(file=file, folder=tmp_path)))
    except (QueryFailedError, AttributeError) as error:
        shown = str(error)
    assert SECRET not in shown
    assert sorted(tmp_path.iterdir()) == before


def test_what_fails_while_rows_stream_is_told_in_one_line(engine: Engine) -> None:
    late = "SELECT CASE WHEN r = 1500000 THEN error('now')::INT ELSE r END AS r FROM range(2000000) AS t(r)"
    with engine.query(late) as rows, pytest.raises(QueryFailedError, match="the query failed: "):
        for _ in rows:
            pass


def test_a_query_is_bounded_in_length_and_in_memory(engine: Engine) -> None:
    with pytest.raises(QueryRefusedError, match="at most 16,384 bytes"):
        refuse_wrong_query("SELECT '" + "x" * statement.MOST_BYTES + "'")
    for deep in ("(" * 5_000 + "1" + ")" * 5_000, "+".join("1" * 5_000), "[" * 5_000 + "]" * 5_000):
        with suppress(QueryRefusedError, QueryFailedError):
            refuse_wrong_query(f"SELECT {deep}")
    with pytest.raises(QueryFailedError, match="raise AUDIT_SEARCH_MEMORY_MB"):
        result(engine, "SELECT a.r FROM range(30000000) AS a(r) ORDER BY hash(a.r)")
