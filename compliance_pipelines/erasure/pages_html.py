"""A document as one HTML file that loads nothing.

Here: markup. Not here: content (letter.py, record_pages.py), and fonts (fonts.py).

The page brings along the parts of fonts that it needs, so that a browser shows every character, whatever fonts its
machine has. A character that none of them has is shown by its number.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.unseen import shown_text
from compliance_pipelines.erasure.fonts import DEFAULT_REGION, SIZES, families, has_glyph, parts_for, region_of
from compliance_pipelines.erasure.pages import Item, Lines, Paragraph, Table, Values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compliance_pipelines.erasure.pages import Block, Document, Section

# What a text is marked as whose other characters say whose forms its Chinese characters have (BCP 47).
_LANGUAGES: Final = {"TC": "zh-Hant", "JP": "ja", "KR": "ko"}
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; font-src data:"
_STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2.5rem auto; padding: 0 1.25rem;
  color: #1a1a1a; background: #fff; }
header { display: flex; flex-wrap: wrap; gap: 1rem 2rem; justify-content: space-between;
  border-bottom: 1px solid #bbb; padding-bottom: 1rem; }
address { font-style: normal; } address.sender span:first-child { font-weight: 700; font-size: 1.1rem; }
span.line { display: block; }
address.to { margin: 2rem 0; } address.named { margin: .5rem 0 1rem 1.5rem; }
h1 { font-size: 1.6rem; margin: 2rem 0 .25rem; } p.subtitle { margin: 0; color: #555; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; } h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: .6rem 0; } p.strong { font-weight: 700; }
dl { display: grid; grid-template-columns: minmax(8rem, 12rem) minmax(0, 1fr); gap: .35rem 1.25rem; margin: .6rem 0; }
header dl { grid-template-columns: auto auto; gap: .1rem 1rem; margin: 0 0 0 auto; align-content: start; }
dt { color: #555; } dd { margin: 0; }
bdi { overflow-wrap: anywhere; white-space: pre-wrap; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th:nth-child(2) { width: 5.5rem; } th:nth-child(3) { width: 40%; }
th, td { text-align: start; vertical-align: top; padding: .35rem 1rem .35rem 0; border-bottom: 1px solid #ddd; }
th:nth-child(2) bdi { overflow-wrap: normal; }
thead th { border-bottom: 2px solid #555; } tbody th { font-weight: 400; }
th:nth-child(2), td:nth-child(2) { text-align: end; } th:nth-child(2) bdi, td:nth-child(2) bdi { white-space: nowrap; }
article { border-inline-start: 3px solid #ccc; padding-inline-start: 1rem; margin: 1.2rem 0; }
footer { margin: 2.5rem 0; } footer span:last-child { margin-top: 4rem; } aside { font-size: .9rem; }
@media (max-width: 36rem) { dl { grid-template-columns: minmax(0, 1fr); gap: 0; } dd { margin-bottom: .5rem; } }
@page { size: A4; margin: 20mm 22mm 22mm 24mm; }
@media print {
  html { font-size: 9.5pt; } body { font-size: 1rem; margin: 0; padding: 0; max-width: none; }
  h1, h2, h3 { break-after: avoid; } article, tr, footer, address { break-inside: avoid; } p { orphans: 3; widows: 3; }
}
"""


def to_html(document: Document, *, with_fonts: bool = True) -> str:
    """The page; the JSON of what it shows stands in it too, in a script element of type application/json.

    Args:
        document: what is on it.
        with_fonts: whether it brings fonts along; else the reader's are used.
    """
    page = _Page()
    body = page.body(document)
    fonts = page.fonts() if with_fonts else ""
    # Inside a script element only "<" could end it; JSON may write it by its number.
    data = document.data.replace("<", "\\u003c")
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(document.language)}" dir="ltr">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(document.title)}</title>\n<style>{_STYLE}{fonts}</style>\n</head>\n<body>\n{body}"
        f'<script type="application/json" id="data">\n{data}</script>\n</body>\n</html>\n'
    )


