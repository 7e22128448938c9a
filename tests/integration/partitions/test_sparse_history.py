"""A long history of single entries needs no tables: it is imported, sealed, archived and purged without any."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from compliance_pipelines.archive import catalogue
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.importing import import_file
from compliance_pipelines.verification.online import verify
from tests.integration.audit_log.entries import entry
from tests.integration.audit_log.import_files import line, write
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.support.command import Command

FIRST: Final = datetime(2015, 1, 1, 12, tzinfo=UTC)
DAYS: Final = 400


def history(tmp_path: Path) -> Path:
    moments = [FIRST + timedelta(days=9 * number) for number in range(DAYS)]
    return write(tmp_path / "history", [line(entry(n, timestamp=moment)) for n, moment in enumerate(moments)])


def bring_in(services: Services, file: Path) -> int:
    return import_file(
        services.engine, file, actor="test", first_day=date(2015, 1, 1), archived_ids=ArchivedIds(services)
    ).new


def partitions(superuser: sqlalchemy.Engine) -> int:
    with superuser.connect() as connection:
        return int(
            connection.execute(
                text("SELECT count(*) FROM pg_inherits WHERE inhparent::regclass::text LIKE 'audit_logs%'")
            ).scalar_one()
        )


def test_a_sparse_history_is_imported_and_kept_without_a_table_for_each_day(
    small_services: Services, small_superuser: sqlalchemy.Engine, clock: MovableClock, tmp_path: Path, command: Command
) -> None:
    before = partitions(small_superuser)
    assert bring_in(small_services, history(tmp_path)) == DAYS
    assert partitions(small_superuser) == before

    assert seal_all(small_services).entries == DAYS + 1
    due = catalogue.due(small_services)
    assert len(due.archive) == DAYS
    assert command("status").status == 0

    some = due.archive[:2] + due.archive[-1:]
    for day in some:
        archive_day(small_services, day)
    clock.advance(days=8)
    assert catalogue.due(small_services).purge == some
    for day in some:
        assert purge_day(small_services, day).entry_count == 1
    with small_superuser.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM audit_logs WHERE action = 'message.send'")).scalar_one()
    assert left == DAYS - len(some)
    assert catalogue.states_of_days(small_services)[some[0]] is catalogue.DayState.PURGED
    seal_all(small_services)
    assert verify(small_services).findings == ()

    assert bring_in(small_services, history(tmp_path)) == 0
    assert partitions(small_superuser) == before
