"""JSON from a stranger: parsed in bounded memory, and only where every reader takes it for the same value.

Here: the bounds, and what RFC 8259 leaves to the reader. Not here: what the document says, and whether it is believed.
"""

from __future__ import annotations

import json
from typing import Any, Final

_STARTS_OF_VALUES: Final = (b",", b"[", b"{")


class MalformedJsonError(ValueError):
    """A document is no JSON, or none that is read here; the message says why."""


def parse_strictly(data: bytes, *, most_bytes: int, most_values: int) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a JSON document in UTF-8.

    A value takes up to about a hundred bytes of memory however few bytes it is written in, so that the number of
    values is bounded, too, before anything is parsed.

    Args:
        data: the document.
        most_bytes: how long it may be.
        most_values: how many values it may have, counted by the characters that begin one, also within texts.

    Raises:
        MalformedJsonError: it is too large, no UTF-8, no JSON, nested too deeply, gives a name twice, or has a number
            that JSON does not know (NaN, Infinity) or that has too many digits, or half a surrogate pair.
    """
    if len(data) > most_bytes:
        raise MalformedJsonError(f"it has {len(data):,} bytes, and none has more than {most_bytes:,}")
    values = sum(data.count(start) for start in _STARTS_OF_VALUES)
    if values > most_values:
        raise MalformedJsonError(f"it has about {values:,} values, and none has more than {most_values:,}")
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_without_repeated_names, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise MalformedJsonError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise MalformedJsonError("it has half a surrogate pair, which is no character") from None
    except UnicodeDecodeError as error:
        raise MalformedJsonError(f"it is no UTF-8: {error.reason} at byte {error.start + 1:,}") from None
    except ValueError as error:
        raise MalformedJsonError(str(error)) from None
    return value


def _without_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is given twice")
    return values


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
