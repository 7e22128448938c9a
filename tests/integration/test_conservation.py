"""Conservation: whatever is done in whatever order, and wherever a process dies, nothing is lost and nothing doubled.

A machine appends, seals, archives, purges, restores, moves the clock, and dies in the middle, on a real PostgreSQL and
a real store. After each step both stores together hold exactly the appended set, once each, as it was appended, and as
it was sealed; now and then the verification looks at everything, and has no finding.
"""

from __future__ import annotations

import json
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pytest
import sqlalchemy
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from compliance_pipelines.archive import catalogue
from compliance_pipelines.archive.catalogue import DayState
from compliance_pipelines.archive.errors import PurgeRefusedError, RestoreError
from compliance_pipelines.archive.export import ArchiveStep, archive_day
from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.archive.restore import drop_restored, restore_day
from compliance_pipelines.archive.sealed_rows import SealedRows
from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.audit_log.entry import COLUMNS, ENTRY_SCHEMA
from compliance_pipelines.audit_log.log import AppendResult, AuditLog
from compliance_pipelines.audit_log.partitions import create_ahead, drop_empty, ensure_days
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.ledger.anchor import check_anchor
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.sealing import SealStep, seal
from compliance_pipelines.ledger.store import last_checkpoint, unpublished_checkpoints
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings
from compliance_pipelines.verification.online import verify
from tests.conftest import MovableClock
from tests.integration.archive.days import Days, Stopped, entry, stop_after
from tests.integration.archive.worker import Order, Worker, running_worker
from tests.support.logins import login_url
from tests.support.sealing import settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum
    from pathlib import Path

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.archive.days import Row

# Two neighbours that are due for their archive, and one that is too young to be purged before the end.
AGES: Final = (130, 129, 60)
_AUDIT: Final = "resource_type = 'audit_day'"
_INSERT: Final = """
    INSERT INTO audit_logs (log_entry_id, timestamp, user_id, action, resource_type, resource_id, result, metadata)
    VALUES (:log_entry_id, :timestamp, :user_id, :action, :resource_type, :resource_id, :result,
            CAST(:metadata_text AS jsonb))
"""
MOST_DAYS: Final = 16
ENDINGS: Final = ("well", "well", "stopped", "killed")
DAY = st.integers(0, len(AGES) - 1)


@dataclass(frozen=True)
class Environment:
    """What every example shares: servers, a process to kill, a place for stores."""

    server: EmbeddedPostgres
    template: str
    worker: Worker
    directory: Path


