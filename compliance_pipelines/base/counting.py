"""Numbers of things in sentences."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """How many, in words, such as "1 day" and "2,000 entries".

    Args:
        number: of things.
        noun: for one of them.
        plural: for several; None: the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
