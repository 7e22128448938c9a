"""A plain part in readers that have a decoder of Parquet of their own: fastparquet with pandas, and Spark.

What reads encrypted parts stands in test_encrypted_parts.py. Spark is run where it is installed (`pip install pyspark`,
Debian's openjdk-17-jre-headless): it is 490 MB, and too much for every checkout.
"""

from __future__ import annotations

import importlib.util
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import fastparquet
import pytest

from compliance_pipelines.archive.parquet import PartLabel, PartWriter
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from tests.unit.archive.examples import DAY, batch_of, row

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 300


def entry(number: int) -> dict[str, Any]:
    """With NULLs, with text of more bytes than characters, and with a nonce that ends in zero."""
    values = row(number, nonce=number.to_bytes(2, "little") + b"n" * 12 + number.to_bytes(2, "little"))
    if number % 3 == 0:
        values |= {"resource_id": None, "metadata": None, "user_id": "Zoë 😀"}
    return values


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = batch_of([entry(number) for number in range(1, ROWS + 1)]).to_pylist()
    return found


@pytest.fixture(scope="module")
def part(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts") / "part.parquet"
    with PartWriter(path, PartLabel.of(DAY, 1, b"r" * 32), ROWS) as writer:
        writer.write(batch_of([entry(number) for number in range(1, ROWS + 1)]))
        writer.finish()
    return path


def test_fastparquet_reads_every_column(part: Path, rows: list[dict[str, Any]]) -> None:
    frame = fastparquet.ParquetFile(part).to_pandas()
    assert list(frame.columns) == ENTRY_SCHEMA.names
    for name in ENTRY_SCHEMA.names:
        expected = [each[name] for each in rows]
        found = [None if value is None or value != value else value for value in frame[name].tolist()]  # noqa: PLR0124
        if name in {"timestamp", "created_at"}:
            expected = [value.replace(tzinfo=None) for value in expected]
            found = [value.to_pydatetime() for value in frame[name]]
        elif name == "nonce":
            # numpy's fixed strings of bytes end before their last zeros.
            expected = [value.rstrip(b"\0") for value in expected]
        assert found == expected, name


@pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None, reason="needs pyspark and Java"
)
def test_spark_reads_every_column(part: Path, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    session = importlib.import_module("pyspark.sql").SparkSession
    options = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
    }
    spark = session.builder.master("local[1]").config(map=options).getOrCreate()
    try:
        frame = spark.read.parquet(str(part)).orderBy("id")
        assert frame.columns == ENTRY_SCHEMA.names
        found = [each.asDict() for each in frame.collect()]
    finally:
        spark.stop()

    def plain(value: object) -> object:
        if isinstance(value, bytearray):
            return bytes(value)
        # Spark gives times in the machine's zone, and without it.
        return value.astimezone(UTC) if isinstance(value, datetime) else value

    assert [{name: plain(value) for name, value in each.items()} for each in found] == rows
