"""Frozen plans and the record of what was removed, in PostgreSQL.

Here: writing and reading the tables of the migration 0002. Not here: when (purge.py).

Ids of threads and users stand in the work list only; the rows of a plan leave it in the transaction that records its
set. What is recorded carries keyed hashes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from compliance_pipelines.conversations import sql
from compliance_pipelines.conversations.freezing import FrozenThread, pack, unpack
from compliance_pipelines.conversations.outcomes import Outcome, Removal
from compliance_pipelines.conversations.place import Place
from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.copying import CopyTarget, copy_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.conversations.keys import KeyLayout
    from compliance_pipelines.conversations.plan import Plan

_WORK: Final = CopyTarget.of(tables.conversation_purge_work)
_PURGED_THREADS: Final = CopyTarget.of(tables.conversation_purged_threads)
# A work item names every key of a conversation: a few thousand bytes, seldom more than a mebibyte.
_ROWS_AT_ONCE: Final = 64


@dataclass(frozen=True)
class WorkItem:
    """A conversation, or an orphan, that a frozen plan removes.

    Attributes:
        number: its place in the plan.
        thread_id: its id in stored form; None for an orphan.
        name: name of the orphan's head; None for a conversation.
        users: its users.
        thread_hash: what the record calls it; None for an orphan.
        user_hashes: what the record calls its users.
        oldest: first activity.
        newest: last activity.
        frozen: what is to go, and what must still be so.
    """

    number: int
    thread_id: str | None
    name: bytes | None
    users: frozenset[str]
    thread_hash: str | None
    user_hashes: list[str]
    oldest: datetime | None
    newest: datetime | None
    frozen: FrozenThread

    def content(self) -> bytes:
        """What the work list keeps of it beside the columns."""
        name = None if self.name is None else self.name.decode("latin-1")
        return pack(self.frozen, {"thread_id": self.thread_id, "name": name, "users": sorted(self.users)})

    @classmethod
    def from_row(cls, row: sqlalchemy.Row[Any]) -> WorkItem:
        """The item of a row of `conversation_purge_work`."""
        frozen, about = unpack(row.content)
        name = about["name"]
        return cls(
            row.number,
            about["thread_id"],
            None if name is None else name.encode("latin-1"),
            frozenset(about["users"]),
            row.thread_hash,
            list(row.user_hashes),
            row.oldest_activity,
            row.newest_activity,
            frozen,
        )


@dataclass(frozen=True)
class OpenPurge:
    """A frozen plan whose set is not recorded yet.

    Attributes:
        place: what it is about; None where it was frozen before plans said so.
    """

    id: int
    day: date
    cutoff: datetime
    threads_due: int
    planned_at: datetime
    place: Place | None = None


@dataclass(frozen=True)
class PurgedSet:
    """The record of one purge.

    Attributes:
        purge_id: its number.
        day: the day that it counts for.
        cutoff: what was last active before was due.
        threads_deleted: conversations removed.
        threads_moved: written to after the plan, and left alone.
        threads_held: under a legal hold that came after the plan, and left alone.
        threads_gone: of which nothing was left to remove.
        threads_resurrected: removed, and found again by the survey afterwards: a late writer.
        threads_abandoned: of a plan that was given up; they are as they were.
        orphan_keys_left: orphans that the survey afterwards found.
        key_counts: keys removed, by kind.
        bytes_freed: memory of these keys.
        bytes_unknown: conversations whose memory is not in `bytes_freed`: an interruption lost the figure.
        oldest_activity: first activity of all that was removed.
        newest_activity: last activity of all that was removed.
        seconds: from the plan to the record.
        recorded_at: when it was recorded.
        log_entry_id: the audit entry about it.
        place: which Redis and which prefixes it is about; None where it was planned before plans said so.
    """

    purge_id: int
    day: date
    cutoff: datetime
    threads_deleted: int
    threads_moved: int
    threads_held: int
    threads_gone: int
    threads_resurrected: int
    threads_abandoned: int
    orphan_keys_left: int
    key_counts: dict[str, int]
    bytes_freed: int
    bytes_unknown: int
    oldest_activity: datetime | None
    newest_activity: datetime | None
    seconds: float
    recorded_at: datetime
    log_entry_id: str
    place: Place | None = None

    @property
    def keys_deleted(self) -> int:
        """Keys removed, of all kinds."""
        return sum(self.key_counts.values())

    def as_json(self) -> dict[str, Any]:
        """The record for a program."""
        return {
            "purge": self.purge_id,
            "place": place_as_json(self.place),
            "day": self.day.isoformat(),
            "cutoff": self.cutoff.isoformat(),
            "threads_deleted": self.threads_deleted,
            "threads_moved": self.threads_moved,
            "threads_held": self.threads_held,
            "threads_gone": self.threads_gone,
            "threads_resurrected": self.threads_resurrected,
            "threads_abandoned": self.threads_abandoned,
            "orphan_keys_left": self.orphan_keys_left,
            "keys_deleted": self.keys_deleted,
            "key_counts": self.key_counts,
            "bytes_freed": self.bytes_freed,
            "bytes_unknown": self.bytes_unknown,
            "oldest_activity": None if self.oldest_activity is None else self.oldest_activity.isoformat(),
            "newest_activity": None if self.newest_activity is None else self.newest_activity.isoformat(),
            "seconds": round(self.seconds, 3),
            "recorded_at": self.recorded_at.isoformat(),
            "log_entry_id": self.log_entry_id,
        }


def _batches(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    remaining = iter(rows)
    while some := list(islice(remaining, _ROWS_AT_ONCE)):
        yield pa.RecordBatch.from_pylist(some, schema)


# Frozen plans


def insert_purge(  # noqa: PLR0913 - each by its name
    connection: sqlalchemy.Connection,
    plan: Plan,
    *,
    place: Place,
    day: date,
    user_hash: str | None,
    confirmed: int | None,
) -> int:
    """Write the head of a frozen plan and return its number."""
    selection = {
        name: value
        for name, value in (("user_hash", user_hash), ("older_than_days", plan.selection.older_than_days))
        if value is not None
    }
    return int(
        connection.execute(
            sql.INSERT_PURGE,
            {
                "day": day,
                "judged_at": plan.now,
                "cutoff": plan.cutoff,
                "selection": json.dumps(selection),
                "policy": json.dumps(plan.policy.as_record()),
                "keys_seen": plan.survey.keys_seen,
                "threads_seen": len(plan.survey.threads),
                "threads_due": len(plan.due),
                "threads_held": len(plan.held),
                "threads_exempt": len(plan.exempt),
                "threads_undated": len(plan.undated),
                "orphan_keys": plan.orphan_keys,
                "confirmed": confirmed,
                **place._asdict(),
            },
        ).scalar_one()
    )


def insert_work(connection: sqlalchemy.Connection, purge_id: int, items: Iterable[WorkItem]) -> None:
    """Write what a frozen plan removes."""
    rows = (
        {
            "purge_id": purge_id,
            "number": item.number,
            "thread_hash": item.thread_hash,
            "user_hashes": item.user_hashes,
            "oldest_activity": item.oldest,
            "newest_activity": item.newest,
            "content": item.content(),
        }
        for item in items
    )
    copy_in(connection, _WORK, _batches(rows, _WORK.schema))


def open_purges(connection: sqlalchemy.Connection) -> list[OpenPurge]:
    """Frozen plans that were not carried out to the end, oldest first."""
    return [
        OpenPurge(row.id, row.day, row.cutoff, row.threads_due, row.planned_at, _place(dict(row._mapping)))  # noqa: SLF001 - SQLAlchemy's documented name
        for row in connection.execute(sql.OPEN_PURGES)
    ]


def next_work(connection: sqlalchemy.Connection, purge_id: int, after: int, count: int) -> list[WorkItem]:
    """The next items without an outcome."""
    rows = connection.execute(sql.NEXT_WORK, {"purge_id": purge_id, "after": after, "count": count})
    return [WorkItem.from_row(row) for row in rows]


def last_attempt(connection: sqlalchemy.Connection, purge_id: int) -> int:
    """The highest number whose deletion may have been begun; -1 where none was."""
    return int(connection.execute(sql.LAST_ATTEMPT, {"purge_id": purge_id}).scalar_one())


def note_attempt(connection: sqlalchemy.Connection, purge_id: int, last_number: int) -> None:
    """Say that the deletion of all items up to this number is about to begin."""
    connection.execute(sql.INSERT_ATTEMPT, {"purge_id": purge_id, "last_number": last_number})


def insert_outcomes(
    connection: sqlalchemy.Connection, purge_id: int, outcomes: Sequence[tuple[WorkItem, Removal]]
) -> None:
    """Record what became of some items."""
    rows = (
        {
            "purge_id": purge_id,
            "number": item.number,
            "thread_hash": item.thread_hash,
            "user_hashes": item.user_hashes,
            "outcome": removal.outcome.value,
            "key_counts": json.dumps({kind.label: count for kind, count in removal.counts.items()}),
            "bytes_freed": removal.bytes_freed,
            "oldest_activity": item.oldest,
            "newest_activity": item.newest,
        }
        for item, removal in outcomes
    )
    copy_in(connection, _PURGED_THREADS, _batches(rows, _PURGED_THREADS.schema))


def deleted_threads(connection: sqlalchemy.Connection, purge_id: int) -> set[str]:
    """The thread ids that a plan removed, from its work list."""
    found = (
        unpack(row.content)[1]["thread_id"] for row in connection.execute(sql.DELETED_WORK, {"purge_id": purge_id})
    )
    return {thread_id for thread_id in found if thread_id is not None}


# The record


def totals(connection: sqlalchemy.Connection, purge_id: int) -> dict[str, Any]:
    """What became of all items of a plan, added up."""
    summed = dict(connection.execute(sql.TOTALS, {"purge_id": purge_id}).mappings().one())
    counts = connection.execute(sql.KEY_COUNTS, {"purge_id": purge_id})
    return {**summed, "key_counts": {row.kind: int(row.removed) for row in counts}}


def close_purge(  # noqa: PLR0913 - each by its name
    connection: sqlalchemy.Connection,
    purge: OpenPurge,
    summed: dict[str, Any],
    *,
    resurrected: int,
    orphan_keys_left: int,
    log_entry_id: str,
) -> PurgedSet:
    """Record the set of a plan and empty its work list, in the caller's transaction."""
    values = {
        **summed,
        "purge_id": purge.id,
        "day": purge.day,
        "cutoff": purge.cutoff,
        "resurrected": resurrected,
        "orphan_keys_left": orphan_keys_left,
        "planned_at": purge.planned_at,
        "log_entry_id": log_entry_id,
    }
    row = connection.execute(sql.INSERT_SET, {**values, "key_counts": json.dumps(summed["key_counts"])}).one()
    connection.execute(sql.DELETE_WORK, {"purge_id": purge.id})
    connection.execute(sql.DELETE_ATTEMPTS, {"purge_id": purge.id})
    return PurgedSet(
        purge.id,
        purge.day,
        purge.cutoff,
        summed["deleted"],
        summed["moved"],
        summed["held"],
        summed["gone"],
        resurrected,
        summed["abandoned"],
        orphan_keys_left,
        summed["key_counts"],
        summed["bytes_freed"],
        summed["bytes_unknown"],
        summed["oldest_activity"],
        summed["newest_activity"],
        float(row.seconds),
        row.recorded_at,
        log_entry_id,
        purge.place,
    )


