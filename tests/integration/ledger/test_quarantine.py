"""Entries that break a rule are put aside and on record; the others of the same pass are sealed, archived, verified."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.errors import PurgeRefusedError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.migrate import downgrade, upgrade
from compliance_pipelines.audit_log.reading import UnreadableRowsError, read_rows
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.cli import ledger, opening
from compliance_pipelines.ledger import sealing
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.sealing import SealStep
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.orchestration.failures import is_passing
from compliance_pipelines.verification.findings import Kind, NoteKind
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import entry
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days

NEW_RULES: Final = (
    "audit_logs_entry_fits",
    "audit_logs_indexed_texts_fit",
    "audit_logs_log_entry_id_is_given",
    "audit_logs_metadata_is_not_too_deep",
    "audit_logs_timestamp_has_four_digit_year",
)
GIGABYTES: Final = f"[{','.join(['1e131071'] * 10_000)}]"


class Intruder:
    """A superuser who drops the rules and inserts what they would refuse."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    def execute(self, statement: str, **values: Any) -> None:  # noqa: ANN401 - bound values
        with self._engine.begin() as connection:
            connection.execute(text(statement), values)

    def drop_rules(self, *rules: str) -> None:
        for rule in rules or NEW_RULES:
            self.execute(f"ALTER TABLE audit_logs DROP CONSTRAINT {rule}")

    def insert(self, day: date | str, log_entry_id: str = "broken", metadata: str | None = None) -> None:
        self.execute(
            'INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result, metadata)'
            " VALUES (:id, CAST(:moment AS timestamptz), 'u', 'a', 'r', CAST(:metadata AS jsonb))",
            id=log_entry_id,
            moment=str(day),
            metadata=metadata,
        )


@pytest.fixture
def intruder(superuser_engine: sqlalchemy.Engine) -> Intruder:
    return Intruder(superuser_engine)


def quarantine(services: Services) -> list[tuple[str, str, str]]:
    with services.engine.connect() as connection:
        rows = connection.execute(text("SELECT day::text, log_entry_id, reason FROM audit_quarantine ORDER BY id"))
        return [tuple(row) for row in rows]


def records(services: Services) -> list[dict[str, Any]]:
    """What the audit log says of quarantined entries."""
    with services.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT resource_id, metadata FROM audit_logs WHERE action = 'audit.quarantine' ORDER BY id")
        )
        return [{"day": row.resource_id, **row.metadata} for row in rows]


def test_an_entry_of_gigabytes_is_put_aside_and_stops_no_other(
    services: Services, days: Days, intruder: Intruder, day: date
) -> None:
    intruder.drop_rules()
    AuditLog(services.engine).append_many([entry(day, number) for number in range(5)])
    intruder.insert(day, metadata=GIGABYTES)

    result = seal_all(services)

    assert [(segment.day, segment.entry_count) for segment in result.segments] == [(day, 5)]
    (found,) = result.quarantined
    assert (found.day, found.entries, found.ids) == (str(day), 1, (7,))
    assert "more than 1,048,576 bytes" in str(found)
    assert [(quarantined[0], quarantined[1]) for quarantined in quarantine(services)] == [(str(day), "broken")]
    (record,) = records(services)
    assert (record["day"], record["entries"], record["ids"]) == (str(day), 1, [7])


