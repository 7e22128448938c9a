from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.audit_log.entry import (
    MAX_ENTRY_BYTES,
    MAX_INDEXED_BYTES,
    MAX_METADATA_DEPTH,
    AuditEntry,
    InvalidEntryError,
    JsonText,
    JsonValue,
)

FIELDS: dict[str, Any] = {
    "log_entry_id": "a-1",
    "timestamp": datetime(2025, 10, 1, 12, tzinfo=UTC),
    "user_id": "alice",
    "action": "message.send",
    "result": "success",
}
TEXT_FIELDS = ("log_entry_id", "user_id", "action", "result", "resource_type", "resource_id")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def entry(**changed: object) -> AuditEntry:
    return AuditEntry(**(FIELDS | changed))


@given(json_values.filter(lambda value: value is not None and "\0" not in repr(value) and "\\x00" not in repr(value)))
def test_metadata_is_any_json_and_keeps_its_value(value: JsonValue) -> None:
    text = entry(metadata=value).metadata_text

    assert text is not None
    assert json.loads(text) == value


def test_no_metadata_is_no_text_and_the_text_null_is_json() -> None:
    assert entry().metadata_text is None
    assert entry(metadata=JsonText("null")).metadata_text == "null"


def test_json_text_keeps_every_digit() -> None:
    exact = '{"a": 0.10000000000000000000000001, "b": 1e400, "c": 123456789012345678901234567890, "d": 1.50}'

    assert entry(metadata=JsonText(exact)).metadata_text == exact


def test_metadata_is_as_it_was_when_the_entry_was_made() -> None:
    metadata = {"n": 1}
    made = entry(metadata=metadata)
    metadata["n"] = 2

    assert made.metadata_text == '{"n":1}'


def test_the_timestamp_is_kept_in_utc() -> None:
    elsewhere = datetime(2025, 10, 2, 1, tzinfo=timezone(timedelta(hours=13)))

    assert entry(timestamp=elsewhere).timestamp.isoformat() == "2025-10-01T12:00:00+00:00"


def test_an_entry_cannot_be_changed_and_a_changed_copy_is_checked() -> None:
    with pytest.raises(FrozenInstanceError):
        entry().user_id = "mallory"  # type: ignore[misc]
    with pytest.raises(InvalidEntryError):
        replace(entry(), user_id="\0")


@pytest.mark.parametrize("name", TEXT_FIELDS)
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a\0b", "NUL character"),
        ("a\ud800", "unpaired surrogate"),
        (7, "is int, not text"),
        (b"a", "is bytes, not text"),
    ],
)
def test_text_that_postgresql_cannot_hold_is_refused(name: str, value: object, reason: str) -> None:
    with pytest.raises(InvalidEntryError, match=rf"{name} .*{reason}"):
        entry(**{name: value})


@pytest.mark.parametrize("name", TEXT_FIELDS)
def test_only_the_resource_may_be_missing(name: str) -> None:
    if name.startswith("resource_"):
        assert getattr(entry(**{name: None}), name) is None
    else:
        with pytest.raises(InvalidEntryError, match=f"{name} is NoneType, not text"):
            entry(**{name: None})


def test_an_empty_id_is_refused() -> None:
    with pytest.raises(InvalidEntryError, match="log_entry_id is empty"):
        entry(log_entry_id="")


@pytest.mark.parametrize(
    ("timestamp", "reason"),
    [
        (datetime(2025, 10, 1), "has no time zone"),  # noqa: DTZ001 - naive on purpose
        ("2025-10-01T00:00:00Z", "is str, not a datetime"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "outside the years 1000 to 9998"),
        (datetime(1, 1, 1, tzinfo=UTC), "outside the years 1000 to 9998"),
        (datetime(999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "outside the years 1000 to 9998"),
        (datetime(1000, 1, 1, tzinfo=timezone(timedelta(minutes=1))), "outside the years 1000 to 9998"),
        (datetime(9999, 1, 1, tzinfo=UTC), "outside the years 1000 to 9998"),
        (datetime(9998, 12, 31, 23, 59, tzinfo=timezone(-timedelta(minutes=1))), "outside the years 1000 to 9998"),
    ],
)
def test_a_timestamp_that_is_no_moment_is_refused(timestamp: object, reason: str) -> None:
    with pytest.raises(InvalidEntryError, match=f"timestamp .*{reason}"):
        entry(timestamp=timestamp)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"n": float("nan")}, "not JSON"),
        ({"n": [float("inf")]}, "not JSON"),
        ({"when": datetime(2025, 1, 1, tzinfo=UTC)}, "datetime"),
        ({("a", "b"): 1}, "tuple"),
        ({"a": "\0"}, "NUL character"),
        ({"a\0": 1}, "NUL character"),
        ({"a": "\\\0"}, "NUL character"),
        ({"a": "\ud800"}, "unpaired surrogate"),
        (JsonText('{"n": NaN}'), "NaN is no JSON number"),
        (JsonText('{"n": -Infinity}'), "-Infinity is no JSON number"),
        (JsonText('{"n": 1'), "not JSON"),
        (JsonText(""), "not JSON"),
        (JsonText('"\\u0000"'), "NUL character"),
        (JsonText('"\\ud83d"'), "unpaired surrogate"),
        (JsonText("1e131072"), "cannot hold the number 1e131072"),
        (JsonText("1e-16384"), "cannot hold the number 1e-16384"),
        (JsonText("[" * 100_000), "not JSON"),
        (JsonText('{"a": 1, "b": 2, "a": 1}'), "an object has the member 'a' twice"),
        (JsonText('[{"x": {"\\u0061": 1, "a": 2}}]'), "an object has the member 'a' twice"),
        (JsonText("1" * 131_073), "cannot hold the number 1111"),
        (JsonText("0." + "1" * 16_384), r"cannot hold the number 0\.1111"),
    ],
)
def test_metadata_that_jsonb_cannot_hold_is_refused(metadata: JsonValue, reason: str) -> None:
    with pytest.raises(InvalidEntryError, match=f"metadata .*{reason}"):
        entry(metadata=metadata)


