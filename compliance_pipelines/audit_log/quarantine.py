"""Entries that break a rule of the audit log, and so are neither sealed nor archived.

Here: putting them into quarantine, which leaves them where they are, and counting them. Not here: the rules, which are
constraints of `audit_logs` (migrations/versions/0005_hot_store_rules.sql), and the sealing, which asks for it.

Such rows are older than the rules, or somebody with a superuser's rights dropped a constraint. PostgreSQL itself judges
and records them, so that no text of theirs is ever in our memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.audit_log import sql

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy

ACTION: Final = "audit.quarantine"
NAMED: Final = 5


@dataclass(frozen=True)
class Quarantined:
    """The entries of one day that a sealing pass put into quarantine.

    Attributes:
        day: UTC day, as PostgreSQL writes it: it may lie outside the years that Python knows.
        entries: how many they are.
        reasons: the rules that they break, each once.
        ids: the smallest twenty of their ids.
    """

    day: str
    entries: int
    reasons: tuple[str, ...]
    ids: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.day}: {counted(self.entries)} ({named_ids(self.ids, self.entries)}): {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class QuarantinedOnDay:
    """What the quarantine holds of one day.

    Attributes:
        entries: how many.
        ids: the smallest five.
        reasons: the rules that they break, each once.
        removed: how many are no longer in `audit_logs`.
        sound: how many stand there and break no rule.
    """

    entries: int = 0
    ids: tuple[int, ...] = ()
    reasons: tuple[str, ...] = ()
    removed: int = 0
    sound: int = 0

    def __str__(self) -> str:
        return f"{counted(self.entries)} ({named_ids(self.ids, self.entries)}): {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class QuarantineTotal:
    """All that the quarantine holds; there is something.

    Attributes:
        entries: how many.
        days: of how many days.
        first_day: the oldest of them, as PostgreSQL writes it.
        last_day: the newest.
        ids: the smallest five.
    """

    entries: int
    days: int
    first_day: str
    last_day: str
    ids: tuple[int, ...]

    def __str__(self) -> str:
        span = self.first_day if self.days == 1 else f"{self.first_day} to {self.last_day}"
        return f"{counted(self.entries)} of {span} ({named_ids(self.ids, self.entries)}), neither sealed nor archived"


def counted(entries: int) -> str:
    """How many quarantined entries, in words."""
    return "1 quarantined entry" if entries == 1 else f"{entries:,} quarantined entries"


def named_ids(ids: tuple[int, ...], entries: int) -> str:
    """Some of the ids, in words."""
    shown = ids[:NAMED]
    return "id " + ", ".join(map(str, shown)) + (", ..." if entries > len(shown) else "")


def quarantine_broken(connection: sqlalchemy.Connection, tx_from: int, tx_to: int) -> tuple[Quarantined, ...]:
    """Put the entries of a range of transaction ids that break a rule into quarantine; the caller commits.

    Returns:
        Those that were not in it before, by day.
    """
    rows = connection.execute(sql.QUARANTINE_ENTRIES, {"tx_from": tx_from, "tx_to": tx_to})
    return tuple(Quarantined(row.day, row.entries, tuple(row.reasons), tuple(row.ids)) for row in rows)


def quarantine_total(connection: sqlalchemy.Connection) -> QuarantineTotal | None:
    """What the quarantine holds; None where it is empty, as it should be."""
    row = connection.execute(sql.QUARANTINED).one()
    if not row.entries:
        return None
    return QuarantineTotal(row.entries, row.days, row.first_day, row.last_day, tuple(row.ids))


def quarantined_on(connection: sqlalchemy.Connection, day: date) -> QuarantinedOnDay:
    """What the quarantine holds of a day, each row judged again."""
    row = connection.execute(sql.QUARANTINED_ON_DAY, {"day": day}).one()
    return QuarantinedOnDay(
        row.entries, tuple(row.ids or ())[:NAMED], tuple(row.reasons or ()), removed=row.removed, sound=row.sound
    )
