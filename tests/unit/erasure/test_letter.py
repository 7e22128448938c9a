"""The letter says in each language who answers, what became of the request, and what the person may do about it."""

from __future__ import annotations

import dataclasses
import re
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.cli.settings_reference import environment_names
from compliance_pipelines.erasure.kinds import KINDS
from compliance_pipelines.erasure.letter import LANGUAGES, letter_of
from compliance_pipelines.erasure.letter_words import Headings, Labels, Language
from compliance_pipelines.erasure.pages_html import to_html
from compliance_pipelines.erasure.person_statement import LAWFUL_KINDS, OUTCOMES, REASONS
from compliance_pipelines.erasure.record_pages import record_document, result_in_words
from compliance_pipelines.settings import ConfigurationError, Settings
from tests.unit.erasure.documents import ALWAYS, SENDER, certificate, deleted, internal, kept, record

if TYPE_CHECKING:
    from compliance_pipelines.erasure.pages import Document

PLACEHOLDER = re.compile(r"\{[a-z_]+\}")


def text_of(document: Document) -> str:
    """What a reader reads, in a line."""
    page = to_html(document, with_fonts=False)
    body = page[page.index("<body>") : page.index("<script")]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def texts(value: object) -> dict[str, str]:
    """All texts of a language, by the path to each."""
    found: dict[str, str] = {}
    members: dict[str, Any]
    if isinstance(value, (Language, Headings, Labels)):
        members = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, dict):
        members = {str(key): each for key, each in value.items()}
    else:
        assert isinstance(value, (list, tuple))
        members = {str(number): each for number, each in enumerate(value)}
    for name, each in members.items():
        if isinstance(each, str):
            found[name] = each
        else:
            found.update({f"{name}.{inner}": text for inner, text in texts(each).items()})
    return found


def test_every_language_has_every_word_with_the_same_gaps() -> None:
    english = texts(LANGUAGES["en"])
    for code, language in LANGUAGES.items():
        words = texts(language)
        assert words.keys() == english.keys(), code
        for path, text in words.items():
            assert text.strip() or path == "thousands", (code, path)
            assert sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(english[path])), (code, path)
            assert code == "en" or text != english[path] or len(text) < 30, (code, path)


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_code_has_words(code: str) -> None:
    words = LANGUAGES[code]
    assert set(OUTCOMES) <= set(words.outcomes)
    assert set(KINDS) == set(words.kinds)
    assert set(REASONS) == set(words.not_deleted) == set(words.reasons) == set(words.bases)
    assert set(LAWFUL_KINDS) == set(words.kept_kinds) == set(words.kept_reasons) == set(words.kept_bases)


def test_the_languages_are_those_of_the_setting() -> None:
    field = Settings.model_fields["gdpr_language"]
    assert field.annotation is not None
    assert set(field.annotation.__args__) == set(LANGUAGES)
    assert environment_names("gdpr_language", field) == ("GDPR_LANGUAGE",)


def test_dates_and_numbers_are_written_as_the_language_writes_them() -> None:
    assert [LANGUAGES[code].day(date(2026, 3, 1)) for code in LANGUAGES] == [
        "1 March 2026",
        "1. März 2026",
        "1er mars 2026",
    ]
    assert [LANGUAGES[code].number(1234567) for code in LANGUAGES] == ["1,234,567", "1.234.567", "1 234 567"]


FULL = internal(
    kept=[
        kept("conversations", 2, is_theirs=True),
        kept("sessions", 41, is_theirs=False),
        {**kept("crm", 1, is_theirs=True), "exception": "none"},
        ALWAYS,
    ],
    deleted=[deleted("sessions", 1234), deleted("memories", 2, at="2026-03-09T00:00:00+00:00")],
    holds=[{"hold": 7, "covers": "x", "reason": "case 7", "author": "counsel", "at": "2026-03-05"}],
)


@pytest.mark.parametrize("code", LANGUAGES)
def test_it_says_who_answers_what_was_done_and_what_the_person_may_do(code: str) -> None:
    text = text_of(letter_of(certificate(FULL, language=code, addressee=["Alice Müller", "1 Way"])))
    words = LANGUAGES[code]
    for line in (
        "Example Ltd",
        "1 Example Street",
        "privacy@example.org",
        "Data Protection Commission",
        "Alice Müller",
    ):
        assert line in text
    for day in (date(2026, 3, 8), date(2026, 3, 5), date(2026, 4, 5), date(2026, 3, 6), date(2026, 3, 9)):
        assert words.day(day) in text
    for article in ("17", "12", "77", "79", "11"):
        assert re.search(rf"\b{article}\b", text)
    for said in (
        words.kinds["sessions"],
        words.number(1234),
        words.reasons["shared"],
        words.reasons["unattributable"],
        words.reasons["unfinished"],
        words.delayed,
        words.complaint,
        words.remedy,
        words.kept_bases["audit_log"],
        words.kept_reasons["audit_log"].format(years=7),
        words.unknown_number,
        "41",
        "user:alice",
        "erasure_certificate_1",
    ):
        assert said in text


