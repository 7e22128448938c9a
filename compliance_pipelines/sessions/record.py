"""Frozen plans of sessions and memories and the record of what was removed, in PostgreSQL.

Here: writing and reading the tables of the migration 0008. Not here: when (purge.py).

Names of keys and user ids stand in the work list only; the rows of a plan leave it in the transaction that records its
set. What is recorded carries keyed hashes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.copying import CopyTarget, copy_in
from compliance_pipelines.pseudonyms import PREFIX
from compliance_pipelines.sessions import sql
from compliance_pipelines.sessions.survey import KeyKind, Reading, SeenKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.conversations.pseudonyms import Pseudonyms
    from compliance_pipelines.sessions.plan import SessionPlan
    from compliance_pipelines.sessions.removal import Removal

_WORK: Final = CopyTarget.of(tables.session_purge_work)
_PURGED_KEYS: Final = CopyTarget.of(tables.session_purged_keys)
_ROWS_AT_ONCE: Final = 2_000
_KEY: Final = b"compliance-pipelines/redis-key/v1\0"


def key_hash(key: bytes, names: Pseudonyms) -> str:
    """What the record calls a key of Redis."""
    return PREFIX + hmac.new(names.key, _KEY + key, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class WorkItem:
    """A key that a frozen plan removes.

    Attributes:
        number: its place in the plan.
        place: the setting that names its Redis.
        kind: what it is.
        key_hash: what the record calls it.
        user_hash: what the record calls its user; None where nobody knows.
        oldest: when it was made.
        newest: when it was last used.
        key: its name.
        owner: its user; None where nobody knows.
        session_id: of a session its id.
        reading: how what it says is read.
        witness: what it said.
    """

    number: int
    place: str
    kind: KeyKind
    key_hash: str
    user_hash: str | None
    oldest: datetime | None
    newest: datetime | None
    key: bytes
    owner: str | None
    session_id: str
    reading: Reading
    witness: str

    @classmethod
    def of(cls, number: int, seen: SeenKey, names: Pseudonyms) -> WorkItem:
        """The item of a key that is due."""
        user_hash = None if seen.owner is None else names.users([seen.owner])[0]
        return cls(
            number,
            seen.place,
            seen.kind,
            key_hash(seen.key, names),
            user_hash,
            seen.oldest,
            seen.newest,
            seen.key,
            seen.owner,
            seen.session_id,
            seen.reading,
            seen.witness,
        )

    @classmethod
    def from_row(cls, row: sqlalchemy.Row[Any]) -> WorkItem:
        """The item of a row of `session_purge_work`."""
        content = json.loads(row.content)
        return cls(
            row.number,
            row.place,
            KeyKind(row.kind),
            row.key_hash,
            row.user_hash,
            row.oldest_use,
            row.newest_use,
            bytes.fromhex(content["key"]),
            content["owner"],
            content["session_id"],
            Reading(content["command"], tuple(content["arguments"])),
            content["witness"],
        )

    def content(self) -> bytes:
        """What the work list keeps of it beside the columns."""
        return json.dumps(
            {
                "key": self.key.hex(),
                "owner": self.owner,
                "session_id": self.session_id,
                "command": self.reading.command,
                "arguments": self.reading.arguments,
                "witness": self.witness,
            }
        ).encode()

    def columns(self, purge_id: int) -> dict[str, Any]:
        """What work list and record say alike."""
        return {
            "purge_id": purge_id,
            "number": self.number,
            "place": self.place,
            "kind": self.kind.value,
            "key_hash": self.key_hash,
            "user_hash": self.user_hash,
            "oldest_use": self.oldest,
            "newest_use": self.newest,
        }


@dataclass(frozen=True)
class OpenPurge:
    """A frozen plan whose set is not recorded yet."""

    id: int
    day: date
    session_cutoff: datetime | None
    memory_cutoff: datetime | None
    keys_due: int
    planned_at: datetime


@dataclass(frozen=True)
class PurgedSet:
    """The record of one purge.

    Attributes:
        purge_id: its number.
        day: the day that it counts for.
        session_cutoff: sessions last used before were due; None where sessions stay.
        memory_cutoff: memories last changed before were due; None where memories stay.
        keys_deleted: keys removed.
        keys_moved: used after the plan, and left alone.
        keys_held: under a legal hold that came after the plan, and left alone.
        keys_gone: not there any more when they were to be removed.
        keys_left: in a Redis that the settings do not name any more.
        keys_back: removed, and there again when it was looked at once more.
        key_counts: keys removed, by kind.
        bytes_freed: memory of these keys.
        oldest_use: first use of all that was removed.
        newest_use: last use of all that was removed.
        seconds: from the plan to the record.
        recorded_at: when it was recorded.
        log_entry_id: the audit entry about it.
    """

    purge_id: int
    day: date
    session_cutoff: datetime | None
    memory_cutoff: datetime | None
    keys_deleted: int
    keys_moved: int
    keys_held: int
    keys_gone: int
    keys_left: int
    keys_back: int
    key_counts: dict[str, int]
    bytes_freed: int
    oldest_use: datetime | None
    newest_use: datetime | None
    seconds: float
    recorded_at: datetime
    log_entry_id: str

    def as_json(self) -> dict[str, Any]:
        """The record for a program."""
        shown = dict(vars(self))
        times = ("day", "session_cutoff", "memory_cutoff", "oldest_use", "newest_use", "recorded_at")
        shown.update({name: None if shown[name] is None else shown[name].isoformat() for name in times})
        return {**shown, "purge": shown.pop("purge_id"), "seconds": round(self.seconds, 3)}


def _batches(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    remaining = iter(rows)
    while some := list(islice(remaining, _ROWS_AT_ONCE)):
        yield pa.RecordBatch.from_pylist(some, schema)


# Frozen plans


def insert_purge(connection: sqlalchemy.Connection, plan: SessionPlan, *, day: date, confirmed: int | None) -> int:
    """Write the head of a frozen plan and return its number."""
    return int(
        connection.execute(
            sql.INSERT_PURGE,
            {
                "day": day,
                "judged_at": plan.now,
                "session_cutoff": plan.session_cutoff,
                "memory_cutoff": plan.memory_cutoff,
                "policy": json.dumps(plan.policy.as_record()),
                "sessions_seen": plan.counts.sessions,
                "memories_seen": plan.counts.memories,
                "keys_unreadable": plan.counts.unreadable,
                "keys_due": len(plan.due),
                "keys_held": len(plan.held),
                "keys_exempt": len(plan.exempt),
                "keys_undated": len(plan.undated),
                "confirmed": confirmed,
            },
        ).scalar_one()
    )


def insert_work(connection: sqlalchemy.Connection, purge_id: int, items: Iterable[WorkItem]) -> None:
    """Write what a frozen plan removes."""
    rows = ({**item.columns(purge_id), "content": item.content()} for item in items)
    copy_in(connection, _WORK, _batches(rows, _WORK.schema))


def open_purges(connection: sqlalchemy.Connection) -> list[OpenPurge]:
    """Frozen plans that were not carried out to the end, oldest first."""
    return [OpenPurge(**row._mapping) for row in connection.execute(sql.OPEN_PURGES)]  # noqa: SLF001 - documented name


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
        {**item.columns(purge_id), "outcome": removal.outcome.value, "bytes_freed": removal.bytes_freed}
        for item, removal in outcomes
    )
    copy_in(connection, _PURGED_KEYS, _batches(rows, _PURGED_KEYS.schema))


def deleted_keys(connection: sqlalchemy.Connection, purge_id: int) -> dict[str, list[bytes]]:
    """The names of the keys that a plan removed, by place, from its work list."""
    found: dict[str, list[bytes]] = {}
    for row in connection.execute(sql.DELETED_WORK, {"purge_id": purge_id}):
        found.setdefault(row.place, []).append(bytes.fromhex(json.loads(row.content)["key"]))
    return found


# The record


def totals(connection: sqlalchemy.Connection, purge_id: int) -> dict[str, Any]:
    """What became of all items of a plan, added up."""
    summed = dict(connection.execute(sql.TOTALS, {"purge_id": purge_id}).mappings().one())
    counts = connection.execute(sql.KEY_COUNTS, {"purge_id": purge_id})
    return {**summed, "key_counts": {row.kind: int(row.removed) for row in counts}}


def close_purge(
    connection: sqlalchemy.Connection, purge: OpenPurge, summed: dict[str, Any], *, back: int, log_entry_id: str
) -> PurgedSet:
    """Record the set of a plan and empty its work list, in the caller's transaction."""
    values = {
        **summed,
        "purge_id": purge.id,
        "day": purge.day,
        "session_cutoff": purge.session_cutoff,
        "memory_cutoff": purge.memory_cutoff,
        "planned_at": purge.planned_at,
        "back": back,
        "log_entry_id": log_entry_id,
    }
    row = connection.execute(sql.INSERT_SET, {**values, "key_counts": json.dumps(summed["key_counts"])}).one()
    connection.execute(sql.DELETE_WORK, {"purge_id": purge.id})
    connection.execute(sql.DELETE_ATTEMPTS, {"purge_id": purge.id})
    return PurgedSet(
        purge.id,
        purge.day,
        purge.session_cutoff,
        purge.memory_cutoff,
        summed["deleted"],
        summed["moved"],
        summed["held"],
        summed["gone"],
        summed["left"],
        back,
        summed["key_counts"],
        summed["bytes_freed"],
        summed["oldest_use"],
        summed["newest_use"],
        float(row.seconds),
        row.recorded_at,
        log_entry_id,
    )


def _set(row: sqlalchemy.Row[Any]) -> PurgedSet:
    return PurgedSet(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name


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


def last_day_done(connection: sqlalchemy.Connection) -> date | None:
    """The last day for which the policy was carried out."""
    found: date | None = connection.execute(sql.LAST_DAY_DONE).scalar_one()
    return found


@dataclass(frozen=True)
class SetTotals:
    """All sets together."""

    sets: int
    keys_deleted: int
    bytes_freed: int


def set_totals(connection: sqlalchemy.Connection) -> SetTotals:
    """What retention removed so far."""
    row = connection.execute(sql.SET_TOTALS).one()
    return SetTotals(row.sets, row.keys_deleted, row.bytes_freed)
