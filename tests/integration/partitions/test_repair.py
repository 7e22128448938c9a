"""A database that was filled with empty partitions is brought back under the bound, even where nothing else works."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import partitions
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.migrate import downgrade, upgrade
from compliance_pipelines.audit_log.partitions import (
    Dropped,
    PartitionLimitError,
    create_ahead,
    drop_empty,
    ensure_days,
)
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.verification.online import verify
from tests.integration.audit_log.entries import entry
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.support.command import Command

FIRST: Final = date(2015, 1, 1)
MONTHS: Final = 90
DAYS_PER_MONTH: Final = 3
TODAY: Final = datetime.now(UTC).date()
NO_TRUNCATE: Final = (
    "CREATE TRIGGER audit_logs_no_truncate BEFORE TRUNCATE ON {} FOR EACH STATEMENT"
    " EXECUTE FUNCTION audit_refuse_change()"
)


def months() -> list[date]:
    return [date(2015 + number // 12, 1 + number % 12, 1) for number in range(MONTHS)]


@pytest.fixture
def filled(small_superuser: sqlalchemy.Engine) -> list[date]:
    """Hundreds of day tables, as an earlier version made them for an import that failed."""
    return fill(small_superuser)


def fill(small_superuser: sqlalchemy.Engine) -> list[date]:
    days = [month + timedelta(days=3 * number) for month in months() for number in range(DAYS_PER_MONTH)]
    with small_superuser.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET ROLE audit_owner"))
        for month in months():
            name, after = f"audit_logs_{month:%Y_%m}", (month + timedelta(days=32)).replace(day=1)
            connection.execute(
                text(
                    f"CREATE TABLE {name} PARTITION OF audit_logs FOR VALUES FROM ('{month} 00:00+00') TO"
                    f""" ('{after} 00:00+00') PARTITION BY RANGE ("timestamp")"""
                )
            )
            connection.execute(text(f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT"))
            connection.execute(text(NO_TRUNCATE.format(name)))
            connection.execute(text(NO_TRUNCATE.format(f"{name}_default")))
        for day in days:
            connection.execute(
                text(
                    f"CREATE TABLE audit_logs_{day:%Y_%m_%d} PARTITION OF audit_logs_{day:%Y_%m} FOR VALUES FROM"
                    f" ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
                )
            )
            connection.execute(text(NO_TRUNCATE.format(f"audit_logs_{day:%Y_%m_%d}")))
        connection.execute(text("RESET ROLE"))
    return days


def count_all(engine: sqlalchemy.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one())


def test_a_database_full_of_empty_partitions_is_repaired(
    small_services: Services, small_superuser: sqlalchemy.Engine, filled: list[date], command: Command
) -> None:
    noon = datetime(filled[0].year, filled[0].month, filled[0].day, 12, tzinfo=UTC)
    AuditLog(small_services.engine).append(entry(1, timestamp=noon))
    with pytest.raises(DBAPIError, match="out of shared memory"):
        count_all(small_superuser)
    checks = {each["name"]: each for each in json.loads(command("check", "--json").out)["checks"]}
    assert "out of shared memory" in checks["database: partitions"]["message"]
    assert "run `compliance db repair`" in checks["database: partitions"]["remedy"]
    assert checks["database: privileges"]["ok"]

    # These look at one partition at a time.
    assert seal(small_services).entries == 1
    assert command("status").status == 0

    repaired = command("db", "repair")
    assert repaired.status == 0, repaired.err
    assert f"dropped {len(filled) - 1} empty day tables and {MONTHS - 1} empty months, left 0" in repaired.out
    assert count_all(small_superuser) == 1
    seal_all(small_services)
    assert verify(small_services).findings == ()
    checks = {each["name"]: each for each in json.loads(command("check", "--json").out)["checks"]}
    assert checks["database: partitions"]["ok"]
    again = command("db", "repair")
    assert (again.status, "dropped 0 empty day tables and 0 empty months" in again.out) == (0, True)


def test_a_database_of_an_earlier_version_is_migrated_as_far_as_the_repair_needs_it(
    small_services: Services, small_superuser: sqlalchemy.Engine, small_database_url: str
) -> None:
    """A migration that locked every partition could not run before the repair."""
    downgrade(small_database_url, "0003")
    days = fill(small_superuser)
    upgrade(small_database_url, "0004")
    assert drop_empty(small_services.engine, TODAY) == Dropped(len(days), MONTHS, 0)
    upgrade(small_database_url)
    assert count_all(small_superuser) == 0


@pytest.mark.usefixtures("impatient")
def test_a_repair_that_is_interrupted_goes_on_where_it_stopped(small_services: Services, filled: list[date]) -> None:
    class Interrupted(Exception):  # noqa: N818 - the end of a process
        pass

    def interrupt(done: int, _all: int) -> None:
        if done == len(filled) // 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        drop_empty(small_services.engine, TODAY, progress=interrupt)
    rest = drop_empty(small_services.engine, TODAY)
    assert (rest.days, rest.months) == (len(filled) - len(filled) // 2, MONTHS)


def test_no_table_is_made_where_the_lock_table_has_no_room(
    small_services: Services, filled: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = r"audit_logs has \d+ partitions, and the lock table of this server has room for \d+\. Run `compliance db"
    with pytest.raises(PartitionLimitError, match=reason):
        create_ahead(small_services.engine, TODAY, 3)
    with small_services.engine.begin() as connection, pytest.raises(PartitionLimitError, match=reason):
        ensure_days(connection, [filled[0] + timedelta(days=1)])
    # An import goes on without them.
    monkeypatch.setattr(partitions, "DENSE_DAY_ENTRIES", 1)
    assert partitions.make_room(small_services.engine, {filled[0] + timedelta(days=1): 5}) == 0
    assert AuditLog(small_services.engine).append(entry(1))
