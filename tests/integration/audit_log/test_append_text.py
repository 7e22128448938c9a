"""Any text and any JSON is stored as it is, by single appends and by batches."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from compliance_pipelines.audit_log.entry import AuditEntry, InvalidEntryError, JsonText
from compliance_pipelines.audit_log.log import AppendResult, AuditLog
from tests.integration.audit_log.entries import entry, stored

if TYPE_CHECKING:
    import sqlalchemy

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
digits = st.from_regex(r"\A-?(0|[1-9][0-9]{0,60})(\.[0-9]{1,60})?([eE][+-]?[0-9]{1,4})?\Z")
exact_numbers = digits.map(lambda number: JsonText(f'{{"n": [{number}]}}'))
any_entries = st.builds(
    entry,
    log_entry_id=texts.filter(bool),
    timestamp=st.datetimes(datetime(2015, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    user_id=texts,
    action=texts,
    result=texts,
    resource_type=st.none() | texts,
    resource_id=st.none() | texts,
    metadata=json_values | exact_numbers,
)
_slow = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def forgetful(superuser_engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """A database that can be emptied between examples."""
    return superuser_engine


def forget(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("DELETE FROM audit_logs"))


def as_postgresql_has_it(connection: sqlalchemy.Connection, each: AuditEntry) -> AuditEntry:
    """The entry with its metadata as PostgreSQL writes JSONB."""
    if each.metadata_text is None:
        return each
    written = connection.execute(text("SELECT CAST(:t AS jsonb)::text"), {"t": each.metadata_text}).scalar_one()
    return replace(each, metadata=JsonText(written))


@_slow
@example(
    entries=[entry(1, user_id="\\N"), entry(2, user_id="\\."), entry(3, user_id="a\tb\nc\rd\\e"), entry(4, result="")]
)
@example(entries=[entry(1, metadata=JsonText("null")), entry(2, metadata=None), entry(3, metadata="\\u0041\\\\")])
@example(
    entries=[entry(1, metadata=JsonText('{"n": [0.10000000000000000000000001, 1E+30, -0.0, 12345678901234567890]}'))]
)
@given(entries=st.lists(any_entries, max_size=5, unique_by=lambda each: each.log_entry_id))
def test_any_text_and_any_json_is_stored_as_it_is_by_both_ways(
    log: AuditLog, forgetful: sqlalchemy.Engine, entries: list[AuditEntry]
) -> None:
    with forgetful.connect() as connection:
        expected = [as_postgresql_has_it(connection, each) for each in entries]
    forget(forgetful)
    assert log.append_many(entries) == AppendResult(new=len(entries))
    assert stored(forgetful) == expected
    assert log.append_many([*entries, *entries]) == AppendResult(repeated=2 * len(entries))
    forget(forgetful)
    assert [log.append(each) for each in entries] == [True] * len(entries)
    assert stored(forgetful) == expected


@_slow
@given(number=digits)
def test_whatever_number_an_entry_takes_postgresql_takes_too_and_keeps_its_value(
    log: AuditLog, forgetful: sqlalchemy.Engine, number: str
) -> None:
    try:
        made = entry(metadata=JsonText(f'{{"n": {number}}}'))
    except InvalidEntryError:
        return
    forget(forgetful)
    log.append(made)
    with forgetful.connect() as connection:
        same = connection.execute(
            text("SELECT (metadata->>'n')::numeric = CAST(:number AS numeric) FROM audit_logs"), {"number": number}
        ).scalar_one()
    assert same is True