def test_a_letter_without_a_sender_or_a_contact_is_refused_and_says_what_to_set() -> None:
    for name, setting in (("controller", "GDPR_CONTROLLER"), ("contact", "GDPR_CONTACT")):
        with pytest.raises(ConfigurationError, match=f"^{setting} not set"):
            letter_of(certificate(sender={**SENDER, name: None}))
    assert "Data Protection Commission" not in text_of(letter_of(certificate(sender={**SENDER, "authority": None})))


def test_what_the_controller_says_and_calls_things_is_in_it() -> None:
    statement = internal(deleted=[deleted("app_prefs", 2)])
    document = certificate(statement, sender={**SENDER, "note": "Backups last 30 days.\nAsk us."})
    document["statement"]["deleted"][0].update(kind="described", words={"en": "Your settings"})
    text = text_of(letter_of(document))
    assert "Backups last 30 days." in text
    assert "Your settings" in text
    # Words in no language of the letter would be nobody's.
    assert LANGUAGES["fr"].kinds["other"] in text_of(letter_of({**document, "language": "fr"}))


def test_a_request_that_is_refused_or_withdrawn_is_told_with_the_reason() -> None:
    for outcome in ("refused", "withdrawn"):
        decision = {"kind": outcome, "at": "2026-03-21T00:00:00+00:00", "by": "dpo", "reason": "the tenth this week"}
        statement = internal(deleted=[], verified=[], decisions=[decision], result=outcome)
        text = text_of(letter_of(certificate(statement)))
        assert LANGUAGES["en"].outcomes[outcome] in text
        assert "the tenth this week" in text
        assert LANGUAGES["en"].complaint in text
        assert LANGUAGES["en"].title_undone in text
        for claim in (LANGUAGES["en"].title, LANGUAGES["en"].nothing_deleted, LANGUAGES["en"].scope):
            assert claim not in text
        assert "dpo" not in text


def test_an_extension_a_repetition_and_what_had_gone_are_told() -> None:
    extended = {"kind": "extended", "at": "x", "by": "dpo", "reason": "many requests", "deadline": "2026-06-05"}
    statement = internal({"replay_of": 3}, decisions=[extended], gone=[deleted("sessions", 2)], deleted=[])
    text = text_of(letter_of(certificate(statement)))
    for said in ("5 June 2026", "many requests", "request 3", LANGUAGES["en"].gone):
        assert said in text
    assert LANGUAGES["en"].outcomes["complete"].split(".")[0] in text
    assert LANGUAGES["en"].nothing_deleted not in text


def test_a_certificate_without_a_proof_says_so_and_claims_none() -> None:
    text = text_of(letter_of(certificate(proof=None)))
    assert LANGUAGES["en"].unproven in text
    assert LANGUAGES["en"].proven not in text
    assert "gdpr_deletion_1" in text


def test_nothing_found_is_not_called_an_erasure() -> None:
    text = text_of(letter_of(certificate(internal(deleted=[]))))
    assert "there was nothing to delete" in text
    assert "complete" not in text


def test_the_internal_record_has_every_detail() -> None:
    left = [kept("conversations", 2, is_theirs=True, references=["thread-of-bob", "default"]), ALWAYS]
    hold = {
        "hold": 7,
        "covers": "user user:alice",
        "reason": "case 4711",
        "author": "counsel",
        "at": "2026-03-05",
        "exception": "GDPR Article 17(3)(e)",
    }
    text = text_of(record_document(record(kept=left, holds=[hold], result="partial")))
    for detail in (
        "thread-of-bob",
        "redis://host-7.internal:6379/0",
        "case 4711",
        "counsel",
        "support",
        "gdpr_deletion_1",
    ):
        assert detail in text


def test_the_internal_record_calls_complete_only_what_is() -> None:
    assert result_in_words(internal()) == "success: complete"
    assert "complete" not in result_in_words(internal(kept=[kept("sessions", 1, is_theirs=False), ALWAYS]))
    assert "complete" not in result_in_words(internal(result="partial"))
