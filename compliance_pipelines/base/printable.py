"""Texts that come from a file, a name or a database, made fit for a terminal, a log or a report.

Here: the one way of escaping them. Not here: what is said about them.
"""

from __future__ import annotations


def printable(text: str, most: int | None = None) -> str:
    """The text with everything that is not printable escaped as Python writes it: it does nothing to a terminal.

    Control characters, line ends, direction marks, lone surrogates and odd spaces are escaped.

    Args:
        text: anything.
        most: how many characters of it are kept at most; None for all.
    """
    shortened = text if most is None or len(text) <= most else text[:most] + "..."
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in shortened
    )
