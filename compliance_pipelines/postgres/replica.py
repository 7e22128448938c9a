"""Whether a database is a read-only replica, and how far behind it is, as far as a plain login can know.

Here: the questions to PostgreSQL, the words for their answers, and the refusal of whatever would write. Not here: what
a replica lacks of the ledger, which the cold store tells (verification).

What is not known is None and "unknown", never zero: PostgreSQL answers NULL where nothing was replayed since the start,
where nothing streams, and where the login may not see. An old time of the last change is no lag by itself, for a
primary on which nothing happens sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import psycopg
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from compliance_pipelines.postgres.conninfo import Conninfo

_IN_RECOVERY: Final = text("SELECT pg_is_in_recovery()")
# https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-RECOVERY-CONTROL, pg_stat_wal_receiver.
# Streaming is asked for from the start of a segment: a received position below what is replayed says that nothing has
# been streamed yet, and so nothing about a lag. It is looked at before and after, for both go on meanwhile.
_POSITION: Final = text("""
    WITH earlier AS MATERIALIZED (SELECT pg_last_wal_receive_lsn() AS received),
         meanwhile AS MATERIALIZED (SELECT received, pg_last_wal_replay_lsn() AS replayed FROM earlier),
         later AS MATERIALIZED (SELECT received, replayed, pg_last_wal_receive_lsn() AS received_now FROM meanwhile)
    SELECT received_now::text AS received, replayed::text AS replayed,
           CASE WHEN received_now >= replayed
                THEN greatest(pg_wal_lsn_diff(received, replayed), 0)::bigint END AS unreplayed_bytes,
           pg_last_xact_replay_timestamp() AS last_change,
           pg_get_wal_replay_pause_state() AS pause_state,
           clock_timestamp() AS asked_at
    FROM later
""")
_RECEIVER: Final = text("""
    SELECT status, last_msg_receipt_time AS last_heard,
           greatest(pg_wal_lsn_diff(latest_end_lsn, pg_last_wal_receive_lsn()), 0)::bigint AS unreceived_bytes
    FROM pg_stat_wal_receiver
""")
_STREAMING: Final = "streaming"
# feature_not_supported, insufficient_privilege, undefined_function, undefined_table: some services that speak
# PostgreSQL's protocol replicate in another way. object_not_in_prerequisite_state: it is being promoted.
_UNANSWERED: Final = frozenset({"0A000", "42501", "42883", "42P01", "55000"})


class ReadOnlyReplicaError(ComplianceError):
    """The database is a read-only replica, and what was asked for writes; nothing was done."""


@dataclass(frozen=True)
class ReplicaState:
    """What a replica says about itself. Every attribute is None where it is unknown.

    Attributes:
        asked_at: when, by the replica's clock.
        last_change: commit time, by the primary's clock, of the last transaction that was replayed since the start.
        received: position in the write-ahead log up to which streaming has received (pg_lsn).
        replayed: position up to which it is replayed.
        unreplayed_bytes: received and not replayed.
        paused: whether somebody paused the replay.
        connected: whether it is connected to the server that it replicates from.
        unreceived_bytes: what that server has announced and has not arrived; only pg_read_all_stats sees it.
        last_heard: when that server sent its last message; likewise.
    """

    asked_at: datetime | None = None
    last_change: datetime | None = None
    received: str | None = None
    replayed: str | None = None
    unreplayed_bytes: int | None = None
    paused: bool | None = None
    connected: bool | None = None
    unreceived_bytes: int | None = None
    last_heard: datetime | None = None

    def in_words(self) -> str:
        """One line for a person, without a claim that the facts do not carry."""
        parts = [self._replay(), self._change(), self._connection()]
        if self.paused:
            parts.insert(1, "replay is paused")
        return "; ".join(parts)

    def _replay(self) -> str:
        if self.unreplayed_bytes is None:
            return "how much was received and not replayed is unknown"
        if self.unreplayed_bytes:
            return f"{self.unreplayed_bytes:,} bytes are received and not replayed"
        return "everything that was received is replayed"

    def _change(self) -> str:
        if self.last_change is None:
            return "the time of the last replayed change is unknown"
        return f"the last replayed change is of {_moment(self.last_change)}"

    def _connection(self) -> str:
        if self.connected is None:
            return "whether it is connected to its primary is unknown"
        if not self.connected:
            return "it is not connected to its primary, so that what happened there since is unknown"
        heard = "" if self.last_heard is None else f", last heard of at {_moment(self.last_heard)}"
        if self.unreceived_bytes:
            return f"it is connected to its primary{heard}, which has {self.unreceived_bytes:,} bytes more for it"
        return f"it is connected to its primary{heard}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values; every field is there, null where it is unknown."""
        return {
            "asked_at": _iso(self.asked_at),
            "last_change_replayed": _iso(self.last_change),
            "received_lsn": self.received,
            "replayed_lsn": self.replayed,
            "received_not_replayed_bytes": self.unreplayed_bytes,
            "announced_not_received_bytes": self.unreceived_bytes,
            "replay_paused": self.paused,
            "connected_to_primary": self.connected,
            "primary_last_heard": _iso(self.last_heard),
        }


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def in_recovery(connection: sqlalchemy.Connection) -> bool:
    """Whether the server replays another one's write-ahead log, and so takes no writes."""
    return bool(connection.execute(_IN_RECOVERY).scalar_one())


