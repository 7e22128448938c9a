"""Every character of a certificate can be read, whatever it is, and none can do anything."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab import rl_config

from compliance_pipelines.erasure.certificate_html import to_html
from compliance_pipelines.erasure.certificate_pdf import has_glyph, to_pdf
from compliance_pipelines.erasure.unseen import shown_text
from tests.unit.erasure.certificates import certificate

if TYPE_CHECKING:
    import pytest

ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=30)
NUMBER = re.compile(r"\[U\+([0-9A-F]{4,6})\]")


def read(shown: str) -> str:
    return NUMBER.sub(lambda found: chr(int(found[1], 16)), shown)


@given(st.text())
def test_a_shown_text_can_be_read_back_exactly(text: str) -> None:
    assert read(shown_text(text)) == text
    assert read(shown_text(text, has_glyph=str.isascii)) == text
    assert shown_text(text, has_glyph=str.isascii).isascii()


@given(st.text(), st.text())
def test_two_different_texts_never_look_the_same(one: str, other: str) -> None:
    assert (shown_text(one) == shown_text(other)) == (one == other)


def test_what_would_not_be_seen_is_shown_by_its_number() -> None:
    assert shown_text("a\u202eb\u200bc\u00a0d\te") == "a[U+202E]b[U+200B]c[U+00A0]d[U+0009]e"
    assert shown_text("[U+202E]") == "[U+005B]U+202E]"
    assert shown_text("[x] é 漢 😀") == "[x] é 漢 😀"


class Page(HTMLParser):
    """What a browser makes of a page: its elements, and the text that is seen."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.seen: list[str] = []
        self.data = ""
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self._in_script = tag in {"script", "style"}

    def handle_endtag(self, _tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.data = data
        else:
            self.seen.append(data)


@given(ANY_TEXT)
def test_no_text_can_do_anything_in_html_and_all_of_it_is_seen(text: str) -> None:
    hostile = f"{text}<script>alert(1)</script>\"'><img src=x onerror=y>&amp;</script>"
    page = Page(to_html(certificate(user_id=hostile, reason=text)))
    plain = Page(to_html(certificate()))
    lines = hostile.count("\n") + text.count("\n")
    assert [tag for tag in page.elements if tag not in {"br", "bdi"}] == [
        tag for tag in plain.elements if tag not in {"br", "bdi"}
    ]
    assert page.elements.count("br") == plain.elements.count("br") + lines
    assert all(shown_text(line) in "".join(page.seen) for line in hostile.split("\n"))


@given(ANY_TEXT)
def test_the_html_holds_the_certificate_itself(text: str) -> None:
    document = certificate(user_id=text, reason="</script><!--")
    assert json.loads(Page(to_html(document)).data) == document


def words_of(pdf: bytes) -> str:
    """What stands on the pages of an uncompressed PDF, without spaces, for characters of ASCII."""
    shown = b"".join(re.findall(rb"\((.*?)(?<!\\)\) Tj", pdf, re.DOTALL))
    return re.sub(rb"\\(.)", rb"\1", shown).decode("ascii", "replace").replace(" ", "")


def test_the_pdf_holds_every_text_of_the_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rl_config, "pageCompression", 0)
    document = certificate(user_id="漢字 alice\u202e [U+0041]", reason="(why) \\ <b>&amp;</b>")
    words = words_of(to_pdf(document))
    assert "[U+6F22][U+5B57]alice[U+202E][U+005B]U+0041]" in words
    assert "(why)\\<b>&amp;</b>" in words
    for text in ("redis://host:6379/0", "default", "Asked", "2026-04-05", document["proof"]["segment"]["root"]):
        assert text in words


@given(ANY_TEXT)
@settings(max_examples=15)
def test_any_text_makes_a_pdf(text: str) -> None:
    assert to_pdf(certificate(user_id=text, reason=f"{text}<b>&")).startswith(b"%PDF")


def test_the_pdf_is_the_same_for_the_same_certificate() -> None:
    assert to_pdf(certificate()) == to_pdf(certificate())
    assert to_pdf(certificate()) != to_pdf(certificate(user_id="user:bob"))


def test_a_character_that_the_font_lacks_is_shown_by_its_number() -> None:
    assert has_glyph("é")
    assert not has_glyph("漢")
    assert shown_text("é漢😀", has_glyph=has_glyph) == "é[U+6F22][U+1F600]"


def test_long_texts_and_long_tables_make_more_pages() -> None:
    document = certificate(reason="word " * 4_000, user_id="x" * 5_000)
    document["statement"]["deleted"] *= 300
    pdf = to_pdf(document)
    assert pdf.count(b"/Type /Page\n") > 5