def test_metadata_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(InvalidEntryError, match="metadata is not JSON"):
        entry(metadata=endless)


@pytest.mark.parametrize(
    "metadata", [{"a": "\\u0000"}, JsonText('"\\\\u0000"'), JsonText('"\\ud83d\\ude00"'), JsonText("1e131071")]
)
def test_what_only_looks_like_a_nul_or_a_surrogate_is_taken(metadata: JsonValue) -> None:
    assert entry(metadata=metadata).metadata_text is not None


def test_an_entry_of_one_mib_is_taken_and_of_a_byte_more_is_not() -> None:
    others = sum(len(value) for value in FIELDS.values() if isinstance(value, str))
    room = MAX_ENTRY_BYTES - others - len('{"a": ""}')
    largest = "é" * (room // 2) + "x" * (room % 2)

    assert entry(metadata={"a": largest}).metadata_text is not None
    with pytest.raises(InvalidEntryError, match="1,048,577 bytes, more than 1,048,576"):
        entry(metadata={"a": largest + "x"})
    with pytest.raises(InvalidEntryError, match="more than 1,048,576"):
        entry(resource_id="x" * MAX_ENTRY_BYTES)


def test_a_number_counts_as_it_is_written_out_because_postgresql_does_so() -> None:
    assert entry(metadata=JsonText("[1e131071]")).metadata_text == "[1e131071]"
    assert entry(metadata=JsonText(f"[{','.join(['1e-100'] * 9_000)}]")).metadata_text is not None
    with pytest.raises(InvalidEntryError, match="more than 1,048,576"):
        entry(metadata=JsonText(f"[{','.join(['1e131071'] * 9)}]"))
    with pytest.raises(InvalidEntryError, match="more than 1,048,576"):
        entry(metadata=JsonText(f"[{','.join(['1e-100'] * 12_000)}]"))


def test_numbers_of_python_count_as_they_are_written_out_too() -> None:
    assert entry(metadata=[1e308] * 3_000).metadata_text is not None
    with pytest.raises(InvalidEntryError, match="more than 1,048,576"):
        entry(metadata=[1e308] * 3_500)


def test_metadata_counts_with_the_spaces_that_postgresql_puts_between_its_values() -> None:
    assert entry(metadata=[1] * (MAX_ENTRY_BYTES // 3 - 100)).metadata_text is not None
    with pytest.raises(InvalidEntryError, match="more than 1,048,576"):
        entry(metadata=[1] * (MAX_ENTRY_BYTES // 3 + 1))


def test_metadata_nests_to_a_depth_that_does_not_depend_on_anyones_stack() -> None:
    deep: JsonValue = "innermost"
    for number in range(MAX_METADATA_DEPTH):
        deep = [deep] if number % 2 else {"in": deep}
    assert entry(metadata=deep).metadata_text is not None
    for deeper in ([deep], JsonText("[" * 129 + "1" + "]" * 129), {"a": [[], {"b": deep}]}):
        with pytest.raises(InvalidEntryError, match="lies in more than 128 arrays and objects"):
            entry(metadata=deeper)


@pytest.mark.parametrize("metadata", [{1: "a", "1": "b"} | {"x": "y" * 2**20}, {1: [[]] * 200, "1": 2}])
def test_members_that_become_the_same_are_a_flaw_and_no_crash(metadata: JsonValue) -> None:
    with pytest.raises(InvalidEntryError):
        entry(metadata=metadata)


@pytest.mark.parametrize("name", ["log_entry_id", "user_id", "action"])
def test_text_that_an_index_cannot_take_is_refused(name: str) -> None:
    assert entry(**{name: "x" * MAX_INDEXED_BYTES}).log_entry_id
    with pytest.raises(InvalidEntryError, match=f"{name} has 2,050 bytes, more than the 2,048 that its index takes"):
        entry(**{name: "é" * (MAX_INDEXED_BYTES // 2 + 1)})


def test_the_message_names_the_entry_and_stays_short() -> None:
    with pytest.raises(InvalidEntryError, match=r"^entry 'a-1' is invalid: user_id"):
        entry(user_id="\0")
    with pytest.raises(InvalidEntryError) as caught:
        entry(log_entry_id="x" * 10_000)
    assert len(str(caught.value)) < 250
