"""Parts that expired: what the ledger states about each, and whether it may be believed.

Here: the statements about expiries in the ledger that was proven, compared with its segments and with the retention.
Not here: the form of such a statement (ledger/expiries.py), looking for what is left of a part (days.py,
bucket_parts.py).

Only a statement that a signed root covers excuses that a part is gone, only if it names the segments of the part by
their root, and only if it was made after the retention had ended. Who has the signing key can state what is not so;
so each is shown, every time, and when it was made is bounded by the checkpoints that others have seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.layout import Family, PartKey, parse_key, part_root
from compliance_pipelines.ledger.expiries import Expiry, is_expiry
from compliance_pipelines.ledger.object_retention import retention_end
from compliance_pipelines.ledger.records import MalformedRecordError
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    from compliance_pipelines.ledger.records import Statement
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.segment_index import SegmentIndex

_KEY_IS_GONE: Final = frozenset({Kind.DATA_KEY_DESTROYED, Kind.DATA_KEY_MISSING})


@dataclass(frozen=True)
class StatedExpiry:
    """An expiry that the ledger states, of a part that held these segments.

    Attributes:
        expiry: what it says.
        stated_at: when.
        segments: of the part.
    """

    expiry: Expiry
    stated_at: datetime
    segments: tuple[Segment, ...]

    @property
    def key(self) -> PartKey:
        """The key of its object."""
        return PartKey.of(self.expiry.day, self.expiry.part, self.expiry.root)

    def __str__(self) -> str:
        expiry = self.expiry
        return (
            f"part {expiry.part} of {expiry.day} ({expiry.entries:,} entries, segments {expiry.first_seq} to "
            f"{expiry.last_seq}) expired after {expiry.years} years, as the ledger has stated since "
            f"{self.stated_at:%Y-%m-%d %H:%M} UTC"
        )


@dataclass
class StatedExpiries:
    """The expiries that may be believed, by what the revisions of the part have in common."""

    by_family: dict[Family, StatedExpiry] = field(default_factory=dict)

    def of(self, object_key: str) -> StatedExpiry | None:
        """What is stated about the part with this object, whichever revision it is."""
        key = parse_key(object_key)
        return None if key is None else self.by_family.get(key.family)


def accept_expiries(index: SegmentIndex, proven: int, years: int, journal: Journal) -> StatedExpiries:
    """Take every expiry that the ledger states, and find what is wrong with one.

    Args:
        index: holds the ledger under Source.LEDGER, what is void taken out; all of the days, or those that are wanted.
        proven: how many of its records are known to be those that were signed.
        years: for which archives are to be kept.
        journal: is told what is wrong.
    """
    stated = StatedExpiries()
    for statement in index.statements(Source.LEDGER, proven):
        if not is_expiry(statement):
            continue
        try:
            expiry = Expiry.of(statement)
        except MalformedRecordError as error:
            message = f"{error}; it excuses nothing"
            journal.find(Finding(kind=Kind.EXPIRY_INVALID, segment=statement.seq, message=message))
            continue
        _take(index, statement, expiry, years, journal, stated)
    return stated


def _take(  # noqa: PLR0913, PLR0917 - one statement, and who is told
    index: SegmentIndex,
    statement: Statement,
    expiry: Expiry,
    years: int,
    journal: Journal,
    stated: StatedExpiries,
) -> None:
    def find(why: str) -> None:
        message = f"record {statement.seq} states that part {expiry.part} of {expiry.day} expired, {why}"
        journal.find(
            Finding(kind=Kind.EXPIRY_INVALID, day=expiry.day, part=expiry.part, segment=statement.seq, message=message)
        )

    of_day = index.of_day(Source.LEDGER, expiry.day)
    if not of_day and not index.count(Source.LEDGER, expiry.first_seq, expiry.first_seq + 1):
        return  # the ledger of other days was looked at
    segments = [each for each in of_day if expiry.first_seq <= each.seq <= expiry.last_seq]
    entries = sum(each.entry_count for each in segments)
    if (len(segments), entries) != (expiry.segments, expiry.entries) or part_root(segments) != expiry.root:
        find("and the segments that it names are not those of a part of that root")
        return
    kept_until = _kept_until(expiry.day, years)
    if kept_until is None or kept_until > statement.sealed_at:
        until = "for ever" if kept_until is None else f"until {kept_until:%Y-%m-%d}"
        find(
            f"which it did on {statement.sealed_at:%Y-%m-%d %H:%M} UTC (after {expiry.years} years), and it was to be "
            f"kept for {years} years, {until}"
        )
        return
    entry = StatedExpiry(expiry, statement.sealed_at, tuple(segments))
    stated.by_family.setdefault(entry.key.family, entry)


def _kept_until(day: date, years: int) -> datetime | None:
    try:
        return retention_end(day, years)
    except (OverflowError, ValueError):
        return None


def but_for_its_key(findings: Iterable[Finding], stated: StatedExpiry | None) -> list[Finding]:
    """What was found about a part, but for its key, which goes first of a part that expires.

    Args:
        findings: about the part.
        stated: what the ledger states of it; None where it has not expired.
    """
    return [found for found in findings if stated is None or found.kind not in _KEY_IS_GONE]


def note_expired(journal: Journal, stated: StatedExpiry) -> None:
    """A part is gone, as the ledger states."""
    expiry = stated.expiry
    message = f"{stated}; it is not read"
    journal.note(Note(kind=NoteKind.PART_EXPIRED, day=expiry.day, part=expiry.part, message=message))


def unfinished(stated: StatedExpiry, left: str) -> Note:
    """A part is stated to have expired, and something of it is still there."""
    expiry = stated.expiry
    return Note(
        kind=NoteKind.EXPIRY_UNFINISHED,
        day=expiry.day,
        part=expiry.part,
        key=stated.key.object_key,
        message=f"{stated}, and {left}: `compliance expire {expiry.day}` goes on, unless a hold or a lock keeps it",
    )
