"""A document of a few pages, for every form alike: headings, paragraphs, labelled values, tables.

Here: what a document is made of. Not here: HTML (pages_html.py), PDF (pages_pdf.py), and any content.

Every text may be anybody's, in any script. Where lines are meant they are separate texts: a line end within a text is
shown by its number, so that nobody's name can look like a line of the document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of words.

    Attributes:
        text: its words.
        strong: whether it is what the document is about.
    """

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Lines:
    """Lines that belong together, such as an address.

    Attributes:
        lines: each a text.
        intro: the words before them.
    """

    lines: tuple[str, ...]
    intro: str = ""


@dataclass(frozen=True)
class Values:
    """Labels and their values, each value of one or more lines."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Table:
    """A table whose cells are short; the second column holds numbers."""

    header: tuple[str, str, str]
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Item:
    """One of several things that are told alike, where a table's columns would be too narrow."""

    title: str
    blocks: tuple[Paragraph | Values | Table, ...]


Block = Paragraph | Lines | Values | Table | Item


@dataclass(frozen=True)
class Section:
    """A part of a document under its heading."""

    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A document.

    Attributes:
        language: of its words, as BCP 47 has it.
        title: what it is.
        subtitle: what it is about.
        sender: lines of who sends it; the first is a name.
        facts: of its head: its date, its number.
        addressee: lines of whom it is for.
        sections: in reading order.
        closing: lines at the end of the letter, the last one under the space for a signature.
        annex: sections that follow it.
        dated: its day.
        page_of: `{page}` and `{pages}` as the language has it.
        data: the document that it shows, as JSON text; every form holds it.
        data_name: of a file of that.
    """

    language: str
    title: str
    subtitle: str
    sender: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    addressee: tuple[str, ...]
    sections: tuple[Section, ...]
    closing: tuple[str, ...]
    annex: tuple[Section, ...]
    dated: date
    page_of: str
    data: str
    data_name: str