class _Page:
    """The markup of a page, and which characters are seen on it."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {DEFAULT_REGION: set()}

    def fonts(self) -> str:
        """The style sheet that brings the fonts along."""
        parts = parts_for(self._seen)
        faces = "".join(
            f'@font-face {{ font-family: "{family}"; font-weight: 100 900; '
            f"size-adjust: {SIZES.get(family, 1):.0%}; "
            f"src: url(data:font/woff;base64,{base64.b64encode(part).decode()}); }}\n"
            for family, part in parts.items()
        )
        rules = []
        for region in sorted(self._seen):
            where = f":lang({_LANGUAGES[region]})" if region in _LANGUAGES else "body"
            names = [f'"{family}"' for family in families(region) if family in parts]
            rules.append(f"{where} {{ font-family: {', '.join([*names, 'sans-serif'])}; }}\n")
        return faces + "".join(rules)

    def body(self, document: Document) -> str:
        """What is seen."""
        sender = f'<address class="sender">{self._lines(document.sender)}</address>' if document.sender else ""
        addressee = self._lines(document.addressee)
        to = f'<address class="to">{addressee}</address>\n' if addressee else ""
        closing = f"<footer>{self._lines(document.closing)}</footer>\n" if document.closing else ""
        facts = "".join(self._row(label, (value,)) for label, value in document.facts)
        return (
            f"<header>{sender}<dl>{facts}</dl></header>\n{to}<main>\n"
            f'<h1>{self._text(document.title)}</h1>\n<p class="subtitle">{self._text(document.subtitle)}</p>\n'
            f"{''.join(map(self._section, document.sections))}</main>\n{closing}"
            f"<aside>\n{''.join(map(self._section, document.annex))}</aside>\n"
        )

    def _section(self, section: Section) -> str:
        blocks = "".join(map(self._block, section.blocks))
        return f"<section>\n<h2>{self._text(section.heading)}</h2>\n{blocks}</section>\n"

    def _block(self, block: Block) -> str:
        match block:
            case Paragraph(text, strong):
                kind = ' class="strong"' if strong else ""
                return f"<p{kind}>{self._text(text)}</p>\n"
            case Lines(lines, intro):
                before = f"<p>{self._text(intro)}</p>\n" if intro else ""
                return f'{before}<address class="named">{self._lines(lines)}</address>\n'
            case Values(rows):
                return f"<dl>\n{''.join(self._row(label, value) for label, value in rows)}</dl>\n"
            case Table(header, rows):
                head = "".join(f'<th scope="col">{self._text(cell)}</th>' for cell in header)
                body = "".join(map(self._cells, rows))
                return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"
            case Item(title, blocks):
                inner = "".join(map(self._block, blocks))
                return f"<article>\n<h3>{self._text(title)}</h3>\n{inner}</article>\n"

    def _row(self, label: str, lines: Iterable[str]) -> str:
        return f"<dt>{self._text(label)}</dt><dd>{self._lines(lines)}</dd>\n"

    def _cells(self, row: tuple[str, ...]) -> str:
        first, *others = row
        cells = "".join(f"<td>{self._text(cell)}</td>" for cell in others)
        return f'<tr><th scope="row">{self._text(first)}</th>{cells}</tr>\n'

    def _lines(self, texts: Iterable[str]) -> str:
        return "".join(f'<span class="line">{self._text(text)}</span>' for text in texts)

    def _text(self, text: str) -> str:
        """A text in an element that isolates: a name that runs from right to left does not turn what is beside it."""
        shown = shown_text(text, has_glyph=has_glyph)
        region = region_of(shown)
        self._seen.setdefault(region, set()).update(shown)
        language = f' lang="{_LANGUAGES[region]}"' if region in _LANGUAGES else ""
        return f"<bdi{language}>{escape(shown)}</bdi>"
