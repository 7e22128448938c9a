"""Rows have one fingerprint however they are cut into batches, and other rows have another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.archive.fingerprints import fingerprint
from tests.unit.archive.examples import batch_of, row

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = [row(number, metadata=None if number % 3 else "{}") for number in range(1, 40)]


def of_rows(rows: Sequence[dict[str, Any]]) -> bytes:
    return fingerprint([batch_of(rows)])


@given(cuts=st.lists(st.integers(0, len(ROWS)), max_size=6).map(sorted))
def test_it_does_not_depend_on_the_batches(cuts: list[int]) -> None:
    whole = batch_of(ROWS)
    ends = [*cuts, len(ROWS)]
    pieces = [whole.slice(start, end - start) for start, end in zip([0, *cuts], ends, strict=True)]
    assert fingerprint(pieces) == of_rows(ROWS)
    assert fingerprint([batch_of(ROWS[start:end]) for start, end in zip([0, *cuts], ends, strict=True)]) == of_rows(
        ROWS
    )


@pytest.mark.parametrize("number", [0, 17, len(ROWS) - 1])
@pytest.mark.parametrize(
    "change",
    [
        {"id": -1},
        {"log_entry_id": ""},
        {"timestamp": ROWS[1]["created_at"]},
        {"user_id": None},
        {"user_id": ""},
        {"resource_type": ""},
        {"metadata": "[]"},
        {"tx_id": 2**63 - 1},
        {"nonce": bytes(16)},
        {"nonce": None},
        {"commitment": bytes(32)},
    ],
)
def test_another_value_makes_another_one(number: int, change: dict[str, object]) -> None:
    assert of_rows([*ROWS[:number], {**ROWS[number], **change}, *ROWS[number + 1 :]]) != of_rows(ROWS)


def test_another_order_or_number_of_rows_makes_another_one() -> None:
    prints = {of_rows(rows) for rows in (ROWS, ROWS[::-1], ROWS[1:], ROWS[:-1], [*ROWS, ROWS[-1]], ROWS[:1], [])}
    assert len(prints) == 7


@pytest.mark.parametrize(
    ("these", "those"),
    [
        (("ab", "c"), ("a", "bc")),
        (("", "a"), ("a", "")),
        ((None, "a"), ("", "a")),
        ((None, ""), ("", None)),
    ],
)
def test_texts_end_where_they_end(these: tuple[str | None, str | None], those: tuple[str | None, str | None]) -> None:
    def of(values: tuple[str | None, str | None]) -> bytes:
        return of_rows([row(1, metadata=values[0]), row(2, metadata=values[1])])

    assert of(these) != of(those)


def test_what_lies_under_a_null_is_nobodys() -> None:
    data, offsets = pa.py_buffer(b"hidden" + b"shown"), pa.array([0, 6, 11], pa.int32()).buffers()[1]
    hiding = pa.StringArray.from_buffers(2, offsets, data, pa.py_buffer(b"\x02"))
    plain = pa.array([None, "shown"], pa.string())
    assert hiding.equals(plain)
    assert fingerprint([pa.record_batch([hiding], ["text"])]) == fingerprint([pa.record_batch([plain], ["text"])])
