"""Changing bytes as accidents and strangers do. Seeded: the same number gives the same change."""

from __future__ import annotations

import random
from typing import Final

_TOKENS: Final = (
    b"",
    b"\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\u0000",
    b"\x1b[31m",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"-0",
    b"9" * 30,
    b"9" * 5_000,
    b"9223372036854775808",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"',
    b"[" * 2_000,
    b'{"a":' * 2_000,
    b"\n",
    b"\n\n",
    b"\r\n",
    b"0001-01-01T00:00:00+14:00",
    b"9999-12-31T23:59:59.999999-14:00",
    b"PAR1",
    b"\x1f\x8b",
)
_MOST_CHANGES: Final = 4
_LONGEST_PIECE: Final = 64


def mutated(data: bytes, number: int, *, start: int = 0) -> bytes:
    """The data with one to four changes.

    Args:
        data: what is changed.
        number: which change; each number gives another.
        start: nothing before is changed.
    """
    chance = random.Random(number)  # noqa: S311 - which bytes are tried is no secret
    found = bytearray(data)
    for _ in range(chance.randint(1, _MOST_CHANGES)):
        _change(found, chance, start)
    return bytes(found)


def _change(data: bytearray, chance: random.Random, start: int) -> None:
    position = chance.randint(min(start, len(data)), len(data))
    length = chance.randint(1, _LONGEST_PIECE)
    match chance.randrange(8):
        case 0 | 1 if position < len(data):
            data[position] ^= 1 << chance.randrange(8)
        case 2 if position < len(data):
            data[position] = chance.randrange(256)
        case 3:
            del data[position : position + length]
        case 4:
            data[position:position] = data[position : position + length]
        case 5:
            other = chance.randint(min(start, len(data)), len(data))
            data[position:position] = data[other : other + length]
        case 6:
            del data[position:]
        case _:
            data[position : position + chance.randint(0, length)] = chance.choice(_TOKENS)
