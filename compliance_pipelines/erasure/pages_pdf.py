"""A document as PDF: A4, in any script, readable by machines that read aloud, and fit to be kept.

Here: texts are made ready for the typesetter, whose template is pages.typ. Not here: content (letter.py,
record_pages.py), and fonts (fonts.py).

The file is PDF/A-3a (ISO 19005-3) and PDF/UA-1 (ISO 14289-1). Both require that every character has a glyph: the
typesetter fails before it shows an empty box. The document that the pages show is attached as JSON.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import typst

from compliance_pipelines.base.unseen import shown_text
from compliance_pipelines.erasure.fonts import (
    ARABIC,
    REGIONS,
    SIZES,
    families,
    fonts,
    has_glyph,
    is_right_to_left,
    region_of,
)
from compliance_pipelines.erasure.pages import Item, Lines, Paragraph, Table, Values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typst import PDFStandard

    from compliance_pipelines.erasure.pages import Block, Document, Section

_STANDARDS: Final[list[PDFStandard]] = ["a-3a", "ua-1"]
# A word that is longer may not fit a line; its parts are short enough to fill one.
_LONG_WORD: Final = re.compile(r"[^ ]{41,}")
_PART: Final = 6
# What is longer is not kept together on one page: it might not fit any. A line counts for some, however short.
_MOST_ON_A_PAGE: Final = 2_000
_PER_LINE: Final = 50


def to_pdf(document: Document) -> bytes:
    """The file, the same bytes for the same document."""
    source = files("compliance_pipelines.erasure").joinpath("pages.typ").read_bytes()
    inputs = {"pages": json.dumps(_pages(document), ensure_ascii=False), "data": document.data}
    pdf = typst.compile(source, font_paths=fonts(), format="pdf", sys_inputs=inputs, pdf_standards=_STANDARDS)
    if not isinstance(pdf, bytes):
        raise TypeError("the typesetter gave no PDF")
    return pdf


def _pages(document: Document) -> dict[str, Any]:
    return {
        "language": document.language,
        "title": document.title,
        "title_shown": _line(document.title),
        "author": shown_text(document.sender[0]) if document.sender else "",
        "dated": [document.dated.year, document.dated.month, document.dated.day],
        "page_of": document.page_of,
        "footer": " · ".join([document.title, *(value for _, value in document.facts)]),
        "families": {region: families(region) for region in REGIONS},
        "arabic_size": SIZES[ARABIC],
        "subtitle": _line(document.subtitle),
        "sender": _lines(document.sender),
        "facts": [_row(label, (value,)) for label, value in document.facts],
        "addressee": _lines(document.addressee),
        "sections": [_section(section) for section in document.sections],
        "closing": _lines(document.closing),
        "annex": [_section(section) for section in document.annex],
        "data_name": document.data_name,
    }


def _section(section: Section) -> dict[str, Any]:
    blocks = section.blocks
    long = sum(map(_length, blocks)) > _MOST_ON_A_PAGE
    return {"heading": _line(section.heading), "blocks": [_block(block) for block in blocks], "long": long}


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Paragraph(text, strong):
            return {"kind": "paragraph", "text": _line(text), "strong": strong}
        case Lines(lines, intro):
            return {"kind": "lines", "lines": _lines(lines), "intro": _line(intro) if intro else None}
        case Values(rows):
            return {"kind": "values", "rows": [_row(label, lines) for label, lines in rows]}
        case Table(header, rows):
            return {"kind": "table", "header": _lines(header), "rows": [_lines(row) for row in rows]}
        case Item(title, blocks) as item:
            shown = [_block(each) for each in blocks]
            return {"kind": "item", "title": _line(title), "blocks": shown, "long": _length(item) > _MOST_ON_A_PAGE}


def _length(block: Block) -> int:
    """About how many characters a block has."""
    match block:
        case Values(rows):
            return sum(len(line) + _PER_LINE for _, lines in rows for line in lines)
        case Table(_, rows):
            return sum(sum(map(len, row)) + _PER_LINE for row in rows)
        case Item(_, blocks):
            return sum(map(_length, blocks))
        case Lines(lines):
            return sum(map(len, lines))
        case Paragraph(text):
            return len(text)


def _row(label: str, lines: Sequence[str]) -> dict[str, Any]:
    return {"label": _line(label), "lines": _lines(lines)}


def _lines(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [_line(text) for text in texts]


def _line(text: str) -> dict[str, Any]:
    """A text with what the typesetter cannot tell by itself: direction, fonts, and where a long word may end."""
    shown = shown_text(text, has_glyph=has_glyph)
    pieces: list[str | list[str]] = []
    end = 0
    for word in _LONG_WORD.finditer(shown):
        if word.start() > end:
            pieces.append(shown[end : word.start()])
        pieces.append([word[0][start : start + _PART] for start in range(0, len(word[0]), _PART)])
        end = word.end()
    if end < len(shown):
        pieces.append(shown[end:])
    return {"pieces": pieces, "rtl": is_right_to_left(shown), "region": region_of(shown)}
