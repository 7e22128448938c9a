"""The fonts of documents: Noto, which has nearly every script in use, and Amiri for Arabic.

Here: which characters they show, which of several fonts shows a text as its readers expect, and the parts of fonts that
a text needs. Not here: pages (pages_pdf.py, pages_html.py), and what is done with a character that no font has
(base/unseen.py).

The fonts are files of packages from PyPI. Fonts of the machine are not used: a document is the same wherever it is
made. Noto Sans Arabic draws the dots of a letter as signs of their own, so that Arabic copied out of a PDF comes in
disorder. So Amiri goes first there, and Noto has the letters that it lacks.
"""

from __future__ import annotations

import io
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import fontpkg_amiri
import manimgx_fonts
import manimgx_fonts_cjk
import typst
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

_MAIN: Final = "Noto Sans"
ARABIC: Final = "Amiri"
SIZES: Final = {ARABIC: 1.2}
"""How much a family is enlarged, because it is small beside the others."""
_CJK: Final = "Noto Sans CJK "
_LAST: Final = ("Noto Sans Symbols", "Noto Emoji")
DEFAULT_REGION: Final = "SC"
"""Of a text that does not say: simplified Chinese."""
REGIONS: Final = (DEFAULT_REGION, "TC", "JP", "KR")
_HANGUL: Final = "HANGUL"
_KANA: Final = ("HIRAGANA", "KATAKANA")
_BOPOMOFO: Final = "BOPOMOFO"
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL"})
_STRONG: Final = _RIGHT_TO_LEFT | {"L"}


@cache
def fonts() -> typst.Fonts:
    """The fonts, for the typesetter."""
    packages = (manimgx_fonts, manimgx_fonts_cjk, fontpkg_amiri)
    directories = [str(Path(package.__file__).parent) for package in packages]
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=directories)


@cache
def families(region: str = DEFAULT_REGION) -> tuple[str, ...]:
    """The families in the order in which they are asked for a character.

    Args:
        region: whose forms Chinese characters have; one of REGIONS.
    """
    scripts = [name for name in fonts().families() if name not in {_MAIN, ARABIC, *_LAST} and not name.startswith(_CJK)]
    return (_MAIN, ARABIC, *scripts, f"{_CJK}{region}", *_LAST)


@cache
def _files() -> dict[str, tuple[str, int]]:
    """The file of each family, and which of the file's fonts it is."""
    return {
        each.family: (each.path, each.index)
        for each in fonts().fonts()
        if each.style == "normal" and each.path is not None
    }


def _opened(family: str, *, lazy: bool) -> TTFont:
    path, index = _files()[family]
    # A font that is written again has the time that it had, so that it is the same each time.
    return TTFont(path, fontNumber=index, lazy=lazy, recalcTimestamp=False)


@cache
def _code_points(family: str) -> frozenset[int]:
    with _opened(family, lazy=True) as font:
        return frozenset(font.getBestCmap())


def has_glyph(character: str) -> bool:
    """Whether one of the fonts shows this character."""
    return any(ord(character) in _code_points(family) for family in families())


def parts_for(characters: Mapping[str, AbstractSet[str]]) -> dict[str, bytes]:
    """What shows characters anywhere: of each family that is needed for one, the part that has them, as WOFF.

    Args:
        characters: those of the texts of each region.
    """
    needed = {_first(ord(each), region) for region, seen in characters.items() for each in seen}
    wanted = frozenset(map(ord, set().union(*characters.values())))
    return {family: _part(family, wanted & _code_points(family)) for family in sorted(needed)}


@cache
def _first(number: int, region: str) -> str:
    return next((family for family in families(region) if number in _code_points(family)), _MAIN)


@cache
def _part(family: str, numbers: frozenset[int]) -> bytes:
    with _opened(family, lazy=False) as font:
        options = Options()
        options.flavor = "woff"
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=numbers)
        subsetter.subset(font)
        font.flavor = "woff"
        file = io.BytesIO()
        font.save(file)
    return file.getvalue()


def region_of(text: str) -> str:
    """Whose forms the Chinese characters of a text have, as its other characters tell; else simplified Chinese."""
    names = {unicodedata.name(character, "").split(" ")[0] for character in set(text)}
    if _HANGUL in names:
        return "KR"
    if not names.isdisjoint(_KANA):
        return "JP"
    return "TC" if _BOPOMOFO in names else DEFAULT_REGION


def is_right_to_left(text: str) -> bool:
    """Whether a text runs from right to left by its first strong character (Unicode Annex 9, rules P2 and P3)."""
    first = next((kind for kind in map(unicodedata.bidirectional, text) if kind in _STRONG), "L")
    return first in _RIGHT_TO_LEFT
