"""Many entries are read in groups, and are the same, in the same order, as those that are read one by one."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log import reading
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA, AuditEntry, JsonText
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.packed_rows import GROUP_ENTRIES, NotPackableError, unpacked
from tests.support.stops import somebody_waits, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy
    from adbc_driver_manager import AdbcConnection

    from compliance_pipelines.services import Services
    from tests.integration.ledger.inspector import Inspector

DAY: Final = date(2025, 10, 1)
NOON: Final = datetime(2025, 10, 1, 12, tzinfo=UTC)
ENTRIES: Final = 5 * GROUP_ENTRIES + 7
ODD_TEXTS: Final = ("", "é", "\U0010ffff\ufffe\u202e", "\x01\x7f\r\n\t\\N", "x" * 3_000, None)


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries were unpacked of each batch of groups; few entries are many."""
    seen: list[int] = []

    def counted(batch: pa.RecordBatch) -> pa.RecordBatch:
        entries = unpacked(batch)
        seen.append(entries.num_rows)
        return entries

    monkeypatch.setattr(reading, "_MANY", 1)
    monkeypatch.setattr(reading, "unpacked", counted)
    monkeypatch.setattr(reading, "_CHUNK_IDS", 2 * GROUP_ENTRIES)
    # Several batches: one of them ends the packed reading where it must end.
    monkeypatch.setattr(reading, "_BATCH_BYTES", 20_000)
    return seen


def an_entry(number: int) -> AuditEntry:
    odd = ODD_TEXTS[number % len(ODD_TEXTS)]
    return AuditEntry(
        log_entry_id=f"entry-{number}",
        timestamp=NOON + timedelta(microseconds=(-1) ** number * number),
        user_id=f"{odd or ''}"[:100],
        action="read",
        result=odd or "success",
        resource_type=odd,
        resource_id=None if number % 3 else f"resource-{number}",
        metadata=None if number % 7 == 0 else JsonText(f'{{"n": {number}, "text": "{"y" * (number % 900)}"}}'),
    )


@pytest.fixture
def appended(services: Services) -> Services:
    """Entries of the day, of which one in five rolled back and left a gap."""
    log = AuditLog(services.engine)
    log.append_many(an_entry(number) for number in range(ENTRIES))
    with services.engine.begin() as connection:
        connection.execute(
            text("SELECT nextval(pg_get_serial_sequence('audit_logs', 'id')) FROM generate_series(1, 99)")
        )
    log.append_many(an_entry(number) for number in range(ENTRIES, ENTRIES + 9))
    return services


def read(services: Services, *, about: int, **bounds: int) -> pa.Table:
    with reading.read_rows(services.engine, day=DAY, about=about, **bounds) as batches:
        found = list(batches)
    for batch in found:
        batch.validate(full=True)
    return pa.Table.from_batches(found, ENTRY_SCHEMA)


def assert_alike(services: Services, **bounds: int) -> pa.Table:
    """Read both ways, and return what there is."""
    together = read(services, about=ENTRIES, **bounds)
    assert together.equals(read(services, about=0, **bounds))
    return together


def as_superuser(inspector: Inspector, *statements: str) -> None:
    with inspector.superuser.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            connection.execute(text(statement))


def test_entries_that_are_read_in_groups_are_the_same(appended: Services, groups: list[int]) -> None:
    assert assert_alike(appended).num_rows == ENTRIES + 9
    assert sum(groups) == ENTRIES + 9
    assert len(groups) > 2


