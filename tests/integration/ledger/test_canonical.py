"""The package's encoding of rows that PostgreSQL holds is that of an SQL function that knows nothing of the package."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from compliance_pipelines.audit_log.canonical import leaf_hash, leaf_hashes, private_bytes, public_bytes
from compliance_pipelines.audit_log.entry import COLUMNS, AuditEntry, InvalidEntryError, JsonText
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.reading import read_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from compliance_pipelines.services import Services
    from tests.integration.ledger.inspector import Inspector

FIRST_DAY: Final = date(1, 1, 1)

# What PostgreSQL's text takes: any character but NUL; surrogates are no characters.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
indexed_texts = texts.filter(lambda value: len(value.encode()) <= 200)

numbers = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,2})?", fullmatch=True, alphabet="0123456789.eE+-"
)


def quoted(value: str) -> str:
    """A JSON string with as few escapes as JSON allows."""
    escapes = {'"': '\\"', "\\": "\\\\", **{chr(code): f"\\u{code:04x}" for code in range(1, 32)}}
    return '"' + "".join(escapes.get(character, character) for character in value) + '"'


json_texts = st.recursive(
    st.sampled_from(
        ["null", "true", "false", "-0", "-0.0", "1e2", "1.50", "12345678901234567890123", '"\\ud83d\\ude00"']
    )
    | numbers
    | texts.map(quoted),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(texts.map(quoted), inner), max_size=4, unique_by=itemgetter(0)).map(
            lambda items: f"{{{','.join(f'{name}:{value}' for name, value in items)}}}"
        )
    ),
    max_leaves=12,
)

# Entries may not lie in the future, and the clock of the test's machine is the database's.
moments = st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(2026, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001

entries = st.builds(
    AuditEntry,
    log_entry_id=indexed_texts.filter(bool),
    timestamp=moments,
    user_id=indexed_texts,
    action=indexed_texts,
    result=texts,
    resource_type=st.none() | texts,
    resource_id=st.none() | texts,
    metadata=st.none() | json_texts.map(JsonText),
)


def plain(**values: object) -> AuditEntry:
    fields: dict[str, Any] = {
        "log_entry_id": "id",
        "timestamp": datetime(2025, 10, 1, tzinfo=UTC),
        "user_id": "",
        "action": "",
        "result": "",
    }
    return AuditEntry(**{**fields, **values})


def rows_of_both(inspector: Inspector) -> tuple[list[pa.RecordBatch], list[tuple[bytes, bytes, bytes]]]:
    """Every row as the package reads it, and public bytes, private bytes and leaf of each as PostgreSQL has them."""
    with read_rows(inspector.services.engine, day=None) as batches:
        read = list(batches)
    statement = (
        "SELECT stranger.public_bytes(entry) AS public, stranger.private_bytes(entry) AS private,"
        " stranger.leaf_hash(entry) AS leaf"
        ' FROM audit_logs AS entry ORDER BY id, "timestamp"'
    )
    with inspector.superuser.connect() as connection:
        found = connection.execute(text(statement)).all()
        return read, [(bytes(row.public), bytes(row.private), bytes(row.leaf)) for row in found]


def assert_both_encode_alike(inspector: Inspector) -> int:
    """Compare all rows, and return how many there are."""
    batches, by_postgres = rows_of_both(inspector)
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [(public_bytes(row), private_bytes(row), leaf_hash(row)) for row in rows] == by_postgres
    leaves = [leaf for *_, leaf in by_postgres]
    assert b"".join(leaf_hashes(batch).tobytes() for batch in batches) == b"".join(leaves)
    return len(rows)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@example(appended=[plain(), plain(resource_type="", resource_id="", metadata=JsonText("{}"))])
@example(appended=[plain(metadata=JsonText("null")), plain(metadata=None)])
@example(appended=[plain(timestamp=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))])
@example(appended=[plain(timestamp=datetime(1000, 1, 1, 0, 0, 0, 1, tzinfo=UTC))])
@example(
    appended=[plain(timestamp=datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) + timedelta(microseconds=1))]
)
@example(appended=[plain(metadata=JsonText(f"[{'9' * 200}.{'1' * 200}, 1e-100, -1E+100, 0.0000000000001]"))])
@example(appended=[plain(metadata=JsonText('"\\ud83d\\ude00 \U0001f600 \\u0001 \\/ \\u00e9"'))])
@example(appended=[plain(user_id="\U0010ffff\ufffe\u202e\ufeff\x01\x7f\r\n\t\\N")])
@example(appended=[plain(result="é" * 5_000, metadata=JsonText(f'"{"x" * 100_000}"'))])
@given(appended=st.lists(entries, min_size=1, max_size=20))
def test_whatever_was_appended_is_encoded_and_hashed_as_postgresql_does_it(
    services: Services, inspector: Inspector, appended: list[AuditEntry]
) -> None:
    # All examples share a database, and an id belongs to one entry.
    unique = [replace(each, log_entry_id=f"{uuid.uuid4()}{each.log_entry_id}") for each in appended]
    AuditLog(services.engine, first_day=FIRST_DAY).append_many(unique)
    assert assert_both_encode_alike(inspector) >= len(appended)


def test_the_columns_are_those_of_the_table(inspector: Inspector) -> None:
    statement = (
        "SELECT attname FROM pg_attribute WHERE attrelid = 'audit_logs'::regclass AND attnum > 0 ORDER BY attnum"
    )
    with inspector.superuser.connect() as connection:
        assert list(connection.execute(text(statement)).scalars()) == list(COLUMNS)


def test_times_and_numbers_at_the_ends_of_their_ranges_are_encoded_alike(inspector: Inspector) -> None:
    with inspector.superuser.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO audit_logs (id, log_entry_id, "timestamp", user_id, action, result, created_at, tx_id)'
                " VALUES (9223372036854775807, 'a', '1000-01-01 00:00:00+00', '', '', '',"
                " '9999-12-31 23:59:59.999999+00', 9223372036854775807),"
                " (0, 'b', '2000-01-01 00:00:00+00', '', '', '', '2000-01-01 00:00:00.000001+00', 0)"
            )
        )
    assert assert_both_encode_alike(inspector) == 2


@pytest.mark.parametrize("time", ["infinity", "-infinity", "0001-12-31 23:59:59.999999+00 BC"])
def test_times_that_are_on_no_day_are_refused_by_the_table(services: Services, time: str) -> None:
    statement = (
        'INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result)'
        " VALUES ('a', CAST(:time AS timestamptz), '', '', '')"
    )
    with services.engine.connect() as connection, pytest.raises(IntegrityError, match="audit_logs_timestamp"):
        connection.execute(text(statement), {"time": time})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e200000", "0." + "0" * 20_000 + "1"])
def test_numbers_that_are_none_or_that_postgresql_cannot_hold_are_refused(number: str) -> None:
    with pytest.raises(InvalidEntryError):
        plain(metadata=JsonText(f"[{number}]"))
