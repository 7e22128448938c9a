"""What documents say of ids, time and user."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from unittest import mock

import langgraph.checkpoint.base.id
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.conversations.documents import (
    CHANNEL_USER,
    CHECKPOINT_FIELDS,
    CHECKPOINT_TIME,
    INPUT_USER,
    CheckpointFacts,
    microseconds,
    moment_of,
    read_checkpoint,
    read_note,
    time_of_id,
    time_of_text,
)


def checkpoint(
    fields: object, time: object = None, channel: object = None, given_input: object = None
) -> CheckpointFacts | None:
    """The facts of a document with these values at the four paths."""
    values = {CHECKPOINT_FIELDS: fields, CHECKPOINT_TIME: time, CHANNEL_USER: channel, INPUT_USER: given_input}
    return read_checkpoint(values)  # type: ignore[arg-type]


IDS = ["thread", "", "1f1e8da3-dc2f-65ca-bffe-c30849e8983a"]


@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_time_in_langgraphs_own_ids_is_read_to_the_microsecond(moment: datetime) -> None:
    nanoseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    with (
        mock.patch.object(langgraph.checkpoint.base.id, "_last_v6_timestamp", None),
        mock.patch.object(time, "time_ns", return_value=nanoseconds),
    ):
        identity = str(langgraph.checkpoint.base.id.uuid6(clock_seq=3))
    assert time_of_id(identity) == microseconds(moment)


@pytest.mark.parametrize(
    "identity", ["", "x", "00000000-0000-0000-0000-000000000000", "9b2d1f6e-7c39-4f0a-9d0c-0f4f4b0f9f11", "z" * 36]
)
def test_other_ids_have_no_time(identity: str) -> None:
    assert time_of_id(identity) is None


def test_a_checkpoints_own_time_goes_before_its_ids_and_that_before_the_time_of_writing() -> None:
    written = 1_700_000_000_000
    facts = checkpoint([*IDS, written, "{}"], ["2020-05-01T00:00:00+00:00"], [], [])
    assert facts is not None
    assert facts.time == microseconds(datetime(2020, 5, 1, tzinfo=UTC))
    facts = checkpoint([*IDS, written, "{}"], [], [], [])
    assert facts is not None
    assert facts.time == time_of_id(IDS[2])
    facts = checkpoint([*IDS[:2], "no-uuid", written, "{}"], ["nonsense"], [], [])
    assert facts is not None
    assert facts.time == written * 1000
    facts = checkpoint([*IDS[:2], "no-uuid"], None, None, None)
    assert facts is not None
    assert facts.time is None


def test_times_without_an_offset_are_utc() -> None:
    assert time_of_text("2020-05-01T00:00:00") == time_of_text("2020-05-01T02:00:00+02:00")


@pytest.mark.parametrize(
    ("metadata", "channel", "given_input", "user"),
    [
        ('{"user_id": "meta"}', ["channel"], ["input"], "meta"),
        ({"user_id": "meta"}, ["channel"], ["input"], "meta"),
        ('{"step": 1}', ["channel"], ["input"], "channel"),
        ('{"user_id": ""}', [], ["input"], "input"),
        ('{"user_id": null}', None, None, None),
        ('{"user_id": 42}', None, None, "42"),
        ('not json with "user_id"', ["channel"], [], "channel"),
        ("{}", [{"a": "user"}], [True], None),
    ],
)
def test_the_user_is_the_first_that_metadata_channel_and_input_name(
    metadata: object, channel: list[object] | None, given_input: list[object] | None, user: str | None
) -> None:
    facts = checkpoint([*IDS, None, metadata], None, channel, given_input)
    assert facts is not None
    assert facts.user_id == user


@pytest.mark.parametrize("fields", [None, [], ["thread", "ns"], [None, "", "id"], ["thread", 5, "id"]])
def test_what_is_no_savers_document_has_no_facts(fields: list[object] | None) -> None:
    assert checkpoint(fields) is None
    assert read_checkpoint(None) is None


def test_notes_are_read_as_mcp_server_langgraph_writes_them() -> None:
    note = read_note(
        json.dumps(
            {
                "thread_id": "t",
                "user_id": "user:1",
                "created_at": 1_700_000_000.5,
                "last_activity": 1_700_000_100.0,
                "message_count": 3,
                "title": None,
                "tags": ["archived", 5],
            }
        ).encode()
    )
    assert note.user_id == "user:1"
    assert note.created == 1_700_000_000_500_000
    assert note.archived
    assert not note.deleted
    assert note.tags == ("archived",)


@pytest.mark.parametrize(
    "content", [{"status": "deleted"}, {"deleted": True}, {"deleted_at": "2026"}, {"is_deleted": 1}]
)
def test_a_note_may_mark_a_conversation_deleted_in_several_ways(content: dict[str, object]) -> None:
    assert read_note(json.dumps(content).encode()).deleted


@pytest.mark.parametrize("value", [None, b"", b"[]", b"\xff", b'"x"'])
def test_a_note_that_cannot_be_read_says_nothing(value: bytes | None) -> None:
    note = read_note(value)
    assert note.user_id is None
    assert note.created is None


def test_microseconds_and_moments_are_inverse() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)
    assert moment_of(microseconds(moment)) == moment
