from __future__ import annotations

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.archive import copy_text
from compliance_pipelines.archive.copy_text import copy_lines
from compliance_pipelines.audit_log.entry import COLUMNS
from tests.unit.archive.examples import ANY_ROW, batch_of, row

# https://www.postgresql.org/docs/current/sql-copy.html, "Text Format"
_UNESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def read_as_postgresql_does(text: str) -> list[list[str | None]]:
    assert text.endswith("\n") or not text
    return [[_field(field) for field in line.split("\t")] for line in text.split("\n")[:-1]]


def _field(text: str) -> str | None:
    if text == "\\N":
        return None
    characters, value = iter(text), []
    for character in characters:
        if character == "\\":
            escaped = next(characters)
            value.append(_UNESCAPED.get(escaped, escaped))
        else:
            value.append(character)
    return "".join(value)


def as_text(value: object) -> str | None:
    return None if value is None else str(value)


@given(st.lists(ANY_ROW, max_size=10))
def test_every_value_is_read_back_as_it_was(rows: list[dict[str, Any]]) -> None:
    text = b"".join(copy_lines(batch_of(rows))).decode()
    read = read_as_postgresql_does(text)
    assert len(read) == len(rows)
    for values, expected in zip(read, rows, strict=True):
        for name, value in zip(COLUMNS, values, strict=True):
            if isinstance(expected[name], datetime):
                assert value is not None
                assert datetime.fromisoformat(value) == expected[name]
            else:
                assert value == as_text(expected[name])


def test_a_text_that_looks_like_null_or_like_an_escape_stays_a_text() -> None:
    texts = ["\\N", "\\", "\\n", "\n", "\t", "\r", "\\.", ""]
    text = b"".join(copy_lines(batch_of([row(1, user_id=each) for each in texts]))).decode()
    assert [values[COLUMNS.index("user_id")] for values in read_as_postgresql_does(text)] == texts


def test_a_large_batch_comes_in_pieces() -> None:
    rows = [row(number) for number in range(copy_text._SLICE_ROWS + 1)]
    pieces = list(copy_lines(batch_of(rows)))
    assert len(pieces) == 2
    assert b"".join(pieces).count(b"\n") == len(rows)
