"""`compliance check` finds what is wrong with the database, says what to do, and fails when it cannot tell."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.migrate import head_revision, upgrade
from compliance_pipelines.audit_log.partitions import create_ahead
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.audit_log.entries import entry
from tests.support.logins import login_url, url_of
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.support.command import Command

NAMES = [
    "connectivity",
    "migrations",
    "privileges",
    "entry rules",
    "quarantine",
    "id sequence",
    "partitions",
    "partition runway",
    "sealing lag",
]
Findings = dict[str, tuple[str, str]]


def today() -> date:
    return utc_day(datetime.now(UTC))


@pytest.fixture
def _in_order(services: Services) -> None:
    """Partitions for the days to come."""
    create_ahead(services.engine, today(), 14)


def findings(engine: sqlalchemy.Engine, **changed: Any) -> Findings:  # noqa: ANN401
    """Message and remedy of what is not in order."""
    arguments: dict[str, Any] = {
        "now": datetime.now(UTC),
        "sealing_lag": sealing_lag,
        "max_sealing_lag": timedelta(seconds=300),
        **changed,
    }
    checks = check_health(engine, **arguments)
    assert [check.name for check in checks] == NAMES
    return {check.name: (check.message, check.remedy) for check in checks if check.remedy is not None}


@pytest.mark.usefixtures("_in_order")
def test_a_database_in_order_passes_every_check(engine: sqlalchemy.Engine) -> None:
    assert findings(engine) == {}
    connectivity, *_ = check_health(
        engine, now=datetime.now(UTC), sealing_lag=sealing_lag, max_sealing_lag=timedelta(1)
    )
    assert "login test_pipeline, without TLS" in connectivity.message


def test_a_database_that_does_not_answer_fails_every_check() -> None:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nothing", pool_size=1)
    found = findings(engine)
    engine.dispose()
    assert list(found) == NAMES
    assert all(message.startswith("it cannot be told: ") for message, _ in found.values())
    assert all("AUDIT_LOG_DATABASE_URL" in remedy for _, remedy in found.values())


def test_an_empty_database_is_to_be_migrated(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    found = findings(engine)
    engine.dispose()
    assert "connectivity" not in found
    head = head_revision()
    assert found["migrations"] == (
        f"the schema has no tables yet, the latest revision is {head}",
        "run `compliance db migrate`",
    )
    assert "compliance db migrate" in found["sealing lag"][1]


def test_an_older_schema_is_to_be_migrated(empty_database_url: str) -> None:
    upgrade(empty_database_url, "0001")
    engine = create_engine(empty_database_url, pool_size=1)
    found = findings(engine)
    engine.dispose()
    assert found["migrations"][0].startswith("the schema is at revision 0001, the latest revision is ")
    assert found["migrations"][1] == "run `compliance db migrate`"


@pytest.mark.usefixtures("_in_order")
def test_a_newer_schema_needs_a_newer_version(engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine) -> None:
    with superuser_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    found = findings(engine)
    assert list(found) == ["migrations"]
    assert "revision 9999, which this version does not know" in found["migrations"][0]


DAMAGE = {
    "GRANT UPDATE ON audit_logs TO test_writer": ("test_writer has UPDATE on audit_logs", "revoke"),
    "GRANT UPDATE (user_id) ON audit_logs TO test_writer": ("test_writer has UPDATE on audit_logs", "revoke"),
    "GRANT DELETE ON audit_logs_default TO PUBLIC": ("PUBLIC has DELETE on audit_logs_default", "revoke"),
    "GRANT TRUNCATE ON audit_logs TO audit_reader": ("audit_reader has TRUNCATE on audit_logs", "revoke"),
    "GRANT TRIGGER ON audit_logs TO audit_reader": ("audit_reader has TRIGGER on audit_logs", "revoke"),
    "ALTER TABLE audit_logs OWNER TO test_writer": ("test_writer has OWNER on audit_logs", "revoke"),
    "ALTER TABLE audit_logs_default DISABLE TRIGGER audit_logs_append_only": (
        "triggers are missing or disabled on audit_logs_default",
        "compliance verify",
    ),
    "DROP TRIGGER audit_logs_no_truncate ON audit_logs": (
        "triggers are missing or disabled on audit_logs",
        "compliance verify",
    ),
}


@pytest.mark.usefixtures("_in_order")
@pytest.mark.parametrize("statement", DAMAGE)
def test_whatever_lets_somebody_change_entries_is_found(
    engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine, writer: sqlalchemy.Engine, statement: str
) -> None:
    message, remedy = DAMAGE[statement]
    with superuser_engine.begin() as connection:
        connection.execute(text(statement))
    found = findings(engine)
    assert list(found) == ["privileges"]
    assert message in found["privileges"][0]
    assert remedy in found["privileges"][1]


@pytest.mark.usefixtures("_in_order")
def test_a_login_that_may_too_little_is_told_which_role_it_needs_unless_it_is_an_auditors(
    writer: sqlalchemy.Engine, reader_database_url: str
) -> None:
    assert findings(writer)["privileges"] == ("the login is no member of audit_archiver", "GRANT audit_archiver to it")
    reader = create_engine(reader_database_url, pool_size=1)
    found = findings(reader)
    reader.dispose()
    assert found == {}


@pytest.mark.usefixtures("_in_order")
def test_a_login_that_may_too_much_is_refused(superuser_engine: sqlalchemy.Engine) -> None:
    assert "the login is a superuser" in findings(superuser_engine)["privileges"][0]


@pytest.mark.usefixtures("_in_order")
def test_a_login_that_can_become_the_owner_is_refused(database_url: str, superuser_engine: sqlalchemy.Engine) -> None:
    name = "test_owner_of_health"
    with superuser_engine.begin() as connection:
        connection.execute(text(f"DROP ROLE IF EXISTS {name}"))
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD 'only-for-tests'"))
        connection.execute(text(f"GRANT audit_writer, audit_archiver, audit_owner TO {name}"))
    url = url_of(superuser_engine, user=name, password="only-for-tests")
    engine = create_engine(url, pool_size=1)
    found = findings(engine)
    engine.dispose()
    with superuser_engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {name}"))
    assert found == {"privileges": ("the login can become audit_owner", "REVOKE audit_owner from it")}


@pytest.mark.parametrize(
    ("ahead", "message"),
    [(None, "today has no partition"), (0, "the next 0 days only"), (1, "the next 1 days only"), (2, None)],
)
def test_a_runway_of_less_than_two_days_is_found(
    engine: sqlalchemy.Engine, ahead: int | None, message: str | None
) -> None:
    if ahead is not None:
        create_ahead(engine, today(), ahead)
    found = findings(engine)
    if message is None:
        assert found == {}
    else:
        assert message in found["partition runway"][0]
        assert "compliance run" in found["partition runway"][1]


def written(services: Services, log_entry_id: str) -> datetime:
    """When the database wrote an entry."""
    with services.engine.connect() as connection:
        moment: datetime = connection.execute(
            text("SELECT created_at FROM audit_logs WHERE log_entry_id = :id"), {"id": log_entry_id}
        ).scalar_one()
    return moment


def test_a_day_that_began_before_its_table_could_be_made_is_in_order(services: Services) -> None:
    AuditLog(services.engine).append(entry(1, timestamp=datetime.now(UTC)))
    create_ahead(services.engine, today(), 14)
    assert findings(services.engine) == {}
    later = datetime.now(UTC) + timedelta(days=13)
    assert "partition runway" in findings(services.engine, now=later)


@pytest.mark.usefixtures("_in_order")
def test_unsealed_entries_are_found_when_they_have_waited_too_long(services: Services) -> None:
    AuditLog(services.engine).append(entry(1))
    assert findings(services.engine) == {}
    late = written(services, "entry-1") + timedelta(seconds=400)
    message, remedy = findings(services.engine, now=late, max_sealing_lag=timedelta(seconds=300))["sealing lag"]
    assert "more than 300 s (LEDGER_SEAL_MAX_LAG_SECONDS)" in message
    assert "compliance seal" in remedy
    assert findings(services.engine, now=late, max_sealing_lag=timedelta(seconds=500)) == {}
    seal_all(services)
    assert findings(services.engine, now=late) == {}


def test_the_lag_is_the_age_of_the_oldest_unsealed_entry(services: Services) -> None:
    def lag(now: datetime) -> timedelta | None:
        with services.engine.connect() as connection:
            return sealing_lag(connection, now)

    log = AuditLog(services.engine)
    assert lag(datetime.now(UTC)) is None
    log.append(entry(1))
    seal_all(services)
    assert lag(datetime.now(UTC)) is None
    log.append(entry(2))
    log.append(entry(3))
    moment = written(services, "entry-2")
    assert lag(moment + timedelta(minutes=7)) == timedelta(minutes=7)
    assert lag(moment - timedelta(minutes=7)) == timedelta()


# The commands


@pytest.mark.usefixtures("_in_order")
def test_the_check_prints_a_line_for_each_question_and_exits_0(command: Command) -> None:
    done = command("check")
    assert done.status == 0
    assert [": ".join(line.split(": ")[:2]) for line in done.out.splitlines()] == [
        *(f"ok    database: {name}" for name in NAMES),
        *("ok    key: key", "ok    key: ledger"),
        *(f"ok    cold store: {name}" for name in ("place", "identity", "reading", "writing")),
        "ok    cold store: archives",
        "ok    redis: none is configured, nor any other target of erasures",
        "ok    dagster: home",
    ]


def test_the_check_exits_1_with_a_remedy_where_one_fails(command: Command) -> None:
    done = command("check")
    assert done.status == 1
    assert "FAIL  database: partition runway: today has no partition\n      remedy: run `compliance run`" in done.out


@pytest.mark.usefixtures("_in_order")
def test_the_check_prints_json_for_a_program(command: Command) -> None:
    done = command("check", "--json")
    document = json.loads(done.out)
    assert (done.status, document["ok"]) == (0, True)
    assert [check["name"] for check in document["checks"]][: len(NAMES)] == [f"database: {name}" for name in NAMES]
    assert all(check["ok"] and check["remedy"] is None for check in document["checks"])


def test_the_json_tells_what_fails(command: Command) -> None:
    done = command("check", "--json")
    document = json.loads(done.out)
    assert (done.status, document["ok"]) == (1, False)
    failing = [check["name"] for check in document["checks"] if not check["ok"]]
    assert [name for name in failing if name.startswith("database: ")] == ["database: partition runway"]


def test_the_check_takes_the_lag_from_the_settings(command: Command, services: Services) -> None:
    AuditLog(services.engine).append(entry(1))
    create_ahead(services.engine, today(), 14)
    with services.engine.begin() as connection:
        connection.execute(text("SELECT pg_sleep(1.1)"))
    command.set(LEDGER_SEAL_MAX_LAG_SECONDS="1")
    assert "(LEDGER_SEAL_MAX_LAG_SECONDS)" in command("check").out


def test_a_check_without_a_database_url_says_so(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIT_LOG_DATABASE_URL")
    failed = command("check")
    assert (failed.status, failed.err) == (1, "")
    assert failed.out.startswith("FAIL  database: connectivity: AUDIT_LOG_DATABASE_URL is not set")


def test_a_check_of_a_database_that_is_not_there_says_so(command: Command) -> None:
    command.set(AUDIT_LOG_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    done = command("check")
    assert done.status == 1
    assert done.out.count("FAIL  database: ") == len(NAMES)


@pytest.fixture
def migrating(command: Command, empty_database_url: str) -> Callable[..., Any]:
    """`compliance db` on an empty database."""
    command.set(AUDIT_LOG_MIGRATION_DATABASE_URL=empty_database_url)
    return lambda *arguments: command("db", *arguments)


def test_the_schema_is_brought_up_and_taken_down(migrating: Callable[..., Any]) -> None:
    head = head_revision()
    assert migrating("migrate").out == f"the schema was at revision none, it is at {head} now\n"
    assert migrating("migrate").out == f"the schema is at revision {head}, as before\n"
    assert migrating("downgrade", "0001").out == f"the schema was at revision {head}, it is at 0001 now\n"
    assert migrating("downgrade", "base").out == "the schema was at revision 0001, it is at none now\n"


def test_a_revision_that_is_unknown_is_one_line(migrating: Callable[..., Any]) -> None:
    failed = migrating("migrate", "4711")
    assert failed.status == 1
    assert failed.err.startswith("compliance: the schema was not changed: Can't locate revision")
    assert len(failed.err.splitlines()) == 1


def test_a_login_that_may_not_migrate_is_told_which_setting_to_use(
    command: Command, empty_database_url: str, writer_database_url: str
) -> None:
    url = login_url(empty_database_url, "test_writer")
    command.set(AUDIT_LOG_MIGRATION_DATABASE_URL=url)
    failed = command("db", "migrate")
    assert failed.status == 1
    assert "AUDIT_LOG_MIGRATION_DATABASE_URL" in failed.err
    assert len(failed.err.splitlines()) == 1
