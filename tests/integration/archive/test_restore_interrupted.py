"""A restore that is interrupted goes on where it was, and is in nobody's way while it runs."""

from __future__ import annotations

from dataclasses import replace
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.archive import restore
from compliance_pipelines.archive.errors import RestoreError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.readback import PartDamagedError
from compliance_pipelines.archive.restore import RestoreStep, drop_restored, restore_day
from compliance_pipelines.archive.restored_tables import (
    default_table,
    record_of,
    restored_tables,
    working_table,
    working_tables,
)
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.postgres.errors import LockBusyError
from tests.integration.archive.days import Stopped, overwrite, stop_after
from tests.integration.archive.faulty_store import Fault, FaultyStore

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.archive.progress import Phase
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days, Row

_ROWS = (10, 4)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of three rows: four of the first part, two of the second."""
    monkeypatch.setattr(restore, "_PIECE_ROWS", 3)


@pytest.fixture
def archived(services: Services, days: Days, day: date) -> list[Row]:
    """The rows of the day, which is archived in two parts."""
    for count in _ROWS:
        days.append(day, count)
        archive_day(services, day)
    return days.hot_rows(day)


class StopAtPiece:
    """A hook that stops the work when a number of pieces is committed."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    def __call__(self, step: RestoreStep) -> None:
        if step is RestoreStep.PIECE_COMMITTED:
            self.left -= 1
            if self.left == 0:
                raise Stopped


def tables(services: Services) -> tuple[list[str], list[str]]:
    """The restored tables and the working tables."""
    with services.engine.connect() as connection:
        return restored_tables(connection), working_tables(connection)


def loaded(services: Services, day: date) -> int | None:
    """How many rows the day's working table says are in it."""
    with services.engine.connect() as connection:
        found = record_of(connection, default_table(day))
    return None if found is None else found.rows


def test_it_goes_on_after_whatever_piece_it_stopped(
    services: Services, days: Days, day: date, archived: list[Row]
) -> None:
    for pieces, rows in enumerate((3, 6, 9, 10, 13, 14), 1):
        with pytest.raises(Stopped):
            restore_day(services, day, hook=StopAtPiece(pieces))
        assert tables(services) == ([], [working_table(default_table(day))])
        assert loaded(services, day) == rows
        steps: list[str] = []
        result = restore_day(services, day, hook=steps.append)
        assert (result.resumed_entries, result.entry_count) == (rows, 14)
        assert steps.count(RestoreStep.PIECE_COMMITTED) == 6 - pieces
        assert RestoreStep.READ_BACK in steps
        assert days.table_rows(result.table, day) == archived
        assert tables(services) == ([default_table(day)], [])
        drop_restored(services)


def test_it_goes_on_again_and_again_and_takes_in_what_came_since(services: Services, days: Days, day: date) -> None:
    days.append(day, 10)
    archive_day(services, day)
    for rows in (3, 6, 9):
        with pytest.raises(Stopped):
            restore_day(services, day, hook=StopAtPiece(1))
        assert loaded(services, day) == rows
    days.append(day, 4)
    archive_day(services, day)
    result = restore_day(services, day)
    assert (result.resumed_entries, result.parts) == (9, (1, 2))
    assert days.table_rows(result.table, day) == days.hot_rows(day)
    assert days.audit_actions(day).count("audit.restore") == 1


def test_one_that_was_not_interrupted_reads_nothing_back(services: Services, day: date, archived: list[Row]) -> None:
    steps: list[str] = []
    result = restore_day(services, day, hook=steps.append)
    assert (result.resumed_entries, result.entry_count) == (0, len(archived))
    assert steps == [
        RestoreStep.TABLE_MADE,
        *[RestoreStep.PIECE_COPIED, RestoreStep.PIECE_COMMITTED] * 6,
        RestoreStep.LOADED,
        RestoreStep.SWAPPED,
        RestoreStep.RECORDED,
        RestoreStep.COMMITTED,
    ]