def is_replica(conninfo: Conninfo) -> bool:
    """The same, asked in a session of its own; False where it cannot be asked, which whoever goes on is told anyway."""
    try:
        with psycopg.connect(conninfo.for_libpq(), autocommit=True) as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    except psycopg.Error:
        return False


def refuse_replicas(engine: sqlalchemy.Engine, doing: str) -> None:
    """Let an engine, of :mod:`compliance_pipelines.postgres.engine`, have no session on a replica.

    Asked in each session when it is made, so that no question can fail and the work go on.

    Args:
        engine: its sessions from now on.
        doing: what writes, as the message begins: "every run".
    """

    def refuse(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.autocommit, before = True, connection.autocommit
        cursor = connection.cursor()
        try:
            cursor.execute(_IN_RECOVERY.text)
            (answer,) = cursor.fetchone() or (None,)
        finally:
            cursor.close()
        connection.autocommit = before
        if answer is not False:
            connection.close()
            raise refusal(doing)

    event.listen(engine, "connect", refuse)


def replica_state(connection: sqlalchemy.Connection) -> ReplicaState | None:
    """How far behind a replica is; None where the database is a primary.

    The connection's transaction goes on.
    """
    if not in_recovery(connection):
        return None
    position, receiver = _asked(connection, _POSITION), _asked(connection, _RECEIVER)
    state = ReplicaState()
    if position:
        (row,) = position
        state = ReplicaState(
            asked_at=row.asked_at,
            last_change=row.last_change,
            received=row.received,
            replayed=row.replayed,
            unreplayed_bytes=row.unreplayed_bytes,
            paused=None if row.pause_state is None else row.pause_state != "not paused",
        )
    if receiver is None:
        return state
    # Its process is shown to everybody, what it does to pg_read_all_stats alone.
    seen = receiver[0] if receiver else None
    return ReplicaState(
        **{
            **vars(state),
            "connected": seen is not None and seen.status in {None, _STREAMING},
            "unreceived_bytes": None if seen is None else seen.unreceived_bytes,
            "last_heard": None if seen is None else seen.last_heard,
        }
    )


def _asked(connection: sqlalchemy.Connection, question: sqlalchemy.TextClause) -> list[sqlalchemy.Row[Any]] | None:
    """The rows of the answer; None where the server or the login does not allow the question."""
    try:
        with connection.begin_nested():
            return list(connection.execute(question))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _UNANSWERED:
            return None
        raise


def refusal(command: str) -> ReadOnlyReplicaError:
    """The error where something that writes was asked of a replica."""
    return ReadOnlyReplicaError(
        f"{command} writes, and the database is a read-only replica: connect to the primary; nothing was done"
    )


RECOVERY_CONFLICT_REMEDY: Final = (
    "the database is a replica, which ended this reading because replaying its primary's changes would have had to "
    "wait for it (a conflict with recovery): run it again, or let the replica wait longer "
    "(max_standby_streaming_delay) or the primary keep what is read (hot_standby_feedback = on)"
)