BROKEN: Final[dict[str, dict[str, Any]]] = {
    "an empty id": {"log_entry_id": ""},
    "an id of 2,049 bytes": {"log_entry_id": "x" * 2_049},
    "metadata of a MiB": {"metadata": json.dumps("x" * 2**20)},
    "129 levels": {"metadata": "[" * 130 + "]" * 130},
    "zeros of a large scale": {"metadata": f"[{','.join(['0e-16383'] * 70)}]"},
    "the zero time": {"day": "0001-01-01"},
    "before the zero time": {"day": "4713-01-02 BC"},
    "no time at all": {"day": "-infinity"},
    "the year 999": {"day": "0999-12-31"},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_whatever_rule_an_entry_breaks_the_others_are_sealed(
    services: Services, days: Days, intruder: Intruder, day: date, broken: dict[str, Any]
) -> None:
    intruder.drop_rules(*NEW_RULES, "audit_logs_timestamp_is_finite")
    AuditLog(services.engine).append_many([entry(day, number) for number in range(3)])
    intruder.insert(**{"day": day, **broken})

    result = seal_all(services)
    again = seal_all(services)

    assert [(segment.day, segment.entry_count) for segment in result.segments] == [(day, 3)]
    assert again.quarantined == ()
    assert len(records(services)) == len(result.quarantined) >= 1
    report = verify(services)
    assert report.findings == ()
    assert NoteKind.ENTRY_QUARANTINED in {note.kind for note in report.notes}


def test_entries_that_are_older_than_the_rules_are_put_aside_when_they_are_sealed(
    services: Services, database_url: str, intruder: Intruder, day: date, tmp_path: Path
) -> None:
    downgrade(database_url, "0003", destroy_audit_trail=False)
    intruder.insert(day, metadata=GIGABYTES)
    intruder.insert(day, log_entry_id="")
    intruder.insert(day, log_entry_id="sound")
    upgrade(database_url)
    with pytest.raises(DBAPIError, match="audit_logs_entry_fits"):
        intruder.insert(day, metadata=GIGABYTES)

    upgraded = replace(services, store=LocalObjectStore(tmp_path / "store of the upgraded database"))
    init_store(upgraded)
    result = seal_all(upgraded)

    assert [(segment.day, segment.entry_count) for segment in result.segments] == [(day, 1)]
    assert [found.entries for found in result.quarantined] == [2]


def test_a_quarantined_day_is_archived_without_the_entry_and_never_purged(
    services: Services, days: Days, intruder: Intruder, clock: MovableClock, day: date
) -> None:
    intruder.drop_rules()
    days.append(day, 5)
    intruder.insert(day, metadata=GIGABYTES)
    seal_all(services)

    archived = archive_day(services, day)

    assert archived.entry_count == 5
    clock.advance(days=8)
    with pytest.raises(PurgeRefusedError, match=r"it holds 1 quarantined entry \(id 7\): its texts"):
        purge_day(services, day)
    report = verify(services, [day])
    assert report.ok
    assert [note.kind for note in report.notes if note.kind is NoteKind.ENTRY_QUARANTINED]


def test_nobody_hides_an_entry_in_the_quarantine(services: Services, days: Days, intruder: Intruder, day: date) -> None:
    days.append(day, 5)
    intruder.execute(
        'INSERT INTO audit_quarantine (id, "timestamp", tx_id, log_entry_id, reason)'
        " SELECT id, \"timestamp\", tx_id, log_entry_id, 'because' FROM audit_logs ORDER BY id LIMIT 1"
    )
    found = {finding.kind for finding in verify(services, [day]).findings}
    assert found == {Kind.ENTRY_DELETED, Kind.QUARANTINE_ALTERED}


def test_an_entry_that_is_kept_from_the_ledger_by_the_quarantine_is_found(
    services: Services, days: Days, intruder: Intruder, day: date
) -> None:
    AuditLog(services.engine).append_many([entry(day, number) for number in range(3)])
    intruder.execute(
        'INSERT INTO audit_quarantine (id, "timestamp", tx_id, log_entry_id, reason)'
        " SELECT id, \"timestamp\", tx_id, log_entry_id, 'because' FROM audit_logs ORDER BY id LIMIT 1"
    )
    seal_all(services)
    for report in (verify(services), verify(services, [day])):
        (finding,) = report.findings
        assert finding.kind is Kind.QUARANTINE_ALTERED
        assert "break no rule" in finding.message


def test_a_quarantined_entry_that_is_deleted_is_missed(
    services: Services, days: Days, intruder: Intruder, day: date
) -> None:
    intruder.drop_rules()
    intruder.insert(day, log_entry_id="")
    seal_all(services)
    seal_all(services)
    intruder.execute("SET LOCAL session_replication_role = replica; DELETE FROM audit_logs WHERE log_entry_id = ''")
    for report in (verify(services), verify(services, [day])):
        assert [finding.kind for finding in report.findings] == [Kind.QUARANTINE_ALTERED]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_quarantine (id, \"timestamp\", tx_id, log_entry_id, reason) VALUES (1, now(), 1, 'a', 'b')",
        "UPDATE audit_quarantine SET reason = ''",
        "DELETE FROM audit_quarantine",
        "TRUNCATE audit_quarantine",
    ],
)
def test_nobody_but_the_sealing_writes_the_quarantine(services: Services, statement: str) -> None:
    with services.engine.connect() as connection, pytest.raises(DBAPIError, match="permission denied"):
        connection.execute(text(statement))


