"""A sequence that went back: two entries of a day have the same id, and everything that is sealed still works."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.proof_document import verify_proof
from compliance_pipelines.ledger.proofs import prove
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import entry
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days
    from tests.integration.ledger.inspector import Inspector

ENTRIES = 400


@pytest.fixture
def repeated(services: Services, superuser_engine: sqlalchemy.Engine, days: Days, day: date) -> list[AuditEntry]:
    """Entries of one day, each id twice; those that came last have the earlier times."""
    days.append(day, 0)
    entries = [entry(day, number) for number in range(ENTRIES)]
    entries.sort(key=lambda each: each.timestamp)
    for half in (entries[ENTRIES // 2 :], entries[: ENTRIES // 2]):
        with superuser_engine.begin() as connection:
            connection.execute(text("SELECT setval('audit_logs_id_seq', 1, false)"))
        AuditLog(services.engine).append_many(half)
    with superuser_engine.connect() as connection:
        twice = "SELECT count(*) FROM (SELECT FROM audit_logs GROUP BY id HAVING count(*) = 2) AS repeated"
        assert connection.execute(text(twice)).scalar_one() == ENTRIES // 2
    return entries


def test_entries_with_the_same_id_are_sealed_by_their_time(
    services: Services, inspector: Inspector, repeated: list[AuditEntry], day: date
) -> None:
    seal_all(services)
    (segment,) = inspector.segments()
    assert (segment["day"], segment["first_id"], segment["last_id"]) == (str(day), 2, ENTRIES // 2 + 1)
    inspector.assert_each_is_sealed_once([each.log_entry_id for each in repeated])
    assert verify(services).ok


def test_such_a_day_lives_to_its_end(
    services: Services,
    superuser_engine: sqlalchemy.Engine,
    repeated: list[AuditEntry],
    clock: MovableClock,
    day: date,
) -> None:
    seal_all(services)
    # PostgreSQL then returns the rows in another order wherever nothing asks for one.
    with superuser_engine.begin() as connection:
        leaf = f"audit_logs_{day:%Y_%m_%d}"
        connection.execute(text(f"ALTER TABLE {leaf} DISABLE TRIGGER ALL"))
        connection.execute(text(f"UPDATE {leaf} SET result = result WHERE id % 3 = 0"))
        connection.execute(text(f"ALTER TABLE {leaf} ENABLE TRIGGER ALL"))

    assert archive_day(services, day).entry_count == ENTRIES
    some = repeated[7]
    finder = ArchiveEntryFinder(services)
    hot = verify_proof(prove(services, some.log_entry_id, finder=finder), services.verifier_key)
    clock.advance(days=8)
    assert purge_day(services, day).entry_count == ENTRIES
    cold = verify_proof(prove(services, some.log_entry_id, finder=finder), services.verifier_key)
    assert restore_day(services, day).entry_count == ENTRIES

    assert hot.entry["log_entry_id"] == cold.entry["log_entry_id"] == some.log_entry_id
    assert hot.entry == cold.entry
    assert verify(services).ok


def test_it_is_said_that_the_sequence_went_back_and_how_to_mend_it(
    services: Services, superuser_engine: sqlalchemy.Engine, days: Days, day: date
) -> None:
    days.append(day, 50)
    assert seal_all(services).sequence is None
    with superuser_engine.begin() as connection:
        connection.execute(text("SELECT setval('audit_logs_id_seq', 1, false)"))
    AuditLog(services.engine).append(entry(day, 77))

    result = seal_all(services)

    assert result.entries == 1
    assert result.sequence is not None
    assert result.sequence.given == 1
    assert "ids went back: it gave 1 last" in str(result.sequence)
    assert health(services) == (f"{result.sequence}", result.sequence.remedy)

    mend = result.sequence.remedy.removeprefix("as a superuser: ").partition(";")[0]
    with superuser_engine.begin() as connection:
        connection.execute(text(mend))
    AuditLog(services.engine).append(entry(day, 78))
    assert seal_all(services).sequence is None
    assert health(services) == ("new entries get ids that no sealed one has", None)


def health(services: Services) -> tuple[str, str | None]:
    checks = check_health(
        services.engine, now=datetime.now(UTC), sealing_lag=sealing_lag, max_sealing_lag=timedelta(minutes=5)
    )
    return next((check.message, check.remedy) for check in checks if check.name == "id sequence")