class Stores:
    """A database and a cold store of one example."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._database = f"conservation_{uuid.uuid4().hex}"
        self._cold = environment.directory / self._database
        environment.server.create_database(self._database, template=environment.template)
        url = environment.server.url(self._database)
        key = SigningKey.generate("tests.example/audit")
        configured = Settings(
            _env_file=None,
            audit_log_database_url=login_url(url, "test_pipeline"),
            audit_log_connection_pool_size=5,
            audit_cold_storage_provider="local",
            audit_cold_storage_path=self._cold,
            ledger_signing_key=key.to_note_string(),
            compliance_local_stack=True,
        )
        self.clock = MovableClock(datetime.now(UTC))
        self.services = Services(
            settings=configured,
            engine=create_engine(configured.require_database_url(), pool_size=5),
            store=LocalObjectStore(self._cold),
            keys=Keyring.of(key),
            clock=self.clock,
        )
        init_store(self.services)
        self.days = Days(self.services, create_engine(url, pool_size=2))

    def close(self) -> None:
        """Remove both."""
        self.services.engine.dispose()
        self.days.superuser.dispose()
        self._environment.server.drop_database(self._database)
        shutil.rmtree(self._cold, ignore_errors=True)


class Conservation(RuleBasedStateMachine):
    """The appended set beside the two stores."""

    def __init__(self, environment: Environment) -> None:
        super().__init__()
        self._worker = environment.worker
        self._stores = Stores(environment)
        self.services = self._stores.services
        self.days = self._stores.days
        self.log = AuditLog(self.services.engine, archived_ids=ArchivedIds(self.services))
        today = utc_day(self.services.clock())
        self.tracked = [today - timedelta(days=age) for age in AGES]
        self.appended: dict[date, list[AuditEntry]] = {day: [] for day in self.tracked}
        self.restores = 0
        self.moved_days = 0
        self.open: sqlalchemy.Connection | None = None
        self.held: AuditEntry | None = None
        self.number = 0

    def new_entry(self, day: date) -> AuditEntry:
        # Later numbers stand at earlier times: what is appended is out of order.
        self.number += 1
        return entry(day, 80_000 - self.number)

    @initialize(first=DAY)
    def begin(self, first: int) -> None:
        self.append(first, 3, "copy")
        seal(self.services)

    @rule(day=DAY, count=st.integers(1, 3), way=st.sampled_from(["copy", "one by one", "bare"]))
    def append(self, day: int, count: int, way: str) -> None:
        """Also to purged days, and in the requirement's own words."""
        this_day = self.tracked[day]
        entries = [self.new_entry(this_day) for _ in range(count)]
        if way == "copy":
            assert self.log.append_many(entries) == AppendResult(new=count)
        elif way == "one by one":
            assert [self.log.append(each) for each in entries] == [True] * count
        else:
            for each in entries:
                with self.services.engine.begin() as connection:
                    self.insert(connection, each)
        self.appended[this_day] += entries

    def insert(self, connection: sqlalchemy.Connection, new: AuditEntry) -> None:
        values = {name: getattr(new, name) for name in (*COLUMNS[1:8], "metadata_text")}
        connection.execute(sqlalchemy.text(_INSERT), values)

    @rule(day=DAY, positions=st.lists(st.integers(0, 99), min_size=1, max_size=5))
    def repeat(self, day: int, positions: list[int]) -> None:
        """Deliver again what was delivered, hot or purged, mixed with something new."""
        this_day = self.tracked[day]
        known = self.appended[this_day]
        again = [known[position % len(known)] for position in positions if known]
        new = self.new_entry(this_day)
        assert self.log.append_many([*again, new, new]) == AppendResult(new=1, repeated=len(again) + 1)
        assert not any(self.log.append(each) for each in again[:1])
        self.appended[this_day].append(new)

    @rule(day=DAY, commit=st.booleans())
    def hold_a_transaction_open_or_end_it(self, day: int, *, commit: bool) -> None:
        """It has a low id, and commits, if it does, when others have long been sealed."""
        if self.open is None:
            self.open = self.services.engine.connect()
            self.held = self.new_entry(self.tracked[day])
            self.insert(self.open, self.held)
        else:
            self.end_the_transaction(commit=commit)

    def end_the_transaction(self, *, commit: bool) -> None:
        assert self.open is not None
        assert self.held is not None
        if commit:
            self.open.commit()
            self.appended[utc_day(self.held.timestamp)].append(self.held)
        self.open.close()
        self.open = None

    @rule(day=DAY, what=st.sampled_from(["upkeep", "seal", "archive", "purge", "restore", "drop"]))
    def do_something_out_of_turn(self, day: int, what: str) -> None:
        if what == "seal":
            seal(self.services, max_entries=2)
        elif what == "archive":
            archive_day(self.services, self.tracked[day])
        elif what == "restore":
            self.restore(day)
        elif what == "drop":
            drop_restored(self.services)
        elif self.open is None:
            # These would wait for the open transaction: other tests see to that.
            self.upkeep() if what == "upkeep" else self.purge(day)

    def upkeep(self) -> None:
        """What the daily job does with partitions."""
        today = utc_day(datetime.now(UTC))
        drop_empty(self.services.engine, today)
        create_ahead(self.services.engine, today, 1)
        with self.services.engine.begin() as connection:
            ensure_days(connection, self.tracked)

    def purge(self, day: int) -> None:
        """What is due is purged, and nothing else."""
        this_day = self.tracked[day]
        is_due = this_day in catalogue.due(self.services).purge
        before = self.days.hot_rows(this_day)
        try:
            purge_day(self.services, this_day)
        except PurgeRefusedError:
            assert not is_due
            assert self.days.hot_rows(this_day) == before
        else:
            assert is_due or not before
            assert self.days.hot_rows(this_day) == []

    def restore(self, day: int) -> None:
        this_day = self.tracked[day]
        cold = self.days.cold_rows(this_day)
        try:
            table = restore_day(self.services, this_day).table
        except RestoreError:
            assert self.parts(this_day) == []
            return
        self.restores += 1
        # A part that was committed and not recorded is in the cold store already, and is restored later.
        restored = self.days.table_rows(table, this_day)
        assert set(restored) <= set(cold)
        assert len(restored) == sum(part.entry_count for part in self.parts(this_day))

    def parts(self, day: date) -> list[catalogue.ArchivedPart]:
        with self.services.engine.connect() as connection:
            return catalogue.parts_of_day(connection, day)

    @precondition(lambda self: self.open is None)
    @rule()
    def do_what_is_due(self) -> None:
        """A day of the schedule."""
        seal(self.services)
        due = catalogue.due(self.services)
        for day in due.archive:
            archive_day(self.services, day)
        for day in due.purge:
            purge_day(self.services, day)
        self.the_verification_finds_nothing()

    @rule(day=DAY, endings=st.lists(st.tuples(st.sampled_from(ENDINGS), st.integers(0, 5)), min_size=1, max_size=6))
    def go_on(self, day: int, endings: list[tuple[str, int]]) -> None:
        """Take a day further in its life, a piece of work at a time."""
        for ending, after in endings:
            self.take_next_step(day, ending, after)
            self.both_stores_together_hold_what_was_appended_once_each_as_it_was_sealed()

    def take_next_step(self, day: int, ending: str, after: int) -> None:
        """The work ends well, or with an error or a kill after any of its steps."""
        this_day = self.tracked[day]
        state, facts = catalogue.day_summary(self.services, this_day)
        if not facts.total_entries:
            self.append(day, 2, "bare")
        elif state is DayState.PURGED:
            self.repeat(day, [after])
        elif state is DayState.OPEN:
            self.work(Order("seal"), list(SealStep), ending, after)
        elif state in {DayState.SEALED, DayState.ARCHIVED}:
            with self.services.engine.connect() as connection:
                unpublished = unpublished_checkpoints(connection)
            if unpublished:
                # Nothing is archived that the ledger in the cold store does not have yet; the next pass heals that.
                seal(self.services)
            self.work(Order("archive", str(this_day)), list(ArchiveStep), ending, after)
        elif this_day in catalogue.due(self.services).purge:
            if self.open is None:
                self.work(Order("purge", str(this_day)), list(PurgeStep), ending, after)
        elif self.moved_days < MOST_DAYS:
            self.moved_days += 8
            self._stores.clock.advance(days=8)

    def work(self, order: Order, steps: list[StrEnum], ending: str, after: int) -> None:
        step = steps[after % len(steps)]
        if ending == "killed":
            outcome = self._worker.run(self.services, replace(order, die_after=step))
            assert outcome.error is None, outcome
            return
        hook = stop_after(step) if ending == "stopped" else stop_after(None)
        with suppress(Stopped):
            if order.work == "seal":
                seal(self.services, step=hook)
            elif order.work == "archive":
                archive_day(self.services, date.fromisoformat(order.day), hook=hook)
            else:
                purge_day(self.services, date.fromisoformat(order.day), hook=hook)

    @invariant()
    def both_stores_together_hold_what_was_appended_once_each_as_it_was_sealed(self) -> None:
        with self.services.engine.connect() as connection:
            check_anchor(self.services, connection)
            checkpoint = last_checkpoint(connection)
            segments = {day: catalogue.segments_of_day(connection, day) for day in self.tracked}
        horizon = 0 if checkpoint is None else checkpoint.tx_horizon
        for day, appended in self.appended.items():
            rows = self.rows_of_both_stores(day)
            assert {each.log_entry_id: _values(each) for each in appended} == {row[1]: _values_of(row) for row in rows}
            assert len({row[0] for row in rows}) == len(appended)
            hashed = SealedRows([segment for segment, _ in segments[day]])
            columns = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
            sealed = [row for row in columns if row["tx_id"] < horizon]
            hashed.feed(pa.RecordBatch.from_pylist(sealed, schema=ENTRY_SCHEMA))
            assert hashed.differences() == []

    def rows_of_both_stores(self, day: date) -> list[Row]:
        """Each row once, in id order; what both have is the same in both, and neither has anything twice."""
        hot, cold = self.days.hot_rows(day), self.days.cold_rows(day)
        for rows in (hot, cold):
            assert len({row[1] for row in rows}) == len(rows), "an entry is twice in one store"
        rows = sorted({*hot, *cold})
        assert len({row[1] for row in rows}) == len(rows), "an entry is in both stores, and differs"
        return rows

    @invariant()
    def every_step_is_on_record_once(self) -> None:
        recorded: dict[str, int] = dict(
            self.days.execute(f"SELECT action, count(*) FROM audit_logs WHERE {_AUDIT} GROUP BY action")
        )
        ((parts, purges),) = self.days.execute(
            "SELECT (SELECT count(*) FROM archived_audit_logs), (SELECT count(*) FROM audit_purges)"
        )
        expected = {"audit.archive": parts, "audit.purge": purges, "audit.restore": self.restores}
        assert recorded == {action: count for action, count in expected.items() if count}

    def the_verification_finds_nothing(self) -> None:
        report = verify(self.services)
        assert report.ok, report

    def teardown(self) -> None:
        """Whatever was left half done, the schedule finishes."""
        try:
            if self.open is not None:
                self.end_the_transaction(commit=True)
            self.the_verification_finds_nothing()
            self._stores.clock.advance(days=90)
            for _ in range(2):
                # A transaction of another test may hold sealing back; the schedule would come again.
                settle(self.services)
                self.do_what_is_due()
                self._stores.clock.advance(days=8)
            for day in self.tracked:
                assert self.days.hot_rows(day) == []
                assert len(self.days.objects(day)) == len(self.days.manifests(day)) == len(self.parts(day))
            self.both_stores_together_hold_what_was_appended_once_each_as_it_was_sealed()
        finally:
            self._stores.close()


def _values(appended: AuditEntry) -> tuple[Any, ...]:
    values = [getattr(appended, name) for name in COLUMNS[1:8]]
    return (*values, None if appended.metadata_text is None else json.loads(appended.metadata_text))


def _values_of(row: Row) -> tuple[Any, ...]:
    return (*row[1:8], None if row[8] is None else json.loads(row[8]))


@pytest.fixture
def environment(postgres_server: EmbeddedPostgres, template_database: str, tmp_path: Path) -> Iterator[Environment]:
    """The run's PostgreSQL and a process to kill."""
    with running_worker() as worker:
        yield Environment(postgres_server, template_database, worker, tmp_path)


def test_hot_plus_cold_is_what_was_appended(environment: Environment) -> None:
    class OfThisRun(Conservation):
        def __init__(self) -> None:
            super().__init__(environment)

    run_state_machine_as_test(
        OfThisRun,
        settings=settings(
            max_examples=5,
            stateful_step_count=20,
            # Shrinking takes minutes on real servers; the blob reproduces a failure, and then it can be asked for.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
