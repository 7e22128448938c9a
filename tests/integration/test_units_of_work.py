"""Nothing of ours waits for ever, nor in one session for another of its own; who is waited for is named."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import text

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchivedIds, ArchiveEntryFinder
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.audit_log import importing, partitions
from compliance_pipelines.audit_log.errors import AppendInterruptedError
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.migrate import MigrationError, upgrade
from compliance_pipelines.audit_log.reading import ReadingError, UnreadableRowsError, read_rows
from compliance_pipelines.ledger import proofs
from compliance_pipelines.postgres import sessions as database_sessions
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.archive.days import Days
from tests.integration.audit_log.entries import entry
from tests.integration.audit_log.import_files import lines, write
from tests.support.logins import url_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

WAITING: Final = text(
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database"
    " WHERE datname = current_database()) AND mode = 'AccessExclusiveLock'"
)


class Alteration:
    """Somebody who alters the table, from a session of his own: everybody who comes later queues behind him."""

    def __init__(self, administrator: sqlalchemy.Engine, tables: str = "audit_logs") -> None:
        self._administrator = administrator
        self._tables = tables
        self._thread = threading.Thread(target=self._alter, daemon=True)
        self.done = threading.Event()

    def _alter(self) -> None:
        with self._administrator.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text(f"LOCK TABLE {self._tables} IN ACCESS EXCLUSIVE MODE"))
        self.done.set()

    def arrive(self) -> None:
        """Begin, and come back when it waits or is through."""
        self._thread.start()
        with self._administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not (self.done.is_set() or connection.execute(WAITING).scalar_one()):
                self.done.wait(0.01)


@pytest.mark.parametrize("step", list(PurgeStep))
def test_a_purge_ends_although_somebody_alters_the_table_at_any_step(
    services: Services, days: Days, day: date, clock: MovableClock, step: PurgeStep
) -> None:
    days.append(day, 5)
    archive_day(services, day)
    clock.advance(days=8)
    alteration = Alteration(days.superuser)

    def alter(done: PurgeStep, /) -> None:
        if done is step:
            alteration.arrive()

    assert purge_day(services, day, hook=alter).entry_count == 5
    assert alteration.done.wait(60)
    assert AuditLog(services.engine).append(entry(1))


def test_a_proof_ends_although_somebody_alters_the_table_before_its_rows_are_read(
    services: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    (proved, *_) = days.append(day, 3)
    alteration = Alteration(days.superuser)

    def alter_first(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of read_rows
        alteration.arrive()
        assert alteration.done.is_set(), "the proof keeps a transaction open while it reads"
        return read_rows(*arguments, **options)

    monkeypatch.setattr(proofs, "read_rows", alter_first)
    proofs.prove(services, proved.log_entry_id, finder=ArchiveEntryFinder(services))


def test_an_import_keeps_no_transaction_open_while_tables_are_made_for_its_days(
    services: Services, days: Days, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alter_first(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of make_room
        alteration = Alteration(days.superuser, "archived_audit_logs, audit_logs")
        alteration.arrive()
        assert alteration.done.is_set(), "the import keeps a transaction open while it makes room"
        return partitions.make_room(*arguments, **options)

    monkeypatch.setattr(importing, "make_room", alter_first)
    monkeypatch.setattr(partitions, "DENSE_DAY_ENTRIES", 2)
    file = write(tmp_path / "events", lines(range(3)))
    for new in (3, 0):
        result = importing.import_file(
            services.engine, file, actor="tests", first_day=date(2015, 1, 1), archived_ids=ArchivedIds(services)
        )
        assert result.new == new


@contextmanager
def held_table(administrator: sqlalchemy.Engine) -> Iterator[int]:
    """The whole table locked by a session, whose number it gives."""
    with administrator.begin() as connection:
        connection.execute(text("LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE"))
        yield connection.execute(text("SELECT pg_backend_pid()")).scalar_one()


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_sessions, "PINNED", {**database_sessions.PINNED, "lock_timeout": "50ms"})


@pytest.mark.usefixtures("_impatient")
def test_an_append_that_cannot_have_the_table_gives_up_and_names_who_has_it(
    writer_database_url: str, superuser_engine: sqlalchemy.Engine
) -> None:
    engine = create_engine(writer_database_url, pool_size=1)
    with held_table(superuser_engine) as session:
        named = rf"\(session {session} of postgres, compliance_pipelines, has AccessExclusiveLock on audit_logs"
        for append in (AuditLog(engine).append, lambda each: AuditLog(engine).append_many([each])):
            with pytest.raises(AppendInterruptedError, match=named):
                append(entry(1))
    assert AuditLog(engine).append(entry(1))
    engine.dispose()


@pytest.mark.usefixtures("_impatient")
def test_a_reading_that_cannot_have_the_table_gives_up(services: Services, superuser_engine: sqlalchemy.Engine) -> None:
    with (
        held_table(superuser_engine),
        pytest.raises(ReadingError, match="lock timeout"),
        read_rows(services.engine, day=None) as batches,
    ):
        list(batches)


def test_a_reading_that_is_refused_is_not_tried_again(writer_database_url: str, days: Days) -> None:
    days.execute("REVOKE SELECT ON audit_logs FROM audit_writer")
    engine = create_engine(writer_database_url, pool_size=1)
    with pytest.raises(UnreadableRowsError, match="permission denied"), read_rows(engine, day=None) as batches:
        list(batches)
    engine.dispose()


def test_late_entries_of_a_purged_day_need_no_second_connection(
    services: Services, days: Days, day: date, clock: MovableClock, pipeline_database_url: str
) -> None:
    """As many appends as the pool has connections would wait for each other, until the pool gives up."""
    old = days.append(day, 3)
    archive_day(services, day)
    clock.advance(days=8)
    purge_day(services, day)
    engine = create_engine(pipeline_database_url, pool_size=1)
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    log = AuditLog(engine, archived_ids=ArchivedIds(services))
    assert not log.append(old[0])
    assert log.append_many(old).repeated == 3
    engine.dispose()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_a_database_in_another_encoding_is_refused_by_the_migration(
    superuser_engine: sqlalchemy.Engine, encoding: str
) -> None:
    name = f"in_{encoding.lower()}"
    with superuser_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"))
        try:
            with pytest.raises(MigrationError, match=f"in the encoding {encoding}, .* ENCODING 'UTF8'"):
                upgrade(url_of(superuser_engine, dbname=name))
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
