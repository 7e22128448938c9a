"""Times are judged by the clock of the moment, and those of our own entries are taken where they are judged.

The table of these tests takes no entry from the future at all, not even of the next five minutes: whatever is dated by
a transaction's start, or by the clock of whoever works, is then refused at once and not after five minutes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchivedIds, ArchiveEntryFinder
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.audit_log.entry import AuditEntry, InvalidEntryError
from compliance_pipelines.audit_log.importing import import_file
from compliance_pipelines.audit_log.log import AsyncAuditLog, AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.ledger.proofs import prove
from compliance_pipelines.postgres.engine import create_asynchronous_engine
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import UndatedEntry
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days


@pytest.fixture(autouse=True)
def _no_future_at_all(superuser_engine: sqlalchemy.Engine) -> None:
    rule = "audit_logs_timestamp_not_in_future"
    with superuser_engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE audit_logs DROP CONSTRAINT {rule}"))
        connection.execute(text(f'ALTER TABLE audit_logs ADD CONSTRAINT {rule} CHECK ("timestamp" <= created_at)'))


def of_now(timestamp: datetime) -> AuditEntry:
    return AuditEntry(log_entry_id="now", timestamp=timestamp, user_id="u", action="a", result="r")


def undated() -> UndatedEntry:
    return system_entry("u", action="a.b", resource_type="c", resource_id="d", result="e", metadata={"f": 1})


def test_an_entry_with_the_right_time_at_the_end_of_a_long_transaction_is_taken(services: Services) -> None:
    with services.engine.begin() as connection:
        began = connection.execute(text("SELECT now()")).scalar_one()
        right = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        assert right > began
        AuditLog(services.engine).append_within(connection, of_now(right))
    with services.engine.connect() as connection:
        created_at = connection.execute(text("SELECT created_at FROM audit_logs")).scalar_one()
    assert created_at >= right


def test_an_entry_from_the_future_is_refused_all_the_same(services: Services) -> None:
    with pytest.raises(InvalidEntryError, match="in the future"):
        AuditLog(services.engine).append(of_now(datetime.now(UTC) + timedelta(hours=1)))


def test_an_undated_entry_gets_the_databases_time_between_what_came_before_and_its_writing(services: Services) -> None:
    with services.engine.begin() as connection:
        before = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        appended = AuditLog(services.engine).append_within(connection, undated())
        created_at = connection.execute(text("SELECT created_at FROM audit_logs")).scalar_one()
    assert before < appended.timestamp <= created_at


async def test_the_asynchronous_log_dates_entries_the_same_way(services: Services, pipeline_database_url: str) -> None:
    engine = create_asynchronous_engine(pipeline_database_url, pool_size=1)
    log = AsyncAuditLog(engine)
    facts: dict[str, Any] = {
        "user_id": "u",
        "deleted_data_types": ["sessions"],
        "deletion_count": 1,
        "success": True,
    }
    assert await log.append(undated())
    recorded = [await log.record_deletion(**facts)]
    async with engine.begin() as connection:
        recorded.append(await log.record_deletion_within(connection, **facts))
        await log.append_within(connection, undated())
    await engine.dispose()
    with services.engine.connect() as connection:
        stored = {row.log_entry_id: row.timestamp for row in connection.execute(text("SELECT * FROM audit_logs"))}
    assert len(stored) == 4
    assert all(stored[each.log_entry_id] == each.timestamp for each in recorded)


def test_a_deletion_record_of_the_past_keeps_its_time(services: Services) -> None:
    moment = datetime(2025, 10, 1, tzinfo=UTC)
    recorded = AuditLog(services.engine).record_deletion(
        user_id="u", deleted_data_types=[], deletion_count=0, success=True, timestamp=moment
    )
    assert recorded.timestamp == moment


def test_every_work_of_ours_can_be_put_on_record(
    services: Services, days: Days, clock: MovableClock, day: date, tmp_path: Path
) -> None:
    entries = days.append(day, 3)
    archive_day(services, day)
    prove(services, entries[0].log_entry_id, finder=ArchiveEntryFinder(services))
    clock.advance(days=8)
    purge_day(services, day)
    restore_day(services, day)
    added = add_hold(services, NewHold(HoldScope.USER, "case 1", "counsel", subject="user:alice"))
    release_hold(services, added.hold.id, reason="over", author="counsel")
    record_request(services, NewRequest("user:bob", "asked by letter", "support"))
    file = tmp_path / "entries.jsonl"
    file.write_text("", encoding="utf-8")
    import_file(
        services.engine,
        file,
        actor="pipelines",
        first_day=services.settings.audit_log_first_day,
        archived_ids=ArchivedIds(services),
    )
    with services.engine.connect() as connection:
        actions = set(connection.execute(text("SELECT action FROM audit_logs")).scalars())
    assert actions >= {
        "audit.archive",
        "audit.prove",
        "audit.purge",
        "audit.restore",
        "hold.add",
        "hold.release",
        "erasure.request",
        "audit.import",
    }
    seal_all(services)


def test_no_time_of_the_record_is_the_start_of_a_transaction(superuser_engine: sqlalchemy.Engine) -> None:
    with superuser_engine.connect() as connection:
        defaults = connection.execute(
            text(
                "SELECT table_name, column_name, column_default FROM information_schema.columns"
                " WHERE table_schema = 'public' AND data_type LIKE 'timestamp%' AND column_default IS NOT NULL"
            )
        ).all()
    assert len(defaults) > 10
    assert [default for default in defaults if "clock_timestamp()" not in default.column_default] == []


def test_a_purge_is_dated_when_it_happened_and_not_when_its_transaction_began(
    services: Services, days: Days, clock: MovableClock, day: date
) -> None:
    days.append(day, 3)
    archive_day(services, day)
    clock.advance(days=8)
    dropped: list[datetime] = []

    def note(step: str) -> None:
        if step == "dropped":
            with services.engine.connect() as connection:
                dropped.append(connection.execute(text("SELECT clock_timestamp()")).scalar_one())

    purge_day(services, day, hook=note)

    with services.engine.connect() as connection:
        recorded = connection.execute(
            text(
                "SELECT purge.purged_at AS purge, part.purged_at AS part"
                " FROM audit_purges AS purge, archived_audit_logs AS part"
            )
        ).one()
    assert dropped[0] < recorded.purge
    assert dropped[0] < recorded.part
