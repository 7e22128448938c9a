from __future__ import annotations

import pytest

from compliance_pipelines.base.strict_json import MalformedJsonError, parse_strictly


def parse(data: bytes) -> object:
    return parse_strictly(data, most_bytes=1_000, most_values=100)


def test_a_document_is_its_value() -> None:
    assert parse('{"a": [1, "é", null, true], "b": "\\ud83d\\ude00"}'.encode()) == {
        "a": [1, "é", None, True],
        "b": "😀",
    }


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "Expecting value"),
        (b"\xff", "it is no UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"{}{}", "Extra data"),
        (b'{"a":1,"a":1}', "given twice"),
        (b'[{"a":{"b":1,"b":2}}]', "given twice"),
        (b"NaN", "NaN is no number"),
        (b'{"a":-Infinity}', "-Infinity is no number"),
        (b'"\\ud800"', "half a surrogate pair"),
        (b'{"\\udfff":1}', "half a surrogate pair"),
        (b"[" * 101, "about 101 values"),
        (b'{"a":"' + b"," * 200 + b'"}', "values, and none has more than 100"),
        (b'"' + b"x" * 1_000 + b'"', "it has 1,002 bytes"),
    ],
)
def test_what_readers_could_take_for_different_values_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(MalformedJsonError, match=says):
        parse(data)


def test_depth_and_digits_are_bounded() -> None:
    for data in (b"[" * 200_000, b'{"a":' * 200_000, b"1" * 5_000):
        with pytest.raises(MalformedJsonError):
            parse_strictly(data, most_bytes=10**7, most_values=10**7)
