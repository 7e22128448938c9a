"""Every small change of a JSON document, so that a test can say that none of them goes unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_OTHER_TYPES: Final[tuple[Any, ...]] = (None, True, 0, 1.0, "", "0", [], {})


def alterations(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - whatever JSON holds
    """Where it was changed, and the changed document; the original is left as it is."""
    for other in (*_OTHER_TYPES, *_neighbours(value)):
        if type(other) is not type(value) or other != value:
            yield f"became {other!r}", other
    if isinstance(value, dict):
        for name, member in value.items():
            yield f"{name} missing", {key: each for key, each in value.items() if key != name}
            yield from ((f"{name}: {where}", {**value, name: changed}) for where, changed in alterations(member))
        yield "one more", {**value, "more": None}
    elif isinstance(value, list):
        yield "one more", [*value, "00" * 32]
        for at, member in enumerate(value):
            yield f"{at} missing", value[:at] + value[at + 1 :]
            yield f"{at} twice", value[:at] + value[at : at + 1] + value[at:]
            yield from (
                (f"{at}: {where}", [*value[:at], changed, *value[at + 1 :]]) for where, changed in alterations(member)
            )
        if value != value[::-1]:
            yield "turned round", value[::-1]


def _neighbours(value: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int):
        yield from (value - 1, value + 1, -value, float(value), str(value), bool(value), value + 2**64)
    elif isinstance(value, str):
        yield from (value.upper(), value + " ", " " + value, value + "\n", value + "\0", value.encode().hex())
        for at, character in enumerate(value):
            yield value[:at] + value[at + 1 :]
            yield value[:at] + chr(ord(character) ^ 1) + value[at + 1 :]
        if value.lstrip("-").isdecimal():
            yield int(value)