def test_one_session_reads_alone_where_a_second_one_cannot_be_had(
    appended: Services, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = []
    session = reading._session

    @contextmanager
    def counted(engine: sqlalchemy.Engine, snapshot: str | None = None) -> Iterator[AdbcConnection]:
        sessions.append(snapshot)
        if snapshot is not None:
            raise reading.ReadingError("too many connections")
        with session(engine) as connection:
            yield connection

    monkeypatch.setattr(reading, "_session", counted)
    assert read(appended, about=ENTRIES).num_rows == ENTRIES + 9
    assert sum(groups) == ENTRIES + 9
    assert [each is None for each in sessions] == [True, False]


def test_a_second_session_does_not_wait_for_whoever_waits_for_the_first(
    appended: Services, inspector: Inspector, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = reading._session
    waiting: list[threading.Thread] = []

    def lock_the_table() -> None:
        with inspector.superuser.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE"))

    @contextmanager
    def later(engine: sqlalchemy.Engine, snapshot: str | None = None) -> Iterator[AdbcConnection]:
        if snapshot is not None:
            waiting.append(threading.Thread(target=lock_the_table))
            waiting[0].start()
            until("the table is waited for", lambda: somebody_waits(inspector.superuser))
        with session(engine, snapshot) as connection:
            yield connection

    monkeypatch.setattr(reading, "_session", later)
    assert read(appended, about=ENTRIES).num_rows == ENTRIES + 9
    assert sum(groups) == ENTRIES + 9
    waiting[0].join()


def test_both_sessions_see_the_moment_of_the_first(
    appended: Services, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = reading._session

    @contextmanager
    def later(engine: sqlalchemy.Engine, snapshot: str | None = None) -> Iterator[AdbcConnection]:
        if snapshot is not None:
            AuditLog(appended.engine).append_many(an_entry(number) for number in range(1000, 1400))
        with session(engine, snapshot) as connection:
            yield connection

    monkeypatch.setattr(reading, "_session", later)
    assert read(appended, about=ENTRIES).num_rows == ENTRIES + 9
    assert sum(groups) == ENTRIES + 9


def test_groups_hold_the_transactions_that_were_asked_for_and_no_others(appended: Services, groups: list[int]) -> None:
    ids = read(appended, about=0).column("tx_id").unique().to_pylist()
    assert len(ids) > 1
    assert assert_alike(appended, tx_from=ids[0] + 1).num_rows == 9
    assert assert_alike(appended, tx_to=ids[-1]).num_rows == ENTRIES
    assert assert_alike(appended, tx_from=ids[-1] + 1).num_rows == 0
    assert sum(groups) == ENTRIES + 9


def test_two_entries_with_the_same_id_stand_in_the_order_of_their_times(
    appended: Services, inspector: Inspector, groups: list[int]
) -> None:
    values = (
        "SELECT id, 'twin-' || id, \"timestamp\" - interval '1 hour', '', '', '', created_at, tx_id FROM audit_logs"
    )
    as_superuser(
        inspector,
        'INSERT INTO audit_logs (id, log_entry_id, "timestamp", user_id, action, result, created_at, tx_id)'
        f" {values} WHERE id % 64 IN (0, 1, 63)",
    )
    assert assert_alike(appended).num_rows > ENTRIES + 9
    assert sum(groups) > ENTRIES + 9


@pytest.mark.parametrize(
    "change",
    [
        "commitment = sha256('x')",
        "commitment = 'short'",
        "resource_id = repeat('é', 3000000)",
        "resource_id = repeat('x', 65535)",
        "resource_type = repeat('x', 65536), resource_id = ''",
        "result = repeat('é', 300000)",
        "result = repeat('x', 65536), action = ''",
    ],
)
@pytest.mark.parametrize(
    "which", ["id = (SELECT min(id) FROM audit_logs)", "id % 101 = 0", "log_entry_id = 'entry-326'"]
)
def test_what_does_not_fit_a_group_is_read_by_itself_and_so_are_those_after_it(
    appended: Services, inspector: Inspector, groups: list[int], change: str, which: str
) -> None:
    as_superuser(
        inspector,
        "ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_entry_fits",
        "ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_is_not_blinded",
        f"UPDATE audit_logs SET {change} WHERE {which}",
    )
    assert assert_alike(appended).num_rows == ENTRIES + 9
    assert sum(groups) < ENTRIES + 9


def test_a_day_with_entries_in_quarantine_is_read_one_by_one(
    appended: Services, inspector: Inspector, groups: list[int]
) -> None:
    as_superuser(
        inspector,
        'INSERT INTO audit_quarantine (id, "timestamp", tx_id, log_entry_id, reason)'
        " SELECT id, \"timestamp\", tx_id, log_entry_id, 'no reason' FROM audit_logs WHERE id % 100 = 0",
    )
    assert assert_alike(appended).num_rows < ENTRIES + 9
    assert not groups


@pytest.mark.parametrize("far", [10_000_000, 2**63 - 1])
def test_ids_that_lie_far_apart_are_read_one_by_one(
    appended: Services, inspector: Inspector, groups: list[int], far: int
) -> None:
    as_superuser(inspector, f"UPDATE audit_logs SET id = {far} WHERE log_entry_id = 'entry-5'")
    assert assert_alike(appended).num_rows == ENTRIES + 9
    assert not groups


@pytest.mark.parametrize("time", ["infinity", "-infinity"])
def test_times_without_end_are_no_times(time: str) -> None:
    eight = (b"\x7f" + b"\xff" * 7) if time == "infinity" else b"\x80" + bytes(7)
    one = {name: pa.array([bytes(8)]) for name in ("id", "tx_id", "created_at")}
    one |= {name: pa.array([bytes(8)]) for name in ("lengths_01", "lengths_23")}
    texts = ("log_entry_id", "user_id", "action", "resource_type", "resource_id", "result", "metadata")
    columns = {"commitments": pa.array([0]), **one, "timestamp": pa.array([eight]), "nonce": pa.array([bytes(16)])}
    columns |= {name: pa.array([b""]) for name in texts}
    with pytest.raises(NotPackableError):
        unpacked(pa.RecordBatch.from_pydict(columns))
    columns["timestamp"] = pa.array([bytes(8)])
    assert unpacked(pa.RecordBatch.from_pydict(columns)).column("timestamp").to_pylist() == [
        datetime(2000, 1, 1, tzinfo=UTC)
    ]
