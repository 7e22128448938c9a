"""What the person is told: every fact that is theirs, and nothing that is internal or somebody else's."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance_pipelines.erasure.kinds import OWN_KINDS, REDUCED, UNLINKED, Kinds
from compliance_pipelines.erasure.letter import LANGUAGES, letter_of
from compliance_pipelines.erasure.pages_html import to_html
from compliance_pipelines.erasure.pages_pdf import to_pdf
from compliance_pipelines.erasure.person_statement import statement_for_person
from compliance_pipelines.settings import Settings
from tests.unit.erasure.documents import ALWAYS, certificate, deleted, internal, kept, told, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping

UNFINISHED = {**kept("crm", 1, is_theirs=True, references=[]), "exception": "none"}
COMPLETE_WORDS = ("complet", "vollständig", "lückenlos")

_Example = TypeVar("_Example")


class Secrets:
    """Texts that must not reach the person, each of them told from every other text."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, form: str = "{}") -> str:
        """A new one within a text such as a URL."""
        self.made.append(f"zq{uuid.uuid4().hex}")
        return form.format(self.made[-1])


class Draw(Protocol):
    """What takes an example of a strategy."""

    def __call__(self, strategy: st.SearchStrategy[_Example], /) -> _Example: ...


def secret_statement(draw: Draw, secrets: Secrets) -> dict[str, Any]:
    """Any internal statement, whose every text that is not the person's is a secret."""
    data_types = st.sampled_from(OWN_KINDS) | st.builds(secrets)
    counts = st.integers(1, 10_000)

    def found(data_type: str) -> dict[str, Any]:
        return {
            "target": secrets(),
            "location": secrets("redis://login@{}.internal:6379/0"),
            "data_type": data_type,
            "count": draw(counts),
            "at": f"2026-03-{draw(st.integers(1, 28)):02}T10:00:00+00:00",
        }

    def left() -> dict[str, Any]:
        return {
            "data_type": draw(data_types),
            "where": secrets("postgresql://db-{}/app, people"),
            "count": draw(counts),
            "references": [secrets("session:{}") for _ in range(draw(st.integers(0, 3)))],
            "why": secrets("the table {} has it"),
            "exception": draw(st.sampled_from(["none", "none by itself", secrets()])),
            "is_theirs": draw(st.booleans()),
        }

    def hold() -> dict[str, Any]:
        return {
            "hold": secrets(),
            "covers": secrets("thread {}"),
            "reason": secrets("case {} v. Bob"),
            "author": secrets("counsel {}"),
            "exception": secrets(),
            "attempt": 1,
            "target": secrets(),
            "at": "2026-03-05T10:00:00+00:00",
            "data_type": secrets(),
            "count": 3,
        }

    def decision() -> dict[str, Any]:
        return {
            "kind": draw(st.sampled_from(["asked_again", "extended", "corrected", "refused", "withdrawn"])),
            "at": "2026-03-05T10:00:00+00:00",
            "by": secrets(),
            "reason": "told to the person",
            "basis": secrets(),
            "requested_by": secrets(),
            "deadline": "2026-06-05",
            "deleted": {secrets(): 1},
            "removed": [secrets()],
        }

    def several(one: Any) -> list[Any]:  # noqa: ANN401 - any maker
        return [one() for _ in range(draw(st.integers(0, 3)))]

    statement = internal(
        {"subject": secrets(), "reason": secrets(), "requested_by": secrets()},
        deleted=several(lambda: found(draw(data_types))),
        gone=several(lambda: found(draw(data_types))),
        kept=[*several(left), ALWAYS],
        holds=several(hold),
        decisions=several(decision),
        result=draw(st.sampled_from(["success", "partial", "refused", "withdrawn"])),
        verified=[{**found("x"), "notes": [secrets("the column {} has another type")]}],
    )
    # What a later version may say of requests and of what was found.
    statement[secrets()] = statement["request"][secrets()] = secrets()
    for each in (*statement["deleted"], *statement["kept"]):
        each[secrets()] = secrets()
    return statement


def shown_nowhere(secrets: Secrets, *texts: str) -> None:
    for text in texts:
        assert not [secret for secret in secrets.made if secret in text]


