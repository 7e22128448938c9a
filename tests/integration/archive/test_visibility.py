"""Whoever archives or drops a day sees all of its rows, or does neither."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import PurgeStep, purge_day
from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.audit_log.reading import UnreadableRowsError
from compliance_pipelines.audit_log.visibility import RowsHiddenError
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.ledger.lag import sealing_lag

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.base.health import HealthCheck
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

HIDDEN = [
    "ALTER TABLE audit_logs ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {day_table} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE audit_logs_default ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE ledger_segments ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE archived_segments ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE legal_holds ENABLE ROW LEVEL SECURITY",
]


def hide(days: Days, day: date, statement: str) -> None:
    """As an administrator does, with a policy that shows most of the rows."""
    statement = statement.format(day_table=f"audit_logs_{day:%Y_%m_%d}")
    table = statement.split()[2]
    days.execute(statement)
    days.execute(f"CREATE POLICY most ON {table} USING (random() < 2)")


def health(services: Services) -> HealthCheck:
    checks = check_health(
        services.engine, now=system_clock(), sealing_lag=sealing_lag, max_sealing_lag=timedelta(minutes=5)
    )
    return next(check for check in checks if check.name == "privileges")


@pytest.mark.parametrize("statement", HIDDEN)
def test_rows_that_row_security_may_hide_are_neither_archived_nor_dropped(
    services: Services, days: Days, day: date, clock: MovableClock, statement: str
) -> None:
    days.append(day, 3)
    archive_day(services, day)
    clock.advance(days=8)
    assert health(services).ok
    hide(days, day, statement)
    for refuses in (archive_day, purge_day):
        with pytest.raises(RowsHiddenError, match="has row security on"):
            refuses(services, day)
    assert days.execute("SELECT count(*) FROM audit_purges") == [(0,)]
    found = health(services)
    assert (found.ok, "has row security on" in found.message) == (False, True)


@pytest.mark.parametrize("moment", [PurgeStep.ARCHIVES_READ, PurgeStep.COMPARED])
def test_row_security_that_is_switched_on_during_a_purge_stops_it(
    services: Services, days: Days, day: date, clock: MovableClock, moment: PurgeStep
) -> None:
    days.append(day, 3)
    archive_day(services, day)
    clock.advance(days=8)

    def switch_on(step: PurgeStep) -> None:
        if step is moment:
            hide(days, day, HIDDEN[0])

    with pytest.raises((RowsHiddenError, UnreadableRowsError), match=r"row.level security|row security"):
        purge_day(services, day, hook=switch_on)
    assert len(days.hot_rows(day)) == 3


def test_a_view_in_the_place_of_a_table_is_no_table(
    services: Services, days: Days, day: date, clock: MovableClock
) -> None:
    days.append(day, 3)
    archive_day(services, day)
    clock.advance(days=8)
    days.execute("ALTER TABLE archived_segments RENAME TO hidden")
    days.execute("CREATE VIEW archived_segments AS SELECT * FROM hidden WHERE part > 0")
    days.execute("GRANT SELECT ON archived_segments TO audit_archiver")
    with pytest.raises(RowsHiddenError, match="archived_segments is no table"):
        purge_day(services, day)
    assert len(days.hot_rows(day)) == 3
