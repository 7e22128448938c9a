"""What is recorded about the days of a period: which entries are where.

Here: the facts of one snapshot, and what they do not account for. Not here: what of it is read (plan.py).

Each entry counts once. As long as a part was not purged its rows are in PostgreSQL, and are taken from there; once it
was, they are in the part alone. A row that stands in PostgreSQL in a segment that was purged is a stranger there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive.catalogue import part_of_row
from compliance_pipelines.base.counting import counted
from compliance_pipelines.search import sql

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.search.period import Period

_VERIFY: Final = "run `compliance verify {}`"


@dataclass(frozen=True)
class HotDay:
    """A day that has rows in PostgreSQL.

    Attributes:
        rows: how many, whatever they are.
        purged: transaction ids, from and to, of segments whose rows left PostgreSQL; in order.
    """

    day: date
    rows: int
    purged: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Holdings:
    """The entries of some days.

    Attributes:
        parts: those whose entries are nowhere else, and that have not expired.
        expired: those whose entries are nowhere any more.
        hot_days: days with rows in PostgreSQL.
        gaps: what is on record and neither here nor there, or cannot be shown, in words.
    """

    parts: tuple[ArchivedPart, ...]
    expired: tuple[ArchivedPart, ...]
    hot_days: tuple[HotDay, ...]
    gaps: tuple[str, ...]


def holdings(connection: sqlalchemy.Connection, period: Period) -> Holdings:
    """What is recorded about the days of a period.

    Args:
        connection: in a snapshot in which no partition is dropped.
        period: whose days.
    """
    days = {"first": period.first_day, "last": period.last_day}
    parts = [part_of_row(row) for row in connection.execute(sql.PARTS_BETWEEN, days)]
    gone = {(part.day, part.part): part for part in parts if part.purged_at is not None}
    known = {(part.day, part.part) for part in parts}
    sealed: Counter[date] = Counter()
    in_parts: Counter[tuple[date, int]] = Counter()
    gaps: list[str] = []
    for row in connection.execute(sql.SEGMENTS_BETWEEN, days):
        if (row.day, row.part) in gone:
            in_parts[row.day, row.part] += row.entries
        elif row.part is None or (row.day, row.part) in known:
            sealed[row.day] += row.entries
        else:
            gaps.append(
                f"{row.day}: {_entries(row.entries)} are on record as archived in part {row.part}, which the catalogue "
                f"does not have; {_VERIFY.format(row.day)}"
            )
    for key, part in gone.items():
        if in_parts[key] != part.entry_count:
            gaps.append(
                f"{part.day}: part {part.part} has {_entries(part.entry_count)} by the catalogue and "
                f"{in_parts[key]:,} by the ledger's segments; {_VERIFY.format(part.day)}"
            )
    hot, missing = _hot(connection, days, sealed, gone.values())
    return Holdings(
        tuple(part for part in gone.values() if part.expired_at is None),
        tuple(part for part in gone.values() if part.expired_at is not None),
        hot,
        (*gaps, *missing),
    )


def _hot(
    connection: sqlalchemy.Connection, days: dict[str, date], sealed: Counter[date], gone: Collection[ArchivedPart]
) -> tuple[tuple[HotDay, ...], list[str]]:
    """The days with rows in PostgreSQL, and what of them is not there or cannot be shown."""
    unsealed = _per_day(connection, sql.UNSEALED_BETWEEN, days)
    quarantined = _per_day(connection, sql.QUARANTINED_BETWEEN, days)
    wanted = sorted({*sealed, *unsealed, *quarantined})
    rows = _per_day(connection, sql.ROWS_OF_DAYS, {"days": wanted})
    gaps = []
    for day in wanted:
        missing = sealed[day] - (rows[day] - unsealed[day] - quarantined[day])
        if missing > 0:
            gaps.append(
                f"{day}: {_entries(missing)} of {sealed[day]:,} that were sealed are neither in PostgreSQL nor in a "
                f"part that takes their place; {_VERIFY.format(day)}"
            )
        if quarantined[day]:
            gaps.append(
                f"{day}: {_entries(quarantined[day])} in quarantine, for breaking a rule of the table, and not shown; "
                "`compliance check` tells more"
            )
    both = sorted({part.day for part in gone} & {day for day in wanted if rows[day]})
    purged: dict[date, list[tuple[int, int]]] = {}
    if both:
        for row in connection.execute(sql.PURGED_TRANSACTIONS, {"days": both}):
            purged.setdefault(row.day, []).append((row.tx_from, row.tx_to))
    return tuple(HotDay(day, rows[day], tuple(purged.get(day, ()))) for day in wanted if rows[day]), gaps


def _per_day(
    connection: sqlalchemy.Connection, statement: sqlalchemy.TextClause, parameters: dict[str, Any]
) -> Counter[date]:
    return Counter({row.day: row.entries for row in connection.execute(statement, parameters)})


def _entries(number: int) -> str:
    return counted(number, "entry", "entries")
