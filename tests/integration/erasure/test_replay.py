"""After a restore everybody who was erased since the backup is erased again, from whatever record is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import pytest
from sqlalchemy import text

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.readback import PartDamagedError
from compliance_pipelines.audit_log.deletion import undated_deletion_entry
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.deletion_records import deletion_records
from compliance_pipelines.erasure.record import NewRequest, State, open_cases, record_request
from compliance_pipelines.erasure.replay import REASON, plan_replay, request_replays
from compliance_pipelines.erasure.runner import run_request
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.store_identity import LedgerIdentityError
from compliance_pipelines.pseudonyms import pseudonym
from tests.integration.archive.days import overwrite
from tests.integration.erasure.conftest import PSEUDONYM_KEY
from tests.integration.erasure.flaky import Shelf
from tests.support.redis_commands import dump
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.erasure.application import Application

ALICE = "user:alice"
BOB = "user:bob"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def erased(services: Services, user_id: str) -> datetime:
    """Erase somebody, and give the moment before it."""
    with services.engine.connect() as connection:
        before: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    case, _ = record_request(services, NewRequest(user_id, "asked", "support"))
    assert run_request(services, [Shelf()], case.request.id).state is State.CLOSED
    return before


def test_everything_that_a_backup_brought_back_is_erased_again(services: Services, application: Application) -> None:
    application.meet(ALICE)
    application.meet(BOB)
    backup = {key: dump(application.redis, key) for key in application.keys("*")}
    with services.engine.connect() as connection:
        made_at = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    run_request(services, configured_targets(services.settings), case.request.id)
    assert not application.has_anything_of(ALICE)
    for key, value in backup.items():
        application.redis.restore(key, 0, value, replace=True)
    application.execute("DELETE FROM consent_records WHERE user_id = :user", user=ALICE)
    application.register(ALICE)
    assert application.has_anything_of(ALICE)

    plan = plan_replay(services, made_at)
    assert [(each.user_id, each.request_id) for each in plan.people] == [(ALICE, case.request.id)]
    (again,) = request_replays(services, plan, requested_by="restore")
    assert (again.request.replay_of, again.request.reason) == (case.request.id, REASON)
    done = run_request(services, configured_targets(services.settings), again.request.id)
    assert done.state is State.CLOSED
    assert not application.has_anything_of(ALICE)
    assert application.has_anything_of(BOB)


def test_only_who_was_erased_since_then_is_erased_again_and_each_person_once(services: Services) -> None:
    erased(services, ALICE)
    since = erased(services, BOB)
    erased(services, BOB)
    plan = plan_replay(services, since)
    assert [each.user_id for each in plan.people] == [BOB]
    assert {each.user_id for each in plan_replay(services, LONG_AGO).people} == {ALICE, BOB}


def test_asking_twice_makes_one_request(services: Services) -> None:
    plan = plan_replay(services, erased(services, ALICE))
    first = request_replays(services, plan, requested_by="restore")
    assert request_replays(services, plan, requested_by="restore") == first
    with services.engine.connect() as connection:
        assert [case.request.user_id for case in open_cases(connection)] == [ALICE]


def _forget(superuser: sqlalchemy.Engine) -> None:
    """As if the tables had come back from an older state than the audit log."""
    with superuser.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = 'replica'"))
        for table in ("erasure_closures", "erasure_events", "erasure_requests"):
            connection.execute(text(f"DELETE FROM {table}"))


def test_a_record_that_was_lost_is_made_good_from_the_audit_log(
    services: Services, superuser_engine: sqlalchemy.Engine
) -> None:
    since = erased(services, ALICE)
    _forget(superuser_engine)
    (found,) = plan_replay(services, since).people
    assert (found.user_id, found.request_id) == (ALICE, None)
    (case,) = request_replays(services, plan_replay(services, since), requested_by="restore")
    assert case.request.replay_of is None


def test_deletion_records_of_others_count_too(services: Services) -> None:
    AuditLog(services.engine).record_deletion(
        user_id=ALICE, deleted_data_types=["sessions"], deletion_count=1, success=True
    )
    assert [each.user_id for each in plan_replay(services, LONG_AGO).people] == [ALICE]


def test_a_pseudonym_is_found_among_the_candidates_by_the_key_and_reported_otherwise(
    pseudonymous: Services, superuser_engine: sqlalchemy.Engine
) -> None:
    since = erased(pseudonymous, ALICE)
    assert [each.user_id for each in plan_replay(pseudonymous, since).people] == [ALICE]
    _forget(superuser_engine)
    plan = plan_replay(pseudonymous, since, candidates=[BOB])
    assert plan.people == ()
    assert len(plan.unknown) == 1
    plan = plan_replay(pseudonymous, since, candidates=[BOB, ALICE])
    assert [each.user_id for each in plan.people] == [ALICE]
    assert plan.unknown == ()


@pytest.fixture
def archived(pseudonymous: Services, clock: MovableClock) -> Services:
    """An old deletion record of each kind, in a day that was archived and purged."""
    services = pseudonymous
    moment = clock() - timedelta(days=100)
    day = moment.date()
    with services.engine.begin() as connection:
        ensure_days(connection, [day])
    AuditLog(services.engine).append_many(
        undated_deletion_entry(user_id=name, deleted_data_types=["sessions"], deletion_count=3, success=True).at(moment)
        for name in (BOB, pseudonym(ALICE, PSEUDONYM_KEY.encode()))
    )
    seal_all(services)
    archive_day(services, day)
    clock.advance(days=8)
    purge_day(services, day)
    return services


def test_deletion_records_are_found_in_the_archives_by_user_id_and_by_pseudonym(
    archived: Services, clock: MovableClock
) -> None:
    since = clock() - timedelta(days=120)
    plan = plan_replay(archived, since, candidates=[ALICE])
    assert {each.user_id for each in plan.people} == {ALICE, BOB}
    (record,) = deletion_records(archived, since, names=[pseudonym(ALICE, PSEUDONYM_KEY.encode())])
    assert record.archived
    assert record.metadata["deletion_count"] == 3
    assert list(deletion_records(archived, clock() - timedelta(days=50))) == []


@pytest.fixture
def restored(archived: Services, superuser_engine: sqlalchemy.Engine) -> Services:
    """The same, after PostgreSQL came back from a backup that is older than the archive."""
    with superuser_engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = 'replica'"))
        for table in ("archived_segments", "archived_audit_logs", "audit_purges", "ledger_publications"):
            connection.execute(text(f"DELETE FROM {table}"))
        for table in ("ledger_segments", "ledger_checkpoints", "audit_logs"):
            connection.execute(text(f"DELETE FROM {table}"))
    return archived


def test_archives_that_a_restored_database_does_not_know_are_read_from_the_cold_store(
    restored: Services, clock: MovableClock
) -> None:
    plan = plan_replay(restored, clock() - timedelta(days=120), candidates=[ALICE])
    assert {each.user_id for each in plan.people} == {ALICE, BOB}
    assert plan_replay(restored, clock() - timedelta(days=50)).people == ()


def test_an_archive_that_is_not_what_was_signed_is_not_believed(
    restored: Services, clock: MovableClock, signing_key: SigningKey
) -> None:
    since = clock() - timedelta(days=120)
    stranger = replace(restored, keys=Keyring.of(SigningKey.generate(signing_key.name)))
    with pytest.raises(LedgerIdentityError):
        plan_replay(stranger, since)
    (path,) = Path(unquote(urlparse(restored.store.uri).path)).rglob("*.parquet")
    overwrite(path, path.read_bytes().replace(b"user:bob", b"user:eve"))
    with pytest.raises(PartDamagedError):
        plan_replay(restored, since)