@given(st.data())
def test_nothing_internal_is_in_what_the_person_is_told(data: st.DataObject) -> None:
    secrets = Secrets()
    statement = secret_statement(data.draw, secrets)
    language = data.draw(st.sampled_from(sorted(LANGUAGES)))
    overwritten = {each["data_type"]: REDUCED for each in statement["deleted"][:1]}
    document = certificate(statement, kinds=Kinds({}, overwritten), language=language)
    shown_nowhere(secrets, json.dumps(document), to_html(letter_of(document), with_fonts=False))


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_nothing_internal_is_in_the_pdf_either(data: st.DataObject) -> None:
    secrets = Secrets()
    document = certificate(secret_statement(data.draw, secrets))
    with pypdfium2.PdfDocument(to_pdf(letter_of(document))) as pdf:
        attached = bytes(pdf.get_attachment(0).get_data()).decode()
        shown_nowhere(secrets, words_of(pdf), attached, json.dumps(pdf.get_metadata_dict()))


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        ([], "complete"),
        ([kept("conversations", 3, is_theirs=False)], "attributable"),
        ([kept("conversations", 1, is_theirs=True)], "partial"),
        ([UNFINISHED], "partial"),
        ([kept("sessions", 1, is_theirs=False), kept("conversations", 1, is_theirs=True)], "partial"),
    ],
)
def test_the_outcome_says_no_more_than_is_known(left: list[dict[str, Any]], outcome: str) -> None:
    assert told(internal(kept=[*left, ALWAYS]))["outcome"] == outcome


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("nothing", [True, False])
def test_complete_never_stands_beside_data_of_which_nobody_can_tell_whose_they_are(
    language: str, *, nothing: bool
) -> None:
    left = [kept("conversations", 3, is_theirs=False), ALWAYS]
    statement = internal(kept=left, deleted=[] if nothing else [deleted("sessions", 1)])
    page = to_html(letter_of(certificate(statement, language=language)), with_fonts=False).lower()
    assert not [word for word in COMPLETE_WORDS if word in page]
    whole = to_html(letter_of(certificate(language=language)), with_fonts=False).lower()
    assert [word for word in COMPLETE_WORDS if word in whole]


def test_what_was_deleted_is_counted_by_kind() -> None:
    statement = internal(
        deleted=[
            deleted("conversations", 3, at="2026-03-06T10:00:00+00:00"),
            deleted("conversations", 2, at="2026-03-05T10:00:00+00:00"),
            deleted("app_prefs", 1),
            deleted("crm_rows", 4),
            deleted("crm_notes", 5),
        ]
    )
    kinds = Kinds({"app_prefs": {"en": "Your settings"}})
    conversations, preferences, other = told(statement, kinds=kinds)["deleted"]
    assert (conversations["kind"], conversations["count"]) == ("conversations", 5)
    assert (conversations["first_at"][:10], conversations["last_at"][:10]) == ("2026-03-05", "2026-03-06")
    assert (preferences["kind"], preferences["words"], preferences["count"]) == (
        "described",
        {"en": "Your settings"},
        1,
    )
    assert (other["kind"], other["count"]) == ("other", 9)


def test_what_was_not_deleted_is_counted_by_kind_and_reason() -> None:
    left = [
        kept("conversations", 3, is_theirs=False),
        kept("conversations", 2, is_theirs=True),
        kept("prefs", 4, is_theirs=False),
        kept("crm", 5, is_theirs=False),
        UNFINISHED,
        ALWAYS,
    ]
    counted = {(each["reason"], each["kind"]): each["count"] for each in told(internal(kept=left))["not_deleted"]}
    assert counted == {
        ("unattributable", "conversations"): 3,
        ("shared", "conversations"): 2,
        ("unattributable", "other"): 9,
        ("unfinished", "other"): None,
    }


