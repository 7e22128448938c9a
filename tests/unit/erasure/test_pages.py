"""Every character of a document can be read, whatever it is and whatever script it is of, and none can do anything."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance_pipelines.base.unseen import shown_text
from compliance_pipelines.erasure.fonts import has_glyph, is_right_to_left, region_of
from compliance_pipelines.erasure.letter import letter_of
from compliance_pipelines.erasure.pages_html import to_html
from compliance_pipelines.erasure.pages_pdf import to_pdf
from compliance_pipelines.erasure.record_pages import record_document
from tests.unit.erasure.documents import ALWAYS, certificate, deleted, internal, kept, record, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.erasure.pages import Document

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
NUMBER = re.compile(r"\[U\+([0-9A-F]{4,6})\]")
SCRIPTS = {
    "Latin": "Đặng Thị Ánh Nguyễn, Łukasz Žižek, Þór Guðmundsson",
    "Greek": "Γιώργος Παπαδόπουλος, Ἀθηνᾶ",
    "Cyrillic": "Владимир Щербаков, Їжакевич, Ђорђе",
    "Arabic": "محمد عبد الرحمن",
    "Persian": "علی‌رضا پورگل",
    "Hebrew": "יוסף כהן",
    "Chinese": "王小明 龔鵬",
    "Japanese": "山田　太郎 ありがとう ヱビス",
    "Korean": "김철수 뷁",
    "Devanagari": "विक्रम शर्मा क्‍ष",
    "Bengali": "রবীন্দ্রনাথ ঠাকুর",
    "Tamil": "தமிழ்",
    "Thai": "สมชาย ใจดี",
    "Georgian": "გიორგი",
    "Armenian": "Հայկ Մարտիրոսյան",
    "Ethiopic": "ሰላም",
    "Khmer": "សុខា",
}


def read(shown: str) -> str:
    return NUMBER.sub(lambda found: chr(int(found[1], 16)), shown)


def documents(text: str) -> Iterator[Document]:
    """Both documents with a text wherever one that is not ours can stand."""
    sender = {"controller": f"Example Ltd\n{text}", "contact": text, "authority": text, "note": text}
    request = {"user_id": text, "reason": text, "requested_by": text}
    yield letter_of(certificate(internal(request), sender=sender, addressee=[text]))
    yield record_document(record(request, kept=[kept(text, 1, is_theirs=True, references=[text]), ALWAYS]))


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
    assert shown_text("\u3164\u115f\u2800a\ufe0f") == "[U+3164][U+115F][U+2800]a[U+FE0F]"
    assert shown_text("[U+202E]") == "[U+005B]U+202E]"
    assert shown_text("[x] é 漢 😀") == "[x] é 漢 😀"


ALEF = "\u0627"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("علی\u200cرض", "علی\u200cرض"),  # it parts two letters that would join
        (f"رض{ALEF}\u200cعلی", f"رض{ALEF}[U+200C]علی"),  # alef joins nothing after it
        ("\u200cعلی", "[U+200C]علی"),
        ("علی\u200c", "علی[U+200C]"),
        ("ali\u200cce", "ali[U+200C]ce"),
        ("क\u094d\u200dष", "क\u094d\u200dष"),
        ("क\u200dष", "क[U+200D]ष"),
        ("क\u094d\u200d", "क\u094d[U+200D]"),
        ("山田\u3000太郎", "山田\u3000太郎"),
        ("山田\u3000\u3000太郎", "山田[U+3000][U+3000]太郎"),
        ("a\u3000b", "a[U+3000]b"),
    ],
)
def test_a_joiner_or_a_wide_space_stays_where_a_reader_sees_what_it_does(text: str, shown: str) -> None:
    assert shown_text(text) == shown


class Page(HTMLParser):
    """What a browser makes of a page: its elements, and the text that is seen."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.seen: list[str] = []
        self.data = ""
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        self._in_script = tag in {"script", "style"}

    def handle_endtag(self, _tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.data = data
        else:
            self.seen.append(data)


def page_of(document: Document) -> Page:
    return Page(to_html(document, with_fonts=False))


@given(ANY_TEXT)
def test_no_text_can_do_anything_in_html_and_all_of_it_is_seen(text: str) -> None:
    hostile = f"{text}<script>alert(1)</script>\"'><img src=x onerror=y>&amp;</script>".replace("\n", " ")
    for page, plain in zip(map(page_of, documents(hostile)), map(page_of, documents("plain")), strict=True):
        assert page.elements == plain.elements
        assert shown_text(hostile, has_glyph=has_glyph) in "".join(page.seen)


def test_a_line_end_in_a_name_makes_no_line() -> None:
    for page in map(page_of, documents("alice")):
        assert not any("[U+000A]" in seen for seen in page.seen)
    document = letter_of(certificate(internal({"user_id": "alice\nThe erasure is complete."})))
    assert "alice[U+000A]The erasure is complete." in page_of(document).seen


@given(ANY_TEXT)
def test_the_html_holds_the_certificate_itself(text: str) -> None:
    document = certificate(internal({"user_id": text}), addressee=["</script><!--"])
    assert json.loads(page_of(letter_of(document)).data) == document


def test_the_html_loads_nothing_and_brings_the_fonts_along_that_it_needs() -> None:
    """A browser without fonts for a script shows empty boxes, unless the page has them."""
    for text, families in (("alice", ["Noto Sans"]), (SCRIPTS["Japanese"], ["Noto Sans", "Noto Sans CJK JP"])):
        page = to_html(letter_of(certificate(internal({"user_id": text}))))
        faces = re.findall(r'@font-face \{ font-family: "([^"]+)"; [^}]*src: url\(data:font/woff;base64,[^)]+\)', page)
        assert faces == families
        assert re.findall(r"url\((?!data:)|https?:|src=|href=|@import", page) == []
    assert "default-src 'none'" in page
    assert '<bdi lang="ja">山田' in page


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_written(script: str) -> None:
    text = SCRIPTS[script]
    assert shown_text(text, has_glyph=has_glyph) == text
    for document in documents(text):
        with pypdfium2.PdfDocument(to_pdf(document)) as pdf:
            words = words_of(pdf)
        # What parts or joins letters is not a sign of its own on a page.
        there = "".join(character for character in words if unicodedata.category(character) != "Cf")
        for word in text.replace("\u200c", " ").replace("\u200d", "").split():
            assert set(word) <= set(there)
            # Of letters that make one sign, or that stand close, this reader of PDF gives some twice or disordered.
            assert word in there or script in {"Bengali", "Persian"}
        assert text in "".join(page_of(document).seen)


def test_the_pdf_holds_every_text_of_the_document() -> None:
    hostile = "*alice* #strong[x] $y$ \\ <b>&amp;</b> ᐊ\u202e [U+0041]"
    for document in documents(hostile):
        with pypdfium2.PdfDocument(to_pdf(document)) as pdf:
            words = words_of(pdf)
        assert "*alice*#strong[x]$y$\\<b>&amp;</b>[U+140A][U+202E][U+005B]U+0041]" in words
    for text in ("redis://host-7.internal:6379/0", "2026-04-05", "cd" * 32, "hmac-sha256:" + "ab" * 32):
        assert text in words


@given(ANY_TEXT)
@settings(max_examples=60, deadline=None)
def test_any_text_makes_a_pdf_in_which_every_character_has_a_glyph(text: str) -> None:
    """The standards that the file follows forbid the empty box: the typesetter fails before it draws one."""
    for document in documents(text):
        pdf = to_pdf(document)
        assert pdf.startswith(b"%PDF")
        for standard in (b"pdfaid:part>3<", b"pdfaid:conformance>A<", b"pdfuaid:part>1<"):
            assert standard in pdf


@pytest.mark.parametrize(
    "text", ["\u0301", "ب\u0301\u05b0", "ก\u05b0a\u0e34", "漢\u0301", "क\u0651", "\u0651a", "👨\u200d👩🏽"]
)
def test_marks_of_one_script_on_letters_of_another_make_a_pdf(text: str) -> None:
    for document in documents(text):
        assert to_pdf(document).startswith(b"%PDF")


def test_the_pdf_has_the_document_attached() -> None:
    document = certificate(internal({"user_id": SCRIPTS["Korean"]}))
    with pypdfium2.PdfDocument(to_pdf(letter_of(document))) as pdf:
        assert pdf.count_attachments() == 1
        attached = pdf.get_attachment(0)
        assert attached.get_name() == "certificate.json"
        assert json.loads(bytes(attached.get_data())) == document


def test_both_forms_are_the_same_for_the_same_document() -> None:
    for text in (SCRIPTS["Arabic"], SCRIPTS["Japanese"]):
        for one, same, other in zip(documents(text), documents(text), documents(f"{text}x"), strict=True):
            assert to_pdf(one) == to_pdf(same) != to_pdf(other)
            assert to_html(one) == to_html(same) != to_html(other)


def test_a_character_that_no_font_has_is_shown_by_its_number() -> None:
    assert all(map(has_glyph, "éΩЖعא漢あ한ก😀"))
    assert not has_glyph("ᐊ")
    assert shown_text("é漢ᐊ\U00010900", has_glyph=has_glyph) == "é漢[U+140A][U+10900]"


def test_long_texts_and_long_tables_make_more_pages_and_nothing_leaves_them() -> None:
    long = "x" * 5_000
    many = [
        deleted(f"kind-{number}", number, at=f"2026-03-{1 + number % 28:02}T00:00:00+00:00") for number in range(300)
    ]
    document = record_document(record({"reason": "word " * 4_000, "user_id": long}, deleted=many))
    with pypdfium2.PdfDocument(to_pdf(document)) as pdf:
        assert len(pdf) > 5
        words = words_of(pdf)
        for page in (pdf[number] for number in range(len(pdf))):
            text = page.get_textpage()
            right = max(text.get_charbox(index)[2] for index in range(text.count_chars()))
            assert right <= page.get_width()
    assert words.count("x") >= len(long)
    assert all(f"kind-{number}" in words for number in (0, 150, 299))


def test_the_forms_of_chinese_characters_and_the_direction_follow_the_text() -> None:
    assert [region_of(text) for text in ("王小明", "山田太郎 さん", "김 王", "ㄅㄆ 王", "x")] == [
        "SC",
        "JP",
        "KR",
        "TC",
        "SC",
    ]
    assert [is_right_to_left(text) for text in ("محمد (7)", "7 יוסף", "user:محمد", "", "12")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_what_was_kept_is_not_squeezed_into_the_columns_of_a_table() -> None:
    """Names of keys have no place where a line may end: beside three other columns each letter got a line."""
    long = "session:" + "x" * 200
    page = to_html(record_document(record(kept=[kept("sessions", 1, is_theirs=False, references=[long]), ALWAYS])))
    tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert tables
    assert not [table for table in tables if long in table]
    assert f'<dd><span class="line"><bdi>{long}</bdi></span></dd>' in page
    assert "table-layout: fixed" in page
