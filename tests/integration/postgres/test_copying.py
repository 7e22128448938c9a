"""What is copied is what stands in the table, read with the query that the ledger's hashes are made from."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any

import psycopg.errors
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.audit_log.reading import open_snapshot
from compliance_pipelines.ledger.hashing import SegmentHasher
from compliance_pipelines.postgres.copying import CopyTarget, copy_in
from tests.unit.archive.examples import ANY_ROW, batch_of, row, segment

if TYPE_CHECKING:
    import sqlalchemy

_TARGET = CopyTarget(("audit_restored", "copied"), ENTRY_SCHEMA, frozenset({"metadata"}))
_EVERY_TYPE = CopyTarget(
    ("audit_restored", "every_type"),
    pa.schema(
        {
            "large": pa.int64(),
            "small": pa.int32(),
            "moment": pa.timestamp("us", tz="UTC"),
            "label": pa.string(),
            "raw": pa.binary(),
            "labels": pa.list_(pa.string()),
            "document": pa.string(),
        }
    ),
    frozenset({"document"}),
)
_CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_CHARACTERS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(_CHARACTERS, max_size=5), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def copied(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """The database with an empty table of the hot store's columns."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE audit_restored.copied (LIKE public.audit_logs)"))
    return engine


def as_jsonb_prints(connection: sqlalchemy.Connection, values: list[str]) -> list[str]:
    found = connection.execute(
        text(
            "SELECT CAST(value AS jsonb)::text FROM unnest(CAST(:values AS text[])) WITH ORDINALITY AS v(value, n)"
            " ORDER BY n"
        ),
        {"values": values},
    )
    return list(found.scalars())


def there_and_back(engine: sqlalchemy.Engine, rows: list[dict[str, Any]]) -> None:
    """Copy rows and compare what stands then, and the hashes of it, with what was sent."""
    with engine.begin() as connection:
        with_metadata = [each for each in rows if each["metadata"] is not None]
        printed = as_jsonb_prints(connection, [each["metadata"] for each in with_metadata])
        for each, metadata in zip(with_metadata, printed, strict=True):
            each["metadata"] = metadata
        batch = batch_of(sorted(rows, key=lambda each: each["id"]))
        connection.execute(text("TRUNCATE audit_restored.copied"))
        assert copy_in(connection, _TARGET, [batch]) == len(rows)
    with open_snapshot(engine) as snapshot, snapshot.rows(day=None, table=("audit_restored", "copied")) as batches:
        found = pa.Table.from_batches(batches, ENTRY_SCHEMA)
    assert found.to_pylist() == batch.to_pylist()
    assert root(found.to_batches()) == root([batch])


def root(batches: list[pa.RecordBatch]) -> bytes:
    hasher = SegmentHasher([segment(0)])
    for batch in batches:
        hasher.feed(batch)
    return hasher.result(0).root


@given(
    st.lists(
        st.builds(
            lambda values, metadata: {**values, "metadata": metadata, "tx_id": 1005},
            ANY_ROW,
            st.none() | _JSON.map(json.dumps) | _JSON.map(lambda value: json.dumps(value, ensure_ascii=False)),
        ),
        max_size=8,
        unique_by=lambda each: each["id"],
    )
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_any_json_and_any_time_stands_as_it_was_sent(
    copied: sqlalchemy.Engine, rows: list[dict[str, Any]]
) -> None:
    there_and_back(copied, rows)


def test_what_misleads_text_formats_stands_as_it_was_sent(copied: sqlalchemy.Engine) -> None:
    texts = ["", "\\N", "\\.", "\\", '"', '""', ",", "\r", "\n", "\r\n", "\t", "\u2028\u2029\x85\x01\x7f", "NULL", "😀"]
    rows = [row(number, user_id=each, resource_id=each, metadata=json.dumps(each)) for number, each in enumerate(texts)]
    there_and_back(copied, [{**each, "tx_id": 1005} for each in rows])


def test_values_of_a_mebibyte_stand_as_they_were_sent(copied: sqlalchemy.Engine) -> None:
    large = "ä\\\n" * 2**18
    rows = [row(1, resource_id=large), row(2, metadata=json.dumps({"text": large})), row(3, result=large)]
    there_and_back(copied, [{**each, "tx_id": 1005} for each in rows])


def test_what_postgresql_refuses_is_an_error_and_leaves_nothing(copied: sqlalchemy.Engine) -> None:
    for bad, error in (
        ({"metadata": "{"}, psycopg.errors.InvalidTextRepresentation),
        ({"result": "a\0b"}, psycopg.errors.CharacterNotInRepertoire),
    ):
        with pytest.raises(error), copied.begin() as connection:
            copy_in(connection, _TARGET, [batch_of([row(1)]), batch_of([row(2, **bad)])])
    with copied.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_restored.copied")).scalar_one() == 0


def test_no_batches_are_no_rows(copied: sqlalchemy.Engine) -> None:
    with copied.begin() as connection:
        assert copy_in(connection, _TARGET, []) == 0
        assert copy_in(connection, _TARGET, [batch_of([])]) == 0


_ANY_TEXT = st.text(_CHARACTERS, max_size=6)
_ANY_VALUES = st.fixed_dictionaries(
    {
        "large": st.none() | st.integers(-(2**63), 2**63 - 1),
        "small": st.none() | st.integers(-(2**31), 2**31 - 1),
        "moment": st.none() | st.datetimes(timezones=st.just(UTC)),
        "label": st.none() | _ANY_TEXT,
        "raw": st.none() | st.binary(max_size=6),
        "labels": st.none() | st.lists(_ANY_TEXT, max_size=4),
        "document": st.none() | st.integers(0, 9).map(str),
    }
)


@pytest.fixture
def every_type(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """The database with an empty table that has a column of each type that can be copied."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE audit_restored.every_type (place integer GENERATED ALWAYS AS IDENTITY, large bigint,"
                " small integer, moment timestamptz, label text, raw bytea, labels text[], document jsonb)"
            )
        )
    return engine


@given(st.lists(_ANY_VALUES, max_size=6), st.integers(0, 2))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_type_and_every_null_stands_as_it_was_sent(
    every_type: sqlalchemy.Engine, rows: list[dict[str, Any]], start: int
) -> None:
    with every_type.begin() as connection:
        connection.execute(text("TRUNCATE audit_restored.every_type"))
        batch = pa.RecordBatch.from_pylist(rows, _EVERY_TYPE.schema).slice(start)
        assert copy_in(connection, _EVERY_TYPE, [batch]) == batch.num_rows
        found = connection.execute(
            text(
                "SELECT large, small, moment, label, raw, labels, document::text AS document"
                " FROM audit_restored.every_type ORDER BY place"
            )
        )
        stands = [dict(each) for each in found.mappings()]
    assert stands == [
        {**each, "moment": None if each["moment"] is None else each["moment"].astimezone(UTC)} for each in rows[start:]
    ]
