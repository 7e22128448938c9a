"""What roles, databases and servers set as defaults changes nothing of what our sessions do."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.log import AsyncAuditLog, AuditLog
from compliance_pipelines.audit_log.migrate import current_revision, head_revision, upgrade
from compliance_pipelines.audit_log.reading import open_snapshot
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.postgres.engine import create_asynchronous_engine, create_engine
from compliance_pipelines.postgres.sessions import (
    PINNED,
    READ_SETTINGS,
    REQUIRED,
    SessionSettingError,
    pin_engine,
    pin_session,
    settings_to_change,
)
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import Days
from tests.integration.audit_log.entries import MOMENT, entry
from tests.support.logins import as_driver_url
from tests.support.sealing import settle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock

HOSTILE: Final = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "array_nulls": "off",
    "bytea_output": "escape",
    "client_connection_check_interval": "0",
    "client_encoding": "LATIN1",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "enable_partition_pruning": "off",
    "exit_on_error": "on",
    "extra_float_digits": "-10",
    "idle_in_transaction_session_timeout": "1000",
    "idle_session_timeout": "1000",
    "jit": "on",
    "lock_timeout": "1",
    "plan_cache_mode": "force_generic_plan",
    "row_security": "on",
    "search_path": "pg_catalog, nowhere",
    "standard_conforming_strings": "off",
    "statement_timeout": "60000",
    "synchronous_commit": "off",
    "transaction_timeout": "60000",
    "transform_null_equals": "on",
    "xmloption": "document",
}


def set_defaults(superuser: sqlalchemy.Engine, defaults: Mapping[str, str]) -> None:
    """What sessions of this database begin with from now on, whoever connects."""
    with superuser.begin() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        for setting, value in defaults.items():
            connection.execute(
                text(f"""ALTER DATABASE "{name}" SET {setting} = {value if "," in value else f"'{value}'"}""")
            )


@pytest.fixture
def _hostile(superuser_engine: sqlalchemy.Engine) -> None:
    set_defaults(superuser_engine, HOSTILE)


def found_by(connection: sqlalchemy.Connection) -> dict[str, str | None]:
    return dict(connection.exec_driver_sql(READ_SETTINGS).mappings().one())


def test_every_pinned_setting_but_the_name_is_tried() -> None:
    assert set(HOSTILE) == {*PINNED, "synchronous_commit"} - {"application_name"}


@pytest.mark.usefixtures("_hostile")
def test_sessions_of_each_kind_have_what_the_code_relies_on(pipeline_database_url: str, database_url: str) -> None:
    plain = sqlalchemy.create_engine(as_driver_url(pipeline_database_url))
    with plain.connect() as connection:
        assert len(settings_to_change(found_by(connection))) >= len(HOSTILE) - 1  # SQLAlchemy may change one itself
    plain.dispose()
    for url in (pipeline_database_url, database_url):
        engine = create_engine(url, pool_size=1)
        with engine.connect() as connection:
            assert settings_to_change(found_by(connection)) == {}
            isolation = connection.execute(text("SHOW transaction_isolation")).scalar_one()
            assert isolation == "read committed"
        engine.dispose()


@pytest.mark.usefixtures("_hostile")
async def test_asynchronous_sessions_too(pipeline_database_url: str) -> None:
    engine = create_asynchronous_engine(pipeline_database_url, pool_size=1)
    async with engine.connect() as connection:
        assert settings_to_change(await connection.run_sync(found_by)) == {}
    await engine.dispose()


@pytest.mark.usefixtures("_hostile")
def test_the_whole_life_of_a_day_is_the_same_under_hostile_defaults(
    services: Services, superuser_engine: sqlalchemy.Engine, clock: MovableClock
) -> None:
    days = Days(services, superuser_engine)
    day = clock.moment.date() - timedelta(days=120)
    moment = clock.moment - timedelta(days=120)
    entries = [
        entry(number, timestamp=moment, user_id="ü € 漢 \\ '", metadata={"t": "NULL \\u00e9 'ß' \\", "n": 1.1e-7})
        for number in range(5)
    ]
    log = AuditLog(services.engine)
    assert log.append_many(entries[:3]).new == 3
    assert all(log.append(each) for each in entries[3:])
    assert [log.append(each) for each in entries] == [False] * 5
    settle(services)
    assert seal(services).entries == 5
    assert archive_day(services, day).entry_count == 5
    assert len(days.cold_rows(day)) == 5
    assert verify(services).findings == ()
    clock.advance(days=8)
    assert purge_day(services, day).entry_count == 5
    assert days.hot_rows(day) == []
    settle(services)
    seal(services)
    assert verify(services).findings == ()


def test_a_session_that_lost_its_settings_gets_them_again(pipeline_database_url: str) -> None:
    engine = create_engine(pipeline_database_url, pool_size=1)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DISCARD ALL")
        connection.exec_driver_sql("SET TimeZone = 'Asia/Kathmandu'")
        assert "TimeZone" in settings_to_change(found_by(connection))
    with engine.connect() as connection:
        assert settings_to_change(found_by(connection)) == {}
    engine.dispose()


def test_a_session_that_was_ended_while_it_lay_in_the_pool_is_replaced(
    pipeline_database_url: str, superuser_engine: sqlalchemy.Engine
) -> None:
    engine = create_engine(pipeline_database_url, pool_size=1)
    backend = text("SELECT pg_backend_pid()")
    with engine.connect() as connection:
        first = connection.execute(backend).scalar_one()
    with superuser_engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": first})
    with engine.connect() as connection:
        assert connection.execute(backend).scalar_one() != first
    engine.dispose()


def test_settings_that_a_pooler_loses_between_statements_are_an_error() -> None:
    def forgetful(statement: str) -> dict[str, str | None]:
        return dict.fromkeys([*PINNED, *REQUIRED]) | {
            "TimeZone": "Asia/Kathmandu",
            "synchronous_commit": "on",
        }

    with pytest.raises(SessionSettingError, match="does not keep TimeZone: a connection pooler"):
        pin_session(forgetful)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("session_replication_role", "replica"), ("zero_damaged_pages", "on"), ("ignore_checksum_failure", "on")],
)
def test_a_session_in_which_an_administrator_switched_protection_off_is_refused(
    services: Services, superuser_engine: sqlalchemy.Engine, pipeline_database_url: str, setting: str, value: str
) -> None:
    set_defaults(superuser_engine, {setting: value})
    engine = create_engine(pipeline_database_url, pool_size=1)
    with pytest.raises(SessionSettingError, match=f"{setting} = {value}"):
        engine.connect()
    engine.dispose()
    with pytest.raises(SessionSettingError, match=f"{setting} = {value}"), open_snapshot(services.engine):
        pass


def test_a_stronger_durability_is_kept(superuser_engine: sqlalchemy.Engine, pipeline_database_url: str) -> None:
    set_defaults(superuser_engine, {"synchronous_commit": "remote_apply"})
    engine = create_engine(pipeline_database_url, pool_size=1)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "remote_apply"
    engine.dispose()


def test_an_engine_of_somebody_else_must_be_pinned_first(writer_database_url: str) -> None:
    engine = sqlalchemy.create_engine(as_driver_url(writer_database_url), pool_size=1)
    with pytest.raises(SessionSettingError, match="pin_engine"):
        AuditLog(engine)
    pin_engine(engine)
    pin_engine(engine)
    assert AuditLog(engine).append(entry(1, timestamp=MOMENT))
    engine.dispose()


async def test_so_must_an_asynchronous_one(writer_database_url: str) -> None:
    other = create_async_engine(as_driver_url(writer_database_url), pool_size=1)
    with pytest.raises(SessionSettingError, match="pin_engine"):
        AsyncAuditLog(other)
    pin_engine(other)
    assert await AsyncAuditLog(other).append(entry(1, timestamp=MOMENT))
    await other.dispose()


@pytest.mark.usefixtures("_hostile")
def test_the_databases_of_others_keep_their_search_path_and_nothing_else(pipeline_database_url: str) -> None:
    engine = create_engine(pipeline_database_url, pool_size=1, left_alone=("search_path",))
    with engine.connect() as connection:
        assert settings_to_change(found_by(connection)) == {"search_path": "public, pg_temp"}
    engine.dispose()


def test_a_database_with_hostile_defaults_can_be_migrated(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    set_defaults(engine, HOSTILE)
    upgrade(empty_database_url)
    with engine.connect() as connection:
        assert current_revision(connection) == head_revision()
    engine.dispose()


def test_times_read_are_in_utc_whatever_the_session_began_with(
    pipeline_database_url: str, superuser_engine: sqlalchemy.Engine
) -> None:
    set_defaults(superuser_engine, {"TimeZone": "Asia/Kathmandu"})
    engine = create_engine(pipeline_database_url, pool_size=1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT now()")).scalar_one().utcoffset() == timedelta(0)
    engine.dispose()
