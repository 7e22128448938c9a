"""What a statement about an expiry says, read by one string of bytes alone, as a stranger reads it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.expiries import Expiry, InvalidExpiryError, is_expiry
from compliance_pipelines.ledger.records import MalformedRecordError, Statement, StatementKind, record_of
from tests.unit.ledger import stranger

NOW: Final = datetime(2033, 1, 2, tzinfo=UTC)
EXPIRY: Final = Expiry(date(2025, 10, 1), 1, 7, 3, 4_096, 1, 1, 1, bytes(range(32)), bytes(32))
BODY_BYTES: Final = 116

numbers = st.integers(1, 2**31 - 1)
expiries = st.builds(
    Expiry,
    day=st.dates(),
    part=numbers,
    years=numbers,
    entries=st.integers(1, 2**63 - 1),
    object_bytes=st.integers(1, 2**63 - 1),
    first_seq=st.integers(0, 99),
    last_seq=st.integers(99, 2**62),
    segments=st.just(1),
    root=st.binary(min_size=32, max_size=32),
    object_sha256=st.binary(min_size=32, max_size=32),
)


def stated(body: bytes, seq: int = 2**62 + 1) -> Statement:
    return Statement(seq, StatementKind.EXPIRY, 90_121, NOW, body)


@given(expiries)
def test_it_comes_back_as_it_was_stated_and_a_stranger_reads_the_same(expiry: Expiry) -> None:
    statement = stated(expiry.to_body())
    record = record_of(statement.record_bytes())
    assert is_expiry(record)
    assert Expiry.of(record) == expiry
    read = stranger.read_expiry(statement.record_bytes())
    assert (read["day"], read["part"], read["entries"]) == (str(expiry.day), expiry.part, expiry.entries)
    assert (read["root"], read["object_sha256"]) == (expiry.root.hex(), expiry.object_sha256.hex())
    assert stranger.expiry_bytes(read) == statement.record_bytes()


@given(st.binary(max_size=BODY_BYTES + 1) | st.binary(min_size=BODY_BYTES, max_size=BODY_BYTES))
def test_other_bytes_are_no_expiry_to_both(body: bytes) -> None:
    statement = stated(body, seq=50)
    try:
        expiry = Expiry.of(statement)
    except MalformedRecordError:
        with pytest.raises((AssertionError, ValueError, OverflowError)):
            stranger.read_expiry(statement.record_bytes())
    else:
        assert expiry.to_body() == body


@pytest.mark.parametrize(
    "wrong",
    [
        {"part": 0},
        {"years": 0},
        {"entries": 0},
        {"object_bytes": 0},
        {"segments": 0},
        {"segments": 2},
        {"first_seq": -1},
        {"first_seq": 2},
        {"root": bytes(31)},
        {"object_sha256": b""},
    ],
    ids="-".join,
)
def test_what_no_part_can_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidExpiryError):
        replace(EXPIRY, **wrong)


def test_segments_that_came_after_it_cannot_have_expired() -> None:
    assert Expiry.of(stated(EXPIRY.to_body(), seq=2)) == EXPIRY
    with pytest.raises(MalformedRecordError, match="came after it"):
        Expiry.of(stated(EXPIRY.to_body(), seq=1))


def test_the_end_of_its_retention_is_by_the_years_that_it_states() -> None:
    assert EXPIRY.kept_until == datetime(2032, 10, 2, tzinfo=UTC)
