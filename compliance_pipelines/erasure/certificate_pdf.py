"""The certificate as PDF.

Here: pages and fonts. Not here: content (certificate_pages.py).

The font is the one that comes with reportlab, Bitstream Vera, which has the Latin scripts. A character that it lacks is
shown by its number, so that nothing is lost and no empty box stands for a name.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

import reportlab
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from compliance_pipelines.erasure.certificate_pages import SUBTITLE, TITLE, Section, sections_of
from compliance_pipelines.erasure.unseen import shown_text

if TYPE_CHECKING:
    from reportlab.platypus.flowables import Flowable

_REGULAR: Final = "Vera"
_BOLD: Final = "VeraBd"
_MARGIN: Final = 18 * mm
# A frame keeps 6 points free on each side.
_FRAME_PADDING: Final = 12
_LABEL_WIDTH: Final = 46 * mm
_CELL: Final = ParagraphStyle("cell", fontName=_REGULAR, fontSize=7.5, leading=10, splitLongWords=1)
_LABEL: Final = ParagraphStyle("label", parent=_CELL, fontName=_BOLD)
_HEADING: Final = ParagraphStyle("heading", fontName=_BOLD, fontSize=10, leading=14, spaceBefore=10, spaceAfter=4)
_TITLE: Final = ParagraphStyle("title", fontName=_BOLD, fontSize=17, leading=22)
_LINES: Final = TableStyle(
    [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, HexColor("#cccccc")),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
    ]
)


@cache
def _code_points() -> frozenset[int]:
    """Make the fonts known to reportlab; the characters that the one for values has."""
    directory = Path(reportlab.__file__).parent / "fonts"
    fonts = [TTFont(name, str(directory / f"{name}.ttf")) for name in (_REGULAR, _BOLD)]
    for font in fonts:
        pdfmetrics.registerFont(font)
    return frozenset(fonts[0].face.charToGlyph)


def has_glyph(character: str) -> bool:
    """Whether the font shows this character."""
    return ord(character) in _code_points()


def to_pdf(certificate: dict[str, Any]) -> bytes:
    """The file, A4, the same bytes for the same certificate."""
    number = certificate["statement"]["request"]["id"]
    _code_points()
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=f"{TITLE} {number}",
        invariant=1,
    )
    flow: list[Flowable] = [Paragraph(TITLE, _TITLE), Paragraph(SUBTITLE, _CELL), Spacer(0, 4 * mm)]
    for section in sections_of(certificate):
        flow += _section(section, document.width - _FRAME_PADDING)
    document.build(flow)
    return file.getvalue()


def _section(section: Section, width: float) -> list[Flowable]:
    heading = Paragraph(_markup(section.title), _HEADING)
    if not section.rows:
        return [heading, Paragraph(_markup(section.empty), _CELL)]
    if section.header:
        rows = [[Paragraph(_markup(name), _LABEL) for name in section.header]]
        rows += [[Paragraph(_markup(cell), _CELL) for cell in row] for row in section.rows]
        widths = [width / len(section.header)] * len(section.header)
    else:
        rows = [[Paragraph(_markup(label), _LABEL), Paragraph(_markup(value), _CELL)] for label, value in section.rows]
        widths = [_LABEL_WIDTH, width - _LABEL_WIDTH]
    # A row may be longer than a page: then it goes on on the next one.
    table = Table(rows, colWidths=widths, repeatRows=1 if section.header else 0, splitInRow=1)
    table.setStyle(_LINES)
    return [heading, table]


def _markup(text: str) -> str:
    return "<br/>".join(escape(shown_text(line, has_glyph=has_glyph)) for line in text.split("\n"))
