from __future__ import annotations

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.records import (
    MOST_BODY_BYTES,
    LedgerRecord,
    MalformedRecordError,
    Statement,
    StatementKind,
    record_of,
)
from tests.unit.ledger import stranger
from tests.unit.ledger.test_segments import numbers, segments

statements = st.builds(
    Statement,
    seq=st.integers(0, 2**63 - 1),
    kind=st.sampled_from(StatementKind),
    tx_to=numbers,
    sealed_at=st.datetimes(timezones=st.just(UTC)),
    body=st.binary(max_size=200),
)
records = st.one_of(segments, statements)


@given(records)
def test_the_bytes_of_a_record_of_any_kind_are_read_as_it_was_written(record: LedgerRecord) -> None:
    assert record_of(record.record_bytes()) == record
    assert stranger.leaf_hash(record.record_bytes()) == record.leaf_hash()


@given(records, records)
def test_different_records_have_different_bytes(one: LedgerRecord, other: LedgerRecord) -> None:
    assert (one == other) == (one.record_bytes() == other.record_bytes())


@given(st.binary(max_size=200))
def test_whatever_bytes_are_read_as_a_record_are_those_of_that_record(data: bytes) -> None:
    for kind in range(5):
        try:
            record = record_of(bytes([kind]) + data)
        except MalformedRecordError:
            continue
        assert record.record_bytes() == bytes([kind]) + data


@given(statements)
def test_a_record_of_an_unknown_kind_is_refused(statement: Statement) -> None:
    data = statement.record_bytes()
    for kind in (0, 5, 255):
        try:
            record_of(bytes([kind]) + data[1:])
        except MalformedRecordError:
            continue
        raise AssertionError(kind)


def test_a_statement_that_fits_into_no_bundle_is_refused() -> None:
    data = bytes([StatementKind.LOSS]) + bytes(24)
    assert record_of(data + bytes(MOST_BODY_BYTES)).record_bytes() == data + bytes(MOST_BODY_BYTES)
    for wrong in (data[:-1], data + bytes(MOST_BODY_BYTES + 1)):
        try:
            record_of(wrong)
        except MalformedRecordError:
            continue
        raise AssertionError(len(wrong))
