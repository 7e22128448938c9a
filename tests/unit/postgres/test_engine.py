"""Both engines and every other library are given the same parameters, and SQLAlchemy parses none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from compliance_pipelines.postgres.engine import (
    conninfo_of,
    create_asynchronous_engine,
    create_engine,
    engine_from_settings,
    migration_engine_from_settings,
    read_conninfo,
)
from compliance_pipelines.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from tests.unit.postgres.conftest import ServiceFile

REMOTE = "postgresql://audit:secret@db.example:5432/audit"
OURS = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "client_encoding": "UTF8",
    "application_name": "compliance_pipelines",
}
WHOLE = {
    "user": "audit",
    "password": "secret",
    "host": "db.example",
    "port": "5432",
    "dbname": "audit",
    "sslmode": "require",
    "ssl_min_protocol_version": "TLSv1.3",
    "gssencmode": "disable",
    **OURS,
}


class _NotConnectedError(Exception):
    pass


@pytest.mark.parametrize("create", [create_engine, create_asynchronous_engine])
def test_the_pool_has_the_requirements_size_and_no_more(create: Any) -> None:  # noqa: ANN401
    pool = create(REMOTE).pool
    assert (pool.size(), pool._max_overflow) == (20, 0)
    assert create(REMOTE, pool_size=3).pool.size() == 3


def test_an_engine_gives_the_driver_everything_and_its_url_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def remember(conninfo: str, *, context: object, **parameters: str) -> None:
        calls.append(conninfo_to_dict(conninfo, **parameters))
        raise _NotConnectedError

    engine = create_engine(REMOTE)
    monkeypatch.setattr(psycopg.Connection, "connect", remember)
    monkeypatch.setattr(psycopg, "connect", remember)
    with pytest.raises(_NotConnectedError), engine.connect():
        pass
    assert str(engine.url) == "postgresql+psycopg://"
    assert calls == [WHOLE]
    assert conninfo_to_dict(conninfo_of(engine).for_libpq()) == WHOLE


async def test_the_asynchronous_engine_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    async def remember(conninfo: str, *, context: object, **parameters: str) -> None:
        calls.append(conninfo_to_dict(conninfo, **parameters))
        raise _NotConnectedError

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", remember)
    engine = create_asynchronous_engine(REMOTE)
    with pytest.raises(_NotConnectedError):
        async with engine.connect():
            pass
    assert calls == [WHOLE]
    assert conninfo_of(engine.sync_engine).parameters == WHOLE


def test_what_is_given_goes_before_what_is_ours(monkeypatch: pytest.MonkeyPatch, service_file: ServiceFile) -> None:
    service_file("keepalives_idle=5")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    found = read_conninfo("postgresql://localhost/audit?service=audit&application_name=a%20b").parameters
    assert {name: found[name] for name in OURS} == {
        **OURS,
        "connect_timeout": "7",
        "keepalives_idle": "5",
        "application_name": "a b",
    }


def test_an_engine_with_other_options_leads_to_the_same_place() -> None:
    engine = create_engine(REMOTE)
    assert conninfo_of(engine.execution_options(isolation_level="AUTOCOMMIT")) == conninfo_of(engine)


def test_somebody_elses_engine_leads_where_its_url_says() -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://audit:a%20b@/audit?host=localhost:1&host=127.0.0.1:2")
    assert conninfo_of(engine).parameters == {
        **OURS,
        "user": "audit",
        "password": "a b",
        "host": "localhost,127.0.0.1",
        "port": "1,2",
        "dbname": "audit",
    }


def test_the_engine_takes_everything_from_the_settings() -> None:
    settings = Settings(
        _env_file=None,
        audit_log_database_url=SecretStr(REMOTE),
        audit_log_migration_database_url=SecretStr("host=db.example user=owner"),
        audit_log_connection_pool_size=7,
        audit_log_tls_min_version="TLSv1.2",
    )
    engine = engine_from_settings(settings)
    assert engine.pool.size() == 7  # type: ignore[attr-defined]
    assert conninfo_of(engine).parameters == {**WHOLE, "ssl_min_protocol_version": "TLSv1.2"}
    with migration_engine_from_settings(settings) as owner:
        migrating = conninfo_of(owner).parameters
    assert (migrating["user"], migrating["ssl_min_protocol_version"]) == ("owner", "TLSv1.2")


def test_settings_without_a_url_say_which_one_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="AUDIT_LOG_DATABASE_URL is not set"):
        engine_from_settings(Settings(_env_file=None, audit_log_database_url=None))
