"""What the API refuses, the table refuses: measured on what will be read, exactly, and at a bounded cost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from compliance_pipelines.audit_log.entry import MAX_ENTRY_BYTES, AuditEntry, InvalidEntryError, JsonText

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

INSERT: Final = (
    "INSERT INTO audit_logs"
    ' (log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata)'
    " VALUES (%(log_entry_id)s, %(timestamp)s, %(user_id)s, %(action)s, %(resource_type)s, %(resource_id)s, %(result)s,"
    " %(metadata)s)"
)
MOMENT: Final = datetime(2025, 10, 1, 12, tzinfo=UTC)
PLAIN: Final[dict[str, Any]] = {
    "log_entry_id": "raw",
    "timestamp": MOMENT,
    "user_id": "user:1",
    "action": "tool.call",
    "resource_type": None,
    "resource_id": None,
    "result": "success",
    "metadata": None,
}
TEXTS: Final = ("log_entry_id", "user_id", "action", "result", "resource_type", "resource_id")
OTHER_BYTES: Final = sum(len(PLAIN[name] or "") for name in TEXTS)


@pytest.fixture
def writer(writer_database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """An application that may only append; every INSERT is undone."""
    with psycopg.connect(writer_database_url) as connection:
        yield connection
        connection.rollback()


def table_takes(writer: psycopg.Connection[Any], **values: Any) -> bool:  # noqa: ANN401 - of every column
    try:
        writer.execute(INSERT, {**PLAIN, **values})
    except (psycopg.errors.CheckViolation, psycopg.DataError):
        return False
    finally:
        writer.rollback()
    return True


def api_takes(**values: Any) -> bool:  # noqa: ANN401 - of every field
    fields = {**PLAIN, **values}
    if fields["metadata"] is not None:
        fields["metadata"] = JsonText(fields["metadata"])
    try:
        AuditEntry(**fields)
    except InvalidEntryError:
        return False
    return True


def nested(depth: int, innermost: str) -> str:
    """A text in so many arrays and objects."""
    opened = ['{"in": ' if level % 2 else "[" for level in range(depth)]
    closed = ["}" if level % 2 else "]" for level in reversed(range(depth))]
    return "".join(opened) + innermost + "".join(closed)


def string_of(total: int) -> str:
    """Metadata with which the entry has this many bytes."""
    return f'"{"x" * (total - OTHER_BYTES - 2)}"'


REFUSED: Final[dict[str, dict[str, Any]]] = {
    "numbers that are written out in gigabytes": {"metadata": f"[{','.join(['1e131071'] * 10_000)}]"},
    "a few of them": {"metadata": f"[{','.join(['1e131071'] * 9)}]"},
    "as members": {"metadata": json.dumps({f"k{n}": 1 for n in range(9)}).replace(" 1", " 1e131071")},
    "of the smallest scale": {"metadata": f"[{','.join(['1e-16383'] * 70)}]"},
    "zeros with many decimals": {"metadata": f"[{','.join(['0e-16383'] * 70)}]"},
    "deep inside": {"metadata": nested(100, f"[{','.join(['1e131071'] * 9)}]")},
    "characters that are escaped": {"metadata": f'"{chr(92)}u0001{"x" * (MAX_ENTRY_BYTES - OTHER_BYTES - 7)}"'},
    "separators that the text has": {"metadata": f"[{','.join(['1'] * (MAX_ENTRY_BYTES // 3 + 1))}]"},
    "a byte too much in all": {"metadata": string_of(MAX_ENTRY_BYTES + 1)},
    "a byte too much without metadata": {"resource_id": "x" * (MAX_ENTRY_BYTES - OTHER_BYTES + 1)},
    "a result of megabytes": {"result": "é" * MAX_ENTRY_BYTES},
    "129 levels": {"metadata": nested(129, "1")},
    "5,000 levels": {"metadata": nested(5_000, "1")},
    "an empty id": {"log_entry_id": ""},
    "an id that its index cannot hold": {"log_entry_id": "x" * 2_049},
    "an id of too many bytes": {"log_entry_id": "é" * 1_025},
    "a user that its index cannot hold": {"user_id": "x" * 2_049},
    "an action that its index cannot hold": {"action": "x" * 2_049},
    "the zero time": {"timestamp": datetime(1, 1, 1, tzinfo=UTC)},
    "the year before 1000": {"timestamp": datetime(1000, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)},
}
TAKEN: Final[dict[str, dict[str, Any]]] = {
    "nothing optional": {},
    "numbers that are large and few": {"metadata": f"[{','.join(['1e131071'] * 7)}]"},
    "exactly a MiB": {"metadata": string_of(MAX_ENTRY_BYTES)},
    "exactly a MiB of multi-byte characters": {"resource_id": "é" * ((MAX_ENTRY_BYTES - OTHER_BYTES) // 2)},
    "an escape that is one byte": {"metadata": f'"{chr(92)}u0041{"x" * (MAX_ENTRY_BYTES - OTHER_BYTES - 3)}"'},
    "128 levels": {"metadata": nested(128, "1")},
    "128 levels, the innermost empty": {"metadata": nested(128, "[]")},
    "128 levels beside much else": {"metadata": f'[{nested(127, "1")}, "{"x" * 5_000}"]'},
    "texts that fill their index": {"log_entry_id": "x" * 2_048, "user_id": "é" * 1_024, "action": "x" * 2_048},
    "empty texts": {"user_id": "", "action": "", "result": "", "resource_type": "", "resource_id": ""},
    "the first year": {"timestamp": datetime(1000, 1, 1, tzinfo=UTC)},
    "metadata of many numbers": {"metadata": json.dumps([n / 8 for n in range(20_000)])},
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED)
def test_what_the_api_refuses_a_plain_insert_cannot_bring_in(
    writer: psycopg.Connection[Any], values: dict[str, Any]
) -> None:
    assert not api_takes(**values)
    assert not table_takes(writer, **values)


@pytest.mark.parametrize("values", TAKEN.values(), ids=TAKEN)
def test_what_the_api_takes_the_table_takes(writer: psycopg.Connection[Any], values: dict[str, Any]) -> None:
    assert api_takes(**values)
    assert table_takes(writer, **values)


@pytest.mark.parametrize(
    "moment",
    ["infinity", "-infinity", "0001-01-01 00:00:00+00", "0001-12-31 BC", "4713-01-01 BC", "9999-01-01", "294276-12-31"],
)
def test_times_of_no_four_digit_year_are_refused_whatever_the_clock_says(
    writer: psycopg.Connection[Any], moment: str
) -> None:
    assert not table_takes(writer, timestamp=moment)


_LITERALS: Final = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,6})?", fullmatch=True),
    st.sampled_from(["1e131071", "1e131072", "-0", "-0.00", "0e-16383", "1e-16384", "0e99999", "null", "true", "[]"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30).map(json.dumps),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30).map(
        lambda value: json.dumps(value, ensure_ascii=False)
    ),
)


def _documents() -> st.SearchStrategy[str]:
    """JSON texts: of numbers and strings in every form, a few times or very often, so that they meet the limit."""
    often = st.builds(lambda one, times: f"[{','.join([one] * times)}]", _LITERALS, st.integers(0, 300_000))
    padded = st.builds(
        lambda one, more: f'[{one}, "{"x" * (MAX_ENTRY_BYTES - OTHER_BYTES - more)}"]', _LITERALS, st.integers(0, 60)
    )
    deep = st.builds(nested, st.integers(100, 140), _LITERALS)
    return st.one_of(_LITERALS, often, padded, deep)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@example(metadata='"\x7f\u2028\ud7ff"')
@example(metadata=f'[1e0, "{"x" * (MAX_ENTRY_BYTES - OTHER_BYTES - 7)}"]')
@example(metadata=f'[-0, "{"x" * (MAX_ENTRY_BYTES - OTHER_BYTES - 7)}"]')
@given(metadata=_documents())
def test_api_and_table_agree_on_every_metadata(writer: psycopg.Connection[Any], metadata: str) -> None:
    assert api_takes(metadata=metadata) == table_takes(writer, metadata=metadata)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    timestamp=st.one_of(
        st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(1100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2026, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ),
    log_entry_id=st.integers(0, 2_060).map(lambda length: "x" * length),
    user_id=st.integers(0, 1_030).map(lambda length: "é" * length),
)
def test_api_and_table_agree_on_times_and_indexed_texts(
    writer: psycopg.Connection[Any], timestamp: datetime, log_entry_id: str, user_id: str
) -> None:
    values = {"timestamp": timestamp, "log_entry_id": log_entry_id, "user_id": user_id}
    assert api_takes(**values) == table_takes(writer, **values)


@pytest.mark.parametrize("metadata", [f"[{','.join(['1e131071'] * 10_000)}]", f"[{','.join(['1e131071'] * 500_000)}]"])
def test_refusing_gigabytes_costs_no_gigabyte(writer: psycopg.Connection[Any], metadata: str) -> None:
    before = _peak_bytes(writer.info.backend_pid)
    assert not table_takes(writer, metadata=metadata)
    assert _peak_bytes(writer.info.backend_pid) - before < 256 * 2**20


def _peak_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.parametrize("column", ["id", "created_at", "tx_id", "nonce", "commitment"])
@pytest.mark.parametrize("login", ["writer_database_url", "pipeline_database_url"])
def test_nobody_who_appends_chooses_what_the_database_gives(
    request: pytest.FixtureRequest, login: str, column: str
) -> None:
    value = {"created_at": "'2030-01-01'", "nonce": "gen_random_uuid()", "commitment": "sha256('')"}.get(column, "1")
    with psycopg.connect(request.getfixturevalue(login)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                f'INSERT INTO audit_logs ({column}, log_entry_id, "timestamp", user_id, action, result)'
                f" VALUES ({value}, 'a', now(), '', '', '')"
            )
        connection.rollback()


def test_each_rule_is_a_constraint_of_every_partition_and_validated(superuser_engine: sqlalchemy.Engine) -> None:
    with superuser_engine.connect() as connection:
        assert connection.execute(text("SELECT audit_rules_hold()")).scalar_one()
        unguarded = connection.execute(
            text(
                "SELECT tree.relid::regclass FROM pg_partition_tree('audit_logs') AS tree"
                " WHERE (SELECT count(*) FROM pg_constraint WHERE conrelid = tree.relid AND contype = 'c'"
                "        AND convalidated AND conname IN (SELECT conname FROM pg_constraint"
                "                                         WHERE conrelid = 'audit_logs'::regclass AND contype = 'c'))"
                "       < 7"
            )
        )
        assert unguarded.all() == []
