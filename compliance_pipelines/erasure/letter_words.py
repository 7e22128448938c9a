"""The words of a certificate, whatever the language: which there must be, and how dates and numbers are written.

Here: the form of a language. Not here: the languages (letter_en.py, letter_de.py, letter_fr.py), and which words stand
where (letter.py).

`{name}` in a text is replaced; the names of headings (`{kept}`, `{not_deleted}`, `{rights}`) by those of this language.
The languages are checked for having the same codes and replacements by tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date


@dataclass(frozen=True, kw_only=True)
class Headings:
    """Of the sections."""

    asked: str
    result: str
    deleted: str
    gone: str
    not_deleted: str
    kept: str
    scope: str
    rights: str
    proof: str


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Of single values."""

    date: str
    reference: str
    user_id: str
    user_ids: str
    asked: str
    received: str
    due: str
    extension_reason: str
    reason: str
    kind: str
    number: str
    when: str
    why: str
    basis: str
    entry: str
    closing_entry: str
    recorded: str
    sha256: str
    ledger: str
    check: str


@dataclass(frozen=True, kw_only=True)
class Language:
    """A language.

    Attributes:
        code: BCP 47.
        months: their names, in the form that dates have.
        date_form: with `{day}`, `{month}`, `{year}`.
        first_of_month: how the first day is written.
        thousands: what separates them.
        period: with `{first}` and `{last}`, which are dates.
        page_of: with `{page}` and `{pages}`.
        title_undone: where the request is not carried out.
        outcomes: by code, and by code and `_nothing` where nothing was there to be deleted.
        kinds: of data, by code.
        unlinked: a kind whose rows stay and name nobody; with `{kind}`.
        counted: how many of a kind; with `{kind}` and `{number}`.
        not_deleted: what was not deleted, by the code of the reason.
        reasons: why something was not deleted, by code.
        bases: in law, by the same codes.
        kept_kinds, kept_reasons, kept_bases: of what every erasure leaves, by code.
    """

    code: str
    months: tuple[str, ...]
    date_form: str
    first_of_month: str
    thousands: str
    period: str
    page_of: str
    title: str
    title_undone: str
    subtitle: str
    reference: str
    headings: Headings
    labels: Labels
    asked: str
    due: str
    extended: str
    replay: str
    outcomes: Mapping[str, str]
    delayed: str
    verified: str
    nothing_deleted: str
    gone: str
    kinds: Mapping[str, str]
    unlinked: str
    unknown_number: str
    counted: str
    not_deleted: Mapping[str, str]
    reasons: Mapping[str, str]
    bases: Mapping[str, str]
    kept_kinds: Mapping[str, str]
    kept_reasons: Mapping[str, str]
    kept_bases: Mapping[str, str]
    scope: str
    complaint: str
    authority: str
    remedy: str
    contact: str
    greeting: str
    proven: str
    unproven: str
    utc: str

    def day(self, moment: date) -> str:
        """A date as the language writes it; of a datetime, its day as it is."""
        return self.date_form.format(
            day=self.first_of_month if moment.day == 1 else moment.day,
            month=self.months[moment.month - 1],
            year=moment.year,
        )

    def number(self, number: int) -> str:
        """A whole number with its thousands apart."""
        return f"{number:,}".replace(",", self.thousands)