@pytest.mark.parametrize("statement", ["UPDATE audit_quarantine SET reason = ''", "DELETE FROM audit_quarantine"])
def test_what_is_in_the_quarantine_stays(
    services: Services, days: Days, intruder: Intruder, day: date, statement: str
) -> None:
    intruder.drop_rules()
    intruder.insert(day, log_entry_id="")
    seal_all(services)
    with pytest.raises(DBAPIError, match="append-only"):
        intruder.execute(statement)


def test_a_pass_that_dies_after_the_quarantine_leaves_it_on_record_once(
    services: Services, days: Days, intruder: Intruder, day: date
) -> None:
    intruder.drop_rules()
    days.append(day, 2)
    AuditLog(services.engine).append(entry(day, 7))
    intruder.insert(day, log_entry_id="")

    def die(step: str) -> None:
        if step == SealStep.HASHED:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        seal_all(services, step=die)
    assert seal_all(services).entries == 2  # the entry, and the one that tells of the quarantine
    assert len(records(services)) == len(quarantine(services)) == 1


def test_everybody_who_asks_is_told(services: Services, days: Days, intruder: Intruder, day: date) -> None:
    intruder.drop_rules()
    intruder.insert(day, log_entry_id="")
    seal_all(services)
    seal_all(services)

    checks = check_health(
        services.engine, now=datetime.now(UTC), sealing_lag=sealing_lag, max_sealing_lag=timedelta(minutes=5)
    )
    told = {check.name: (check.message, check.ok) for check in checks}
    assert told["quarantine"] == (f"there is 1 quarantined entry of {day} (id 1), neither sealed nor archived", False)
    assert told["sealing lag"] == ("every entry is sealed", True)
    assert told["entry rules"][0].startswith("constraints of audit_logs are missing: audit_logs_entry_fits,")


def test_the_command_says_what_it_does_not_seal(
    services: Services, days: Days, intruder: Intruder, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    intruder.drop_rules()
    intruder.insert(day, log_entry_id="")
    result = seal_all(services)
    monkeypatch.setattr(sealing, "seal", lambda _services: result)
    monkeypatch.setattr(opening, "require", lambda _declared: None)
    monkeypatch.setattr(ledger, "opened", lambda: nullcontext(services))
    assert (
        f"not sealed, because it breaks a rule: {day}: 1 quarantined entry (id 1): log_entry_id is empty"
        in CliRunner().invoke(ledger.seal).output
    )


def test_rows_that_cannot_be_read_are_no_passing_failure(services: Services, intruder: Intruder, day: date) -> None:
    intruder.drop_rules()
    intruder.insert(day, metadata=GIGABYTES)
    with pytest.raises(UnreadableRowsError) as caught, read_rows(services.engine, day=day) as batches:
        list(batches)
    assert not isinstance(caught.value, TransientError)
    assert not is_passing(caught.value)
    assert "string buffer exceeds" in str(caught.value)


def test_a_sealed_entry_that_becomes_unreadable_hides_no_other_day(
    services: Services, days: Days, intruder: Intruder, day: date
) -> None:
    for one in (day, day + timedelta(days=1)):
        days.append(one, 3)
    intruder.drop_rules()
    intruder.execute("ALTER TABLE audit_logs DISABLE TRIGGER ALL")
    for one, change in ((day, f"metadata = '{GIGABYTES}'"), (day + timedelta(days=1), "result = 'forged'")):
        leaf = f"audit_logs_{one:%Y_%m_%d}"
        intruder.execute(f"ALTER TABLE {leaf} DISABLE TRIGGER ALL")
        intruder.execute(f"UPDATE {leaf} SET {change} WHERE id = (SELECT min(id) FROM {leaf})")

    report = verify(services)

    assert [undecided.day for undecided in report.undecided] == [day]
    assert [(finding.kind, finding.day) for finding in report.findings] == [
        (Kind.ENTRY_ALTERED, day + timedelta(days=1))
    ]
