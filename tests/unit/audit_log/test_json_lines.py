"""What a line must be to become an entry, and what is said of one that is not."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.audit_log.appending import Acceptance
from compliance_pipelines.audit_log.entry import AuditEntry, InvalidEntryError, JsonText
from compliance_pipelines.audit_log.json_lines import entry_from_line

LATEST = datetime(2026, 1, 1, tzinfo=UTC)
ACCEPT = Acceptance(date(2015, 1, 1), None)
FIELDS: dict[str, Any] = {
    "log_entry_id": "a-1",
    "timestamp": "2025-10-01T12:00:00.25Z",
    "user_id": "alice",
    "action": "message.send",
    "resource_type": "conversation",
    "resource_id": "c-1",
    "result": "success",
    "metadata": {"n": 1},
}


def parsed(line: str) -> AuditEntry:
    return entry_from_line(line, ACCEPT, LATEST)


def line(**changed: object) -> str:
    return json.dumps(FIELDS | changed)


def without(*names: str) -> str:
    return json.dumps({name: value for name, value in FIELDS.items() if name not in names})


def refusal(text: str) -> str:
    with pytest.raises(InvalidEntryError) as caught:
        parsed(text)
    return str(caught.value)


def test_a_line_is_an_entry() -> None:
    assert parsed(line()) == AuditEntry(
        log_entry_id="a-1",
        timestamp=datetime(2025, 10, 1, 12, 0, 0, 250_000, tzinfo=UTC),
        user_id="alice",
        action="message.send",
        resource_type="conversation",
        resource_id="c-1",
        result="success",
        metadata=JsonText('{"n": 1}'),
    )


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \t\r\n"])
def test_space_around_the_object_and_its_members_means_nothing(end: str) -> None:
    spaced = ' {\t"log_entry_id" :"a-1" , ' + line()[len('{"log_entry_id": "a-1", ') :].replace(":", " : ", 1)
    assert parsed(spaced + end) == parsed(line())


@pytest.mark.parametrize("name", ["resource_type", "resource_id", "metadata"])
def test_a_field_that_there_need_not_be_may_be_missing_or_null(name: str) -> None:
    assert getattr(parsed(without(name)), name) is None
    assert getattr(parsed(line(**{name: None})), name) is None
    assert parsed(without("metadata")).metadata_text is None


@pytest.mark.parametrize("name", ["log_entry_id", "timestamp", "user_id", "action", "result"])
def test_a_field_that_there_must_be_is_named(name: str) -> None:
    assert refusal(without(name)) == f"the field {name} is missing"
    assert refusal(line(**{name: None})) == f"the field {name} is null"


@pytest.mark.parametrize("value", [1, 1.5, True, [], {}, ["x"]])
@pytest.mark.parametrize("name", ["log_entry_id", "timestamp", "user_id", "resource_id", "result"])
def test_a_field_that_is_no_text_is_refused(name: str, value: object) -> None:
    assert refusal(line(**{name: value})) == f"the field {name} is not text"


def test_an_unknown_field_is_refused_because_it_would_be_lost() -> None:
    assert refusal(line(ip="192.0.2.1")) == "the field 'ip' is unknown: put what it says into metadata"
    assert len(refusal(line(**{"x" * 10_000: 1}))) < 200


def test_a_field_that_stands_there_twice_is_refused() -> None:
    assert refusal(line()[:-1] + ', "user_id": "bob"}') == "the field user_id stands there twice"


def test_a_member_of_metadata_that_stands_there_twice_is_refused() -> None:
    twice = without("metadata")[:-1] + ', "metadata": {"a": [{"b": 1, "b": 1}]}}'
    assert "metadata is not JSON: an object has the member 'b' twice" in refusal(twice)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting '{' at character 1"),
        ("[]", "Expecting '{' at character 1"),
        ("null", "Expecting '{' at character 1"),
        ("\ufeff{}", "Expecting '{' at character 1"),
        ("{", "Expecting '\"' at character 2"),
        ("{1: 2}", "Expecting '\"' at character 2"),
        ('{"user_id"}', "Expecting ':' at character 11"),
        ('{"user_id": }', "Expecting value at character 13"),
        ('{"user_id": "a" "action": "b"}', "Expecting '}' at character 17"),
        ('{"user_id": "a",}', "Expecting '\"' at character 17"),
        ('{"user_id": "a', "Unterminated string starting at at character 13"),
        ('{"user_id": "a\x00"}', "Invalid control character at at character 15"),
        ('{"user_id": "a\tb"}', "Invalid control character at at character 15"),
        ('{"user_id": "\\x"}', "Invalid \\escape at character 14"),
        ("{'user_id': 'a'}", "Expecting '\"' at character 2"),
        (line() + "x", f"Extra data at character {len(line()) + 1}"),
        (line() + line(), f"Extra data at character {len(line()) + 1}"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_place(text: str, reason: str) -> None:
    assert refusal(text) == f"it is not JSON: {reason}"


def test_an_empty_object_lacks_every_field() -> None:
    assert refusal("{ }") == "the field log_entry_id is missing"


@pytest.mark.parametrize("metadata", ["[" * 100_000, '{"a":' * 100_000, '"\ud800"', "NaN", "[1, Infinity]", "1e200000"])
def test_metadata_that_no_database_holds_is_refused(metadata: str) -> None:
    text = without("metadata")[:-1] + f', "metadata": {metadata}}}'
    assert refusal(text)


def test_a_nul_character_is_refused_wherever_it_is_hidden() -> None:
    assert "user_id contains a NUL character" in refusal(line(user_id="a\0b"))
    assert "metadata contains a NUL character" in refusal(line(metadata={"a": ["\0"]}))


def test_an_unpaired_surrogate_is_refused() -> None:
    assert "unpaired surrogate" in refusal(line(user_id="\ud800"))
    assert "unpaired surrogate" in refusal(line(metadata={"a": "\udfff"}))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-10-01T12:00:00Z", datetime(2025, 10, 1, 12, tzinfo=UTC)),
        ("2025-10-01t12:00:00z", datetime(2025, 10, 1, 12, tzinfo=UTC)),
        ("2025-10-01 12:00:00+00:00", datetime(2025, 10, 1, 12, tzinfo=UTC)),
        ("2025-10-01T12:00:00.000001-00:30", datetime(2025, 10, 1, 12, 30, 0, 1, tzinfo=UTC)),
        ("2025-10-02T01:00:00.5+13:00", datetime(2025, 10, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2025-10-01T12:00:00.123456000Z", datetime(2025, 10, 1, 12, 0, 0, 123_456, tzinfo=UTC)),
    ],
)
def test_a_time_of_rfc_3339_is_taken(text: str, moment: datetime) -> None:
    assert parsed(line(timestamp=text)).timestamp == moment


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not of the form"),
        ("yesterday", "not of the form"),
        ("2025-10-01", "not of the form"),
        ("2025-10-01T12:00:00", "not of the form"),
        ("2025-10-01T12:00Z", "not of the form"),
        ("20251001T120000Z", "not of the form"),
        ("2025-W40-3T12:00:00Z", "not of the form"),
        ("2025-10-01T12:00:00,5Z", "not of the form"),
        ("\u0662025-10-01T12:00:00Z", "not of the form"),
        ("1759320000", "not of the form"),
        ("infinity", "not of the form"),
        ("2025-10-01T12:00:00.1234567Z", "more than six digits"),
        ("2025-02-29T12:00:00Z", "is no moment"),
        ("2025-10-01T24:00:00Z", "is no moment"),
        ("2025-10-01T12:00:60Z", "is no moment"),
        ("2025-10-01T12:00:00+24:00", "is no moment"),
        ("0000-01-01T00:00:00Z", "is no moment"),
        ("0001-01-01T00:00:00+01:00", "outside the years 1000 to 9998"),
    ],
)
def test_a_bad_time_is_refused(text: str, reason: str) -> None:
    assert reason in refusal(line(timestamp=text))


def test_the_future_begins_after_the_latest_moment() -> None:
    assert parsed(line(timestamp=LATEST.isoformat())).timestamp == LATEST
    late = (LATEST + timedelta(microseconds=1)).isoformat()
    assert "is more than 5 minutes in the future" in refusal(line(timestamp=late))


def test_a_day_before_the_first_is_refused_with_the_name_of_the_setting() -> None:
    assert parsed(line(timestamp="2015-01-01T00:00:00Z")).timestamp == datetime(2015, 1, 1, tzinfo=UTC)
    assert "AUDIT_LOG_FIRST_DAY" in refusal(line(timestamp="2015-01-01T00:00:00+00:01"))


def test_an_entry_larger_than_one_mib_is_refused() -> None:
    assert "more than 1,048,576" in refusal(line(metadata={"a": "x" * 2**20}))


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(
    values=st.fixed_dictionaries(
        {
            "log_entry_id": texts.filter(bool),
            "user_id": texts,
            "action": texts,
            "result": texts,
            "resource_type": st.none() | texts,
            "resource_id": st.none() | texts,
            "metadata": json_values,
        }
    ),
    ascii_only=st.booleans(),
    indent=st.none() | st.just("\t"),
    order=st.randoms(use_true_random=False),
)
def test_any_text_and_any_json_comes_through(
    values: dict[str, Any],
    ascii_only: bool,
    indent: str | None,
    order: Any,  # noqa: ANN401
) -> None:
    fields = list((FIELDS | values).items())
    order.shuffle(fields)
    text = json.dumps(dict(fields), ensure_ascii=ascii_only, indent=indent)

    entry = parsed(text)

    assert {name: getattr(entry, name) for name in values if name != "metadata"} == {
        name: value for name, value in values.items() if name != "metadata"
    }
    if values["metadata"] is None:
        assert entry.metadata_text is None
    else:
        assert entry.metadata_text == json.dumps(values["metadata"], ensure_ascii=ascii_only, indent=indent).replace(
            "\n", "\n\t" if indent else "\n"
        )


@given(digits=st.from_regex(r"\A-?(0|[1-9][0-9]{0,80})(\.[0-9]{1,80})?\Z"))
def test_every_digit_of_a_number_is_kept(digits: str) -> None:
    entry = parsed(without("metadata")[:-1] + f', "metadata": {{"n": [{digits} ]}} }}')
    assert entry.metadata_text == f'{{"n": [{digits} ]}}'
