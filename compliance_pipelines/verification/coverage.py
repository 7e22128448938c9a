"""Whether the parts of a bucket and its ledger cover each other.

Here: segments in two parts, segments that the ledger has not, sealed segments in no part. Not here: anything that reads
the store.

A sealed segment without a part may be in PostgreSQL, of which a bucket knows nothing; so it is a note. But every part
takes all segments of its day that no part holds: one that was sealed before another of its day that is in a part must
have been in an earlier part, and that it is not is a finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date

    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.segment_index import SegmentIndex, Unheld


def compare_parts(index: SegmentIndex, size: int, journal: Journal) -> None:
    """Say which segments are in two parts, and whether the parts know of more segments than the ledger.

    Args:
        index: holds what each part holds.
        size: records in the ledger.
        journal: is told what does not fit.
    """
    for seq, day, keys in index.held_twice():
        message = f"segment {seq} of {day} is in more than one part: {keys}"
        journal.find(Finding(kind=Kind.PARTS_OVERLAP, day=day, segment=seq, message=message))
    last = index.last_held()
    if last is not None and last[0] >= size:
        seq, day, key = last
        message = (
            f"{key} holds segment {seq}, and the ledger in the cold store ends at {size} records: it was put back to "
            "an older state, or cut off"
        )
        journal.find(Finding(kind=Kind.LEDGER_ROLLED_BACK, day=day, checkpoint=size, segment=seq, message=message))


def check_coverage(
    index: SegmentIndex, unclear_days: Collection[date], archived_through: date | None, journal: Journal
) -> None:
    """Say which sealed segments no part holds, and whether that can be in order.

    Args:
        index: holds the ledger, and what each part holds.
        unclear_days: days with a part of which it is not known what it holds.
        archived_through: the last day that must be archived; None where nobody says so.
        journal: is told.
    """
    newest = index.last_day_held()
    waiting: list[Unheld] = []
    for unheld in index.unheld():
        if unheld.day in unclear_days:
            journal.note(_note(unheld, NoteKind.NOT_ARCHIVED, "what its damaged part holds is not known"))
        elif unheld.last_held is not None and unheld.first_seq < unheld.last_held:
            why = "and later ones are: the part that held them is missing from the cold store"
            journal.find(_finding(unheld, Kind.PART_MISSING, why))
        elif archived_through is not None and unheld.day <= archived_through:
            kind = Kind.DAY_MISSING if unheld.last_held is None else Kind.PART_MISSING
            journal.find(_finding(unheld, kind, f"and everything through {archived_through} must be archived"))
        elif unheld.last_held is None and newest is not None and unheld.day < newest:
            why = "and later days are archived: they are still in PostgreSQL, or the archive of the day is missing"
            journal.note(_note(unheld, NoteKind.GAP, why))
        else:
            waiting.append(unheld)
    if waiting:
        journal.note(_waiting(waiting))


def _finding(unheld: Unheld, kind: Kind, why: str) -> Finding:
    return Finding(kind=kind, day=unheld.day, segment=unheld.first_seq, message=f"{_counted(unheld)} in no part, {why}")


def _note(unheld: Unheld, kind: NoteKind, why: str) -> Note:
    return Note(kind=kind, day=unheld.day, segment=unheld.first_seq, message=f"{_counted(unheld)} in no part, {why}")


def _counted(unheld: Unheld) -> str:
    entries = "1 sealed entry is" if unheld.entries == 1 else f"{unheld.entries:,} sealed entries are"
    last = "" if unheld.segments == 1 else f" to {unheld.last_seq}"
    return f"{entries} (segment {unheld.first_seq}{last})"


def _waiting(waiting: Sequence[Unheld]) -> Note:
    """One note on all that waits for its archive, which are the last 90 days as a rule."""
    entries = sum(unheld.entries for unheld in waiting)
    first, last = waiting[0].day, waiting[-1].day
    days = f"{first}" if len(waiting) == 1 else f"{len(waiting)} days from {first} to {last}"
    message = f"of {days}, {entries:,} sealed entries are in no part: they must still be in PostgreSQL"
    return Note(kind=NoteKind.NOT_ARCHIVED, day=first if len(waiting) == 1 else None, message=message)
