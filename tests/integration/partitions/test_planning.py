"""What is asked about all days costs the same whatever the number of tables: locks are counted, not seconds."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import event

from compliance_pipelines.archive import catalogue
from compliance_pipelines.archive.figures import take_figures
from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days, runway, strays
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.verification import online
from tests.integration.audit_log.entries import entry
from tests.support.sealing import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.services import Services

FEW: Final = 30
MANY: Final = 300
# A few partitions with their indexes, and the tables of catalogue and ledger: less than one lock for each table.
AT_MOST: Final = 100
FIRST: Final = date(2025, 1, 1)
_LOCKED: Final = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"


def look_at_all_days(services: Services) -> None:
    catalogue.due(services)
    catalogue.states_of_days(services)
    take_figures(services)


def look_at_one_day(services: Services) -> None:
    catalogue.day_summary(services, FIRST)


def look_at_partitions(services: Services) -> None:
    with services.engine.connect() as connection:
        strays(connection)
        runway(connection, FIRST)


def check_the_database(services: Services) -> None:
    check_health(
        services.engine, now=datetime.now(UTC), sealing_lag=sealing_lag, max_sealing_lag=timedelta(seconds=300)
    )


def seal_what_is_new(services: Services) -> None:
    for _ in range(2):
        AuditLog(services.engine).append(entry(0, log_entry_id=uuid.uuid4().hex))
    settle(services)
    # Two passes: the first is cut at its bound.
    assert seal(services, max_entries=1).more
    assert seal(services, max_entries=1).entries == 1


def find_days_with_rows(services: Services) -> None:
    list(online._days_with_rows(services))


def make_tables(services: Services, until: int) -> None:
    with services.engine.connect() as connection:
        for number in range(until):
            with connection.begin():
                ensure_days(connection, [FIRST + timedelta(days=number)])


def most_locks(services: Services, work: Callable[[Services], None]) -> int:
    """The most relations that any transaction of the work had locked after any of its statements."""
    most = [0]

    def count(_connection: sqlalchemy.Connection, cursor: object, *_rest: object) -> None:
        locked = cursor.connection.execute(_LOCKED).fetchone()  # type: ignore[attr-defined]
        most[0] = max(most[0], locked[0])

    event.listen(services.engine, "after_cursor_execute", count)
    try:
        work(services)
    finally:
        event.remove(services.engine, "after_cursor_execute", count)
    return most[0]


@pytest.mark.parametrize(
    "work",
    [
        look_at_all_days,
        look_at_one_day,
        look_at_partitions,
        check_the_database,
        seal_what_is_new,
        find_days_with_rows,
    ],
)
def test_the_locks_of_a_statement_do_not_grow_with_the_number_of_tables(
    services: Services, work: Callable[[Services], None]
) -> None:
    make_tables(services, FEW)
    for number in range(0, FEW, 7):
        moment = datetime(2025, 1, 1, 12, tzinfo=UTC) + timedelta(days=number)
        AuditLog(services.engine).append(entry(number, timestamp=moment))
    settle(services)
    seal(services)
    assert most_locks(services, work) < AT_MOST
    make_tables(services, MANY)
    assert most_locks(services, work) < AT_MOST
