"""Showing every character of a text to a reader, whatever it is.

Here: characters that nobody would see, or that would make others look like something else. Not here: fonts.

A character that is shown by its number stands as `[U+202E]`. So that this cannot be taken for text that was written
that way, a `[U+` in the text itself is shown as `[U+005B]U+`: the text can be told from what is shown.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARK: Final = "[U+"


def by_number(character: str) -> str:
    """The character's number in Unicode's notation."""
    return f"[U+{ord(character):04X}]"


def shown_text(text: str, *, has_glyph: Callable[[str], bool] = lambda _: True) -> str:
    """The text with by-number characters wherever a reader would not see what is there.

    Args:
        text: any.
        has_glyph: whether the font shows a character; one that it lacks is shown by its number.
    """
    shown = []
    for position, character in enumerate(text):
        hidden = unicodedata.category(character) in _UNSEEN or (character.isspace() and character != " ")
        imitates = character == "[" and text.startswith(_MARK, position)
        shown.append(by_number(character) if hidden or imitates or not has_glyph(character) else character)
    return "".join(shown)
