"""The certificate of an erasure as a letter: which words stand where.

Here: a certificate's facts become a document in the certificate's language. Not here: the words (letter_words.py), how
it looks (pages_html.py, pages_pdf.py).
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.erasure.certificate import require_sender
from compliance_pipelines.erasure.kinds import DESCRIBED, OTHER
from compliance_pipelines.erasure.letter_de import GERMAN
from compliance_pipelines.erasure.letter_en import ENGLISH
from compliance_pipelines.erasure.letter_fr import FRENCH
from compliance_pipelines.erasure.pages import Document, Item, Lines, Paragraph, Section, Table, Values
from compliance_pipelines.erasure.person_statement import NOT_CARRIED_OUT, REASONS
from compliance_pipelines.erasure.statements import canonical_json, statement_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compliance_pipelines.erasure.letter_words import Language
    from compliance_pipelines.erasure.pages import Block

LANGUAGES: Final[dict[str, Language]] = {each.code: each for each in (ENGLISH, GERMAN, FRENCH)}
# A checkpoint begins with its ledger's name, its size, and its root.
_HEAD_LINES: Final = 3
_COMMAND: Final = "compliance verify-proof FILE.json --public-key KEY"


def letter_of(certificate: Mapping[str, Any]) -> Document:
    """The letter.

    Args:
        certificate: as `certificate_of` makes it.

    Raises:
        ConfigurationError: it does not say who sends it.
    """
    require_sender(certificate["sender"])
    return _Letter(certificate).document()


class _Letter:
    """One letter, in its language."""

    def __init__(self, certificate: Mapping[str, Any]) -> None:
        self._certificate = certificate
        self._statement = certificate["statement"]
        self._sender = certificate["sender"]
        self._words = LANGUAGES[certificate["language"]]
        self._undone = self._statement["outcome"] in NOT_CARRIED_OUT

    def document(self) -> Document:
        words, certificate = self._words, self._certificate
        issued = date.fromisoformat(certificate["issued_on"])
        controller = _lines(self._sender["controller"])
        sections = (
            self._asked(),
            self._result(),
            self._deleted(),
            self._gone(),
            self._not_deleted(),
            self._kept(),
            self._scope(),
            self._rights(),
        )
        return Document(
            language=words.code,
            title=words.title_undone if self._undone else words.title,
            subtitle=words.subtitle,
            sender=controller,
            facts=(
                (words.labels.date, words.day(issued)),
                (words.labels.reference, words.reference.format(number=self._statement["request"]["id"])),
            ),
            addressee=tuple(certificate["addressee"] or self._statement["request"]["user_ids"]),
            sections=tuple(section for section in sections if section.blocks),
            closing=(words.greeting, controller[0]),
            annex=(self._proof(),),
            dated=issued,
            page_of=words.page_of,
            data=json.dumps(certificate, ensure_ascii=False, indent=2) + "\n",
            data_name="certificate.json",
        )

    def _section(self, heading: str, *blocks: Block | None) -> Section:
        return Section(getattr(self._words.headings, heading), tuple(block for block in blocks if block is not None))

    def _asked(self) -> Section:
        words, labels, request = self._words, self._words.labels, self._statement["request"]
        user_ids = tuple(request["user_ids"])
        extension = self._statement["extension"]
        rows = [
            (labels.user_id if len(user_ids) == 1 else labels.user_ids, user_ids),
            (labels.asked, (words.asked,)),
            (labels.received, (self._day(request["received_at"]),)),
            (labels.due, (self._due(request["deadline"], extension),)),
        ]
        if extension is not None:
            rows.append((labels.extension_reason, (extension["reason"],)))
        again = request["replay_of"]
        replay = None if again is None else Paragraph(words.replay.format(number=again))
        return self._section("asked", Values(tuple(rows)), replay)

    def _due(self, deadline: str, extension: Mapping[str, Any] | None) -> str:
        first = self._words.day(date.fromisoformat(deadline))
        if extension is None:
            return self._words.due.format(date=first)
        return self._words.extended.format(date=self._words.day(date.fromisoformat(extension["deadline"])), first=first)

    def _result(self) -> Section:
        words, statement = self._words, self._statement
        outcome, decision, verified = statement["outcome"], statement["decision"], statement["verified_at"]
        nothing = f"{outcome}_nothing"
        if nothing in words.outcomes and not (statement["deleted"] or statement["gone"]):
            outcome = nothing
        return self._section(
            "result",
            Paragraph(self._filled(words.outcomes[outcome]), strong=True),
            None if decision is None else Values(((words.labels.reason, (decision["reason"],)),)),
            Paragraph(words.delayed) if statement["delayed_by_legal_claims"] else None,
            None if verified is None else Paragraph(words.verified.format(date=self._day(verified))),
        )

    def _filled(self, text: str) -> str:
        """A text with the headings that it refers to."""
        headings = self._words.headings
        return text.format(kept=headings.kept, not_deleted=headings.not_deleted, rights=headings.rights)

    def _deleted(self) -> Section:
        if self._statement["deleted"]:
            return self._section("deleted", self._table(self._statement["deleted"]))
        # What the result says need not be said twice, and what had gone comes next.
        told = self._undone or self._statement["gone"]
        return self._section("deleted", None if told else Paragraph(self._words.nothing_deleted))

    def _gone(self) -> Section:
        gone = self._statement["gone"]
        return self._section("gone", *((Paragraph(self._words.gone), self._table(gone)) if gone else ()))

    def _table(self, kinds: Sequence[Mapping[str, Any]]) -> Table:
        labels = self._words.labels
        return Table(
            (labels.kind, labels.number, labels.when),
            tuple((self._kind(each), self._number(each["count"]), self._period(each)) for each in kinds),
        )

    def _not_deleted(self) -> Section:
        words, not_deleted = self._words, self._statement["not_deleted"]
        reasons = [reason for reason in REASONS if any(each["reason"] == reason for each in not_deleted)]
        return self._section(
            "not_deleted",
            *(
                self._item(
                    words.not_deleted[reason],
                    tuple(self._counted(each) for each in not_deleted if each["reason"] == reason),
                    words.reasons[reason],
                    self._filled(words.bases[reason]),
                )
                for reason in reasons
            ),
        )

    def _counted(self, told: Mapping[str, Any]) -> str:
        return self._words.counted.format(kind=self._kind(told), number=self._number(told["count"]))

    def _kept(self) -> Section:
        words = self._words
        if self._undone:
            # Nothing is kept for these reasons in particular: all of it stays.
            return self._section("kept")
        return self._section(
            "kept",
            *(
                self._item(
                    words.kept_kinds[each["kind"]],
                    (),
                    words.kept_reasons[each["kind"]].format(years=each.get("years")),
                    words.kept_bases[each["kind"]],
                )
                for each in self._statement["kept_by_law"]
            ),
        )

    def _item(self, title: str, counted: tuple[str, ...], why: str, basis: str) -> Item:
        labels = self._words.labels
        rows = (*(((labels.kind, counted),) if counted else ()), (labels.why, (why,)), (labels.basis, (basis,)))
        return Item(title, (Values(rows),))

    def _scope(self) -> Section:
        if self._undone:
            return self._section("scope")
        note = self._sender["note"] or ""
        return self._section("scope", Paragraph(self._words.scope), *(Paragraph(line) for line in _lines(note) if line))

    def _rights(self) -> Section:
        words, authority = self._words, self._sender["authority"]
        named = () if authority is None else (Lines(_lines(authority), words.authority),)
        return self._section(
            "rights",
            Paragraph(words.complaint),
            *named,
            Paragraph(words.remedy),
            Lines(_lines(self._sender["contact"]), words.contact),
        )

    def _proof(self) -> Section:
        words, labels, proof = self._words, self._words.labels, self._certificate["proof"]
        closing_entry = (labels.closing_entry, (self._certificate["deletion_record"],))
        if proof is None:
            return self._section("proof", Paragraph(words.unproven), Values((closing_entry,)))
        return self._section(
            "proof",
            Paragraph(words.proven),
            Values(
                (
                    (labels.entry, (proof["entry"]["log_entry_id"],)),
                    (labels.recorded, (self._moment(proof["entry"]["timestamp"]),)),
                    closing_entry,
                    (labels.sha256, (statement_hash(canonical_json(self._statement)),)),
                    (labels.ledger, tuple(proof["checkpoint"].split("\n")[:_HEAD_LINES])),
                    (labels.check, (_COMMAND,)),
                )
            ),
        )

    def _kind(self, told: Mapping[str, Any]) -> str:
        words = self._words
        kind = words.kinds[OTHER if told["kind"] == DESCRIBED else told["kind"]]
        if told["kind"] == DESCRIBED:
            kind = told["words"].get(words.code, kind)
        return words.unlinked.format(kind=kind) if told.get("unlinked") else kind

    def _number(self, count: int | None) -> str:
        return self._words.unknown_number if count is None else self._words.number(count)

    def _period(self, told: Mapping[str, Any]) -> str:
        first, last = self._day(told["first_at"]), self._day(told["last_at"])
        return first if first == last else self._words.period.format(first=first, last=last)

    def _day(self, moment: str) -> str:
        return self._words.day(datetime.fromisoformat(moment).astimezone(UTC))

    def _moment(self, moment: str) -> str:
        at = datetime.fromisoformat(moment).astimezone(UTC)
        return f"{self._words.day(at)}, {at:%H:%M:%S} {self._words.utc}"


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n"))