def test_what_somebody_changed_between_two_runs_is_found_and_loaded_anew(
    services: Services, days: Days, day: date, archived: list[Row]
) -> None:
    table = working_table(default_table(day))
    for change, found in (
        ("UPDATE {} SET result = 'denied' WHERE id = (SELECT min(id) FROM {})", "was altered"),
        ("DELETE FROM {} WHERE id = (SELECT min(id) FROM {})", "1 entry was deleted"),
        ("INSERT INTO {} SELECT * FROM {} LIMIT 1", "1 entry was inserted"),
    ):
        with pytest.raises(Stopped):
            restore_day(services, day, hook=StopAtPiece(2))
        days.execute(change.replace("{}", f"audit_restored.{table}"))
        with pytest.raises(RestoreError, match=f"is not what was sealed .*{found}.* run it again"):
            restore_day(services, day)
        assert tables(services) == ([], [])
    result = restore_day(services, day)
    assert (result.resumed_entries, days.table_rows(result.table, day)) == (0, archived)


def test_another_day_s_rows_are_no_beginning(services: Services, days: Days, day: date, archived: list[Row]) -> None:
    other = day.replace(day=1 if day.day > 1 else 2)
    days.append(other, 5)
    archive_day(services, other)
    with pytest.raises(Stopped):
        restore_day(services, other, "evidence", hook=StopAtPiece(1))
    result = restore_day(services, day, "evidence")
    assert (result.resumed_entries, days.table_rows(result.table, day)) == (0, archived)
    assert days.table_rows(result.table, other) == []


def test_the_table_that_is_there_stays_until_all_is_loaded(
    services: Services, days: Days, day: date, archived: list[Row]
) -> None:
    table = restore_day(services, day).table
    days.append(day, 1)
    archive_day(services, day)
    for step in RestoreStep:
        if step in {RestoreStep.READ_BACK, RestoreStep.COMMITTED}:
            continue
        with pytest.raises(Stopped):
            restore_day(services, day, hook=stop_after(step))
        assert days.table_rows(table, day) == archived
    assert days.audit_actions(day).count("audit.restore") == 1
    assert restore_day(services, day).resumed_entries == 15
    assert days.table_rows(table, day) == days.hot_rows(day)


def test_a_damaged_part_leaves_no_working_table(services: Services, days: Days, day: date, archived: list[Row]) -> None:
    path = days.objects(day)[1]
    data = path.read_bytes()
    overwrite(path, data[:500] + bytes([data[500] ^ 1]) + data[501:])
    committed: list[str] = []
    with pytest.raises(PartDamagedError):
        restore_day(services, day, hook=committed.append)
    assert RestoreStep.PIECE_COMMITTED in committed
    assert tables(services) == ([], [])
    overwrite(path, data)
    assert days.table_rows(restore_day(services, day).table, day) == archived


def test_a_store_that_fails_half_way_costs_only_the_rest(
    services: Services, days: Days, day: date, archived: list[Row]
) -> None:
    with pytest.raises(ObjectStoreError):
        restore_day(replace(services, store=FaultyStore(services.store, Fault("open", 3))), day)
    result = restore_day(services, day)
    assert (result.resumed_entries, days.table_rows(result.table, day)) == (10, archived)


@pytest.mark.usefixtures("archived")
def test_it_is_not_in_the_way_of_changes_to_the_hot_table(
    services: Services, day: date, superuser_engine: sqlalchemy.Engine
) -> None:
    told = 0

    def change(phase: Phase, rows: int, total_rows: int) -> None:
        nonlocal told
        told += 1
        with superuser_engine.connect() as connection, connection.begin() as transaction:
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            connection.execute(text("ALTER TABLE audit_logs ADD COLUMN more int"))
            transaction.rollback()

    restore_day(services, day, progress=change)
    assert told


def test_one_connection_is_enough(services: Services, days: Days, day: date, archived: list[Row]) -> None:
    """It never waits in one session for another of its own."""
    engine = create_engine(services.settings.require_database_url(), pool_size=1)
    try:
        alone = replace(services, engine=engine)
        with pytest.raises(Stopped):
            restore_day(alone, day, hook=StopAtPiece(2))
        assert days.table_rows(restore_day(alone, day).table, day) == archived
        assert drop_restored(alone) == (default_table(day),)
    finally:
        engine.dispose()