def _set(row: sqlalchemy.Row[Any]) -> PurgedSet:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    place = _place(values)
    return PurgedSet(**{name: value for name, value in values.items() if name not in Place._fields}, place=place)


def _place(values: Mapping[str, Any]) -> Place | None:
    return None if values["store_id"] is None else Place(*(values[name] for name in Place._fields))


def place_as_json(place: Place | None) -> dict[str, str] | None:
    """A place for a program."""
    return None if place is None else {name: str(value) for name, value in place._asdict().items()}


def latest_sets(connection: sqlalchemy.Connection, count: int) -> list[PurgedSet]:
    """The last sets, newest first."""
    return [_set(row) for row in connection.execute(sql.SETS, {"count": count})]


def sets_of_day(connection: sqlalchemy.Connection, day: date) -> list[PurgedSet]:
    """The sets of a day, in order."""
    return [_set(row) for row in connection.execute(sql.SETS_OF_DAY, {"day": day})]


def purges_of_days(connection: sqlalchemy.Connection, after: date, count: int) -> dict[date, set[int]]:
    """Which purges have their sets on which day: of the next days after one, at most `count`, oldest first."""
    rows = connection.execute(sql.PURGES_OF_DAYS, {"after": after, "count": count})
    return {row.day: set(row.purges) for row in rows}


