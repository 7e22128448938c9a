"""Showing every character of a text to a reader, whatever it is.

Here: characters that nobody would see, or that would make others look like something else. Not here: fonts
(erasure/fonts.py).

A character that is shown by its number stands as `[U+202E]`. So that this cannot be taken for text that was written
that way, a `[U+` in the text itself is shown as `[U+005B]U+`: the text can be told from what is shown.

Three characters without a form of their own are left where a reader sees what they do: ZERO WIDTH NON-JOINER where it
parts letters of the Arabic script that would join (as Persian spells names), it and ZERO WIDTH JOINER after a virama
(Unicode Annex 31, rules A1, A2 and B), and IDEOGRAPHIC SPACE between wide characters (as Japanese parts names).
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that have no form (Unicode's Default_Ignorable_Code_Point), and the empty pattern of Braille.
_FORMLESS: Final = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | set(range(0x180B, 0x1810))
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
_MARK: Final = "[U+"
_NON_JOINER: Final = "\u200c"
_JOINER: Final = "\u200d"
_WIDE_SPACE: Final = "\u3000"
_VIRAMA: Final = 9
_MOST_MARKS: Final = 8
_ARABIC_FORMS: Final = range(0xFB50, 0xFEFF)


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
        imitates = character == "[" and text.startswith(_MARK, position)
        hidden = _is_hidden(character) and not _is_seen_in_place(text, position)
        shown.append(by_number(character) if hidden or imitates or not has_glyph(character) else character)
    return "".join(shown)


def _is_hidden(character: str) -> bool:
    return (
        unicodedata.category(character) in _UNSEEN
        or (character.isspace() and character != " ")
        or ord(character) in _FORMLESS
    )


def _is_seen_in_place(text: str, position: int) -> bool:
    """Whether a reader sees by its neighbours that this character is there."""
    character = text[position]
    before = text[position - 1] if position else ""
    after = text[position + 1 : position + 2]
    if character == _WIDE_SPACE:
        return _is_wide(before) and _is_wide(after)
    if character not in {_JOINER, _NON_JOINER}:
        return False
    if before and unicodedata.combining(before) == _VIRAMA:
        return unicodedata.category(after or " ").startswith("L")
    return character == _NON_JOINER and _would_join(text, position)


def _is_wide(character: str) -> bool:
    return bool(character) and not character.isspace() and unicodedata.east_asian_width(character) in {"W", "F"}


def _would_join(text: str, position: int) -> bool:
    """Whether the letters around a position, whose marks do not count, would join."""
    before = reversed(text[max(0, position - _MOST_MARKS) : position])
    after = text[position + 1 : position + 1 + _MOST_MARKS]
    left = next((each for each in before if not unicodedata.combining(each)), "")
    right = next((each for each in after if not unicodedata.combining(each)), "")
    return left in _letters_with("<initial>") and right in _letters_with("<final>")


@cache
def _letters_with(form: str) -> frozenset[str]:
    """The letters that have this form of the Arabic script; `<initial>` joins the next letter, `<final>` the last."""
    letters = set()
    for number in _ARABIC_FORMS:
        match unicodedata.decomposition(chr(number)).split(" "):
            case [tag, code] if tag == form:
                letters.add(chr(int(code, 16)))
    return frozenset(letters)