@pytest.mark.usefixtures("archived")
def test_it_does_not_hold_up_sealing(services: Services, days: Days, day: date) -> None:
    """A transaction with an id that stays open would keep every later entry above the horizon."""

    def open_transactions() -> list[Row]:
        return days.execute("""
            SELECT pid FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL
        """)

    seen: list[list[Row]] = []

    def look(step: RestoreStep) -> None:
        if step in {RestoreStep.TABLE_MADE, RestoreStep.PIECE_COMMITTED, RestoreStep.LOADED}:
            seen.append(open_transactions())

    restore_day(services, day, hook=look)
    assert seen == [[]] * 8


def test_a_second_one_at_the_same_time_is_refused_and_so_is_dropping(
    services: Services, days: Days, day: date, archived: list[Row]
) -> None:
    half_way, go_on = Event(), Event()

    def wait(step: RestoreStep) -> None:
        if step is RestoreStep.PIECE_COMMITTED:
            half_way.set()
            assert go_on.wait(60)

    first = Thread(target=restore_day, args=(services, day), kwargs={"hook": wait})
    first.start()
    try:
        assert half_way.wait(60)
        with pytest.raises(
            LockBusyError, match=f"the restore of {day} into audit_restored.*: another process is at it"
        ):
            restore_day(services, day)
        with pytest.raises(LockBusyError, match="dropping restored tables: another process is at it"):
            drop_restored(services)
        with pytest.raises(LockBusyError):
            drop_restored(services, default_table(day))
        assert restore_day(services, day, "beside_it").entry_count == len(archived)
    finally:
        go_on.set()
        first.join()
    assert days.table_rows(f"audit_restored.{default_table(day)}", day) == archived
    assert len(drop_restored(services)) == 2


@pytest.mark.usefixtures("archived")
def test_what_an_interrupted_restore_left_is_dropped_with_its_table_or_with_all(services: Services, day: date) -> None:
    table = default_table(day)
    for named in (table, None):
        restore_day(services, day)
        with pytest.raises(Stopped):
            restore_day(services, day, hook=StopAtPiece(1))
        assert drop_restored(services, named) == (table, working_table(table))
        assert tables(services) == ([], [])
    with pytest.raises(Stopped):
        restore_day(services, day, hook=StopAtPiece(1))
    assert drop_restored(services, table) == (working_table(table),)


@pytest.mark.usefixtures("archived")
def test_a_working_table_that_somebody_drops_meanwhile_is_named(services: Services, days: Days, day: date) -> None:
    def drop(step: RestoreStep) -> None:
        if step is RestoreStep.PIECE_COMMITTED:
            days.execute(f"DROP TABLE IF EXISTS audit_restored.{working_table(default_table(day))}")

    with pytest.raises(RestoreError, match=r"somebody dropped what was being loaded .*run it again"):
        restore_day(services, day, hook=drop)
    assert restore_day(services, day).entry_count == 14


@pytest.mark.usefixtures("archived")
def test_a_table_that_cannot_be_replaced_is_refused_before_anything_is_loaded(
    services: Services, days: Days, day: date
) -> None:
    days.execute("CREATE TABLE audit_restored.theirs (a int)")
    steps: list[str] = []
    with pytest.raises(RestoreError, match="theirs cannot be made or dropped: it is no table, or belongs to another"):
        restore_day(services, day, "theirs", hook=steps.append)
    assert (steps, tables(services)) == ([], (["theirs"], []))


@pytest.mark.usefixtures("archived")
def test_a_table_that_a_view_needs_is_named_and_all_that_was_loaded_is_kept(
    services: Services, days: Days, day: date
) -> None:
    table = restore_day(services, day).table
    days.execute(f"CREATE VIEW audit_restored.theirs AS SELECT * FROM {table}")
    with pytest.raises(RestoreError, match=r"cannot be made or dropped: .*other objects depend on it"):
        restore_day(services, day)
    days.execute("DROP VIEW audit_restored.theirs")
    assert restore_day(services, day).resumed_entries == 14


@pytest.mark.usefixtures("archived")
def test_the_name_of_a_working_table_is_taken(services: Services, day: date) -> None:
    with pytest.raises(RestoreError, match="cannot be the name of a restored table"):
        restore_day(services, day, working_table("evidence"))