def last_day_done(connection: sqlalchemy.Connection, layout: KeyLayout) -> date | None:
    """The last day whose whole policy was carried out for the keys of this layout."""
    prefixes = {"checkpoint_prefix": layout.checkpoint_prefix, "write_prefix": layout.write_prefix}
    found: date | None = connection.execute(sql.LAST_DAY_DONE, prefixes).scalar()
    return found


@dataclass(frozen=True)
class SetTotals:
    """All sets together."""

    sets: int
    threads_deleted: int
    bytes_freed: int


def set_totals(connection: sqlalchemy.Connection) -> SetTotals:
    """What retention removed so far."""
    row = connection.execute(sql.SET_TOTALS).one()
    return SetTotals(row.sets, row.threads_deleted, row.bytes_freed)


def deleted_among(connection: sqlalchemy.Connection, place: Place, thread_hashes: Sequence[str]) -> dict[str, datetime]:
    """Which of these conversations retention has removed from a place, and when it did so last."""
    rows = connection.execute(sql.DELETED_AMONG, {"thread_hashes": list(thread_hashes), **place._asdict()})
    return {row.thread_hash: row.removed_at for row in rows}


@dataclass(frozen=True)
class HistoryEntry:
    """What one purge did with a conversation."""

    purge_id: int
    day: date | None
    outcome: Outcome
    key_counts: dict[str, int]
    removed_at: datetime


def history_of_thread(connection: sqlalchemy.Connection, thread_hash: str) -> list[HistoryEntry]:
    """What the record says of a conversation, by its hash."""
    rows = connection.execute(sql.THREAD_HISTORY, {"thread_hash": thread_hash})
    return [HistoryEntry(row.purge_id, row.day, Outcome(row.outcome), row.key_counts, row.removed_at) for row in rows]