def test_a_number_that_an_older_version_did_not_know_is_not_told() -> None:
    """It counted what was found in a table as one, however many rows it was."""
    left = [kept("prefs", 1, is_theirs=False), kept("sessions", 2, is_theirs=False), ALWAYS]
    statement = internal(kept=left)
    assert [each["count"] for each in told(statement)["not_deleted"]] == [1, 2]
    assert [each["count"] for each in told(statement, counts_rows=False)["not_deleted"]] == [None, 2]


def test_rows_that_lose_details_and_stay_are_not_called_deleted() -> None:
    kinds = Kinds({"consents": {"en": "Your consents"}}, {"consents": REDUCED})
    statement = told(internal(deleted=[deleted("consents", 4), deleted("sessions", 1)]), kinds=kinds)
    assert statement["outcome"] == "partial"
    assert [each["kind"] for each in statement["deleted"]] == ["sessions"]
    (reduced,) = statement["not_deleted"]
    assert (reduced["reason"], reduced["count"], reduced["words"]) == ("reduced", 4, {"en": "Your consents"})


def test_rows_that_lost_their_details_before_are_not_forgotten() -> None:
    verified = [{"target": "consents", "location": "db", "at": "2026-03-06T10:02:00+00:00"}]
    statement = told(internal(verified=verified), kinds=Kinds({}, {"consents": REDUCED}))
    assert (statement["outcome"], [each["count"] for each in statement["not_deleted"]]) == ("partial", [0])


def test_rows_that_name_nobody_any_more_are_gone_for_the_person() -> None:
    statement = told(internal(deleted=[deleted("votes", 4)]), kinds=Kinds({}, {"votes": UNLINKED}))
    assert (statement["outcome"], statement["deleted"][0]["unlinked"]) == ("complete", True)


def test_what_becomes_of_rows_is_read_off_the_settings() -> None:
    tables = [
        {"database_url": "postgresql://localhost/a", "table": "a", "user_column": "u", "action": "delete"},
        {
            "database_url": "postgresql://localhost/a",
            "table": "b",
            "user_column": "u",
            "action": "set",
            "set": {"x": 1},
        },
        {
            "name": "votes",
            "database_url": "postgresql://localhost/a",
            "table": "c",
            "user_column": "u",
            "action": "set",
            "set": {"u": None},
        },
    ]
    values: Mapping[str, Any] = {
        "gdpr_sql_targets": json.dumps(tables),
        "gdpr_data_words": {"a": {"en": "Your things"}},
    }
    kinds = Kinds.from_settings(Settings(_env_file=None, **values))
    assert kinds.overwritten == {"b": REDUCED, "votes": UNLINKED}
    assert kinds.words == {"a": {"en": "Your things"}}


def test_a_hold_is_told_as_legal_claims_alone() -> None:
    hold = {"hold": 7, "covers": "user user:alice", "reason": "case 4711", "author": "counsel", "at": "2026-03-05"}
    assert told(internal(holds=[hold]))["delayed_by_legal_claims"] is True
    assert told(internal())["delayed_by_legal_claims"] is False


def test_ids_decisions_and_what_had_gone_are_told() -> None:
    statement = internal(
        {"identifiers": ["user:alice", "alice@example.org"]},
        decisions=[
            {
                "kind": "extended",
                "at": "2026-03-20T00:00:00+00:00",
                "by": "dpo",
                "reason": "many",
                "deadline": "2026-06-05",
            },
            {"kind": "refused", "at": "2026-03-21T00:00:00+00:00", "by": "dpo", "reason": "the tenth", "basis": "x"},
        ],
        gone=[deleted("sessions", 2)],
        result="refused",
    )
    said = told(statement)
    assert said["request"]["user_ids"] == ["user:alice", "alice@example.org"]
    assert said["extension"] == {"deadline": "2026-06-05", "reason": "many"}
    assert (said["outcome"], said["decision"]["reason"]) == ("refused", "the tenth")
    assert [(each["kind"], each["count"]) for each in said["gone"]] == [("sessions", 2)]


def test_the_salt_keeps_the_statement_from_being_guessed() -> None:
    one, other = (
        statement_for_person(internal(), kinds=Kinds(), retention_years=7, salt=salt) for salt in ("00", "01")
    )
    assert {**one, "salt": ""} == {**other, "salt": ""}
    assert one != other
