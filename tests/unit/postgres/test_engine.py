"""URLs become connections that are encrypted wherever they leave this machine."""

from __future__ import annotations

from typing import Any

import psycopg.conninfo
import pytest
import sqlalchemy
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from compliance_pipelines.postgres.engine import (
    create_asynchronous_engine,
    create_engine,
    database_url,
    engine_from_settings,
    is_local,
    libpq_uri,
)
from compliance_pipelines.settings import ConfigurationError, Settings

REMOTE = "postgresql://audit:secret@db.example:5432/audit"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of libpq's environment is set, whoever runs the tests."""
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)


LOCAL_HOSTS = [None, "", "localhost", "127.0.0.1", "127.9.9.9", "::1", "/run/postgresql", "@abstract"]
REMOTE_HOSTS = [
    "db.example",
    "10.0.0.1",
    "192.168.1.5",
    "169.254.1.1",
    "0.0.0.0",  # noqa: S104 - an address to connect to
    "::",
    "2001:db8::1",
    "localhost.example",
]


def what_libpq_is_told(url: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401
    """The connection parameters as libpq parses them."""
    return psycopg.conninfo.conninfo_to_dict(libpq_uri(database_url(url, **arguments)))


def what_the_driver_is_given(engine: sqlalchemy.Engine) -> dict[str, Any]:
    """The arguments of the driver's connect()."""
    _, arguments = engine.dialect.create_connect_args(engine.url)
    return dict(arguments)


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_this_machine_is_local(host: str | None) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", REMOTE_HOSTS)
def test_any_other_host_is_remote(host: str) -> None:
    assert not is_local(host)


@example(host="127.0.0.1.example")
@example(host="localhost ")
@given(host=st.text(min_size=1))
def test_a_name_is_local_only_if_it_certainly_is(host: str) -> None:
    certain = host == "localhost" or host[0] in "/@" or host.startswith("127.") or ":" in host
    assert not is_local(host) or certain


def test_a_remote_host_must_speak_tls_of_version_1_3() -> None:
    told = what_libpq_is_told(REMOTE)
    assert (told["sslmode"], told["ssl_min_protocol_version"]) == ("require", "TLSv1.3")


def test_an_older_version_is_accepted_only_if_configured() -> None:
    assert what_libpq_is_told(REMOTE, tls_min_version="TLSv1.2")["ssl_min_protocol_version"] == "TLSv1.2"


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_mode_that_demands_tls_is_kept(mode: str) -> None:
    told = what_libpq_is_told(f"{REMOTE}?sslmode={mode}&sslrootcert=/etc/ca.pem")
    assert (told["sslmode"], told["sslrootcert"], told["ssl_min_protocol_version"]) == (mode, "/etc/ca.pem", "TLSv1.3")


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_a_mode_that_may_do_without_tls_is_refused(mode: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"sslmode={mode} .* unencrypted to db\.example: use sslmode=verify-full"
    ):
        database_url(f"{REMOTE}?sslmode={mode}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://audit@127.0.0.1/audit",
        "postgresql://audit@localhost:5432/audit",
        "postgresql://audit@[::1]:5432/audit",
        "postgresql://audit@/audit?host=/run/postgresql",
        "postgresql://audit@/audit",
    ],
)
def test_a_local_host_may_do_without_tls(url: str) -> None:
    assert "sslmode" not in what_libpq_is_told(url)
    assert what_libpq_is_told(f"{url}{'&' if '?' in url else '?'}sslmode=require")["sslmode"] == "require"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://audit@/audit?host=localhost&host=db.example",
        "postgresql://audit@/audit?host=localhost:5432&host=db.example:5432",
        "postgresql://audit@/audit?host=db.example",
        "postgresql://audit@localhost/audit?host=db.example",
        "postgresql://audit@localhost,db.example/audit",
        "postgresql://audit@/audit?host=[2001:db8::1]:5432",
    ],
)
def test_one_remote_host_among_several_is_enough_to_demand_tls(url: str) -> None:
    assert database_url(url).query["sslmode"] == "require"
    with pytest.raises(ConfigurationError, match="sslmode=disable"):
        database_url(f"{url}{'&' if '?' in url else '?'}sslmode=disable")


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("?hostaddr=10.0.0.1", {}),
        ("", {"PGHOSTADDR": "10.0.0.1"}),
        ("?service=elsewhere", {}),
        ("", {"PGSERVICE": "elsewhere"}),
    ],
)
def test_where_the_connection_leads_counts_and_not_the_name_in_the_url(
    monkeypatch: pytest.MonkeyPatch, query: str, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert database_url(f"postgresql://audit@localhost/audit{query}").query["sslmode"] == "require"


def test_the_environment_names_the_host_where_the_url_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    assert database_url("postgresql:///audit").query["sslmode"] == "require"
    assert "sslmode" not in database_url("postgresql://localhost/audit").query


@pytest.mark.parametrize(
    ("mode", "expected"), [("verify-full", "verify-full"), ("disable", "require"), ("prefer", "require")]
)
def test_the_environment_may_demand_more_than_tls_and_never_less(
    monkeypatch: pytest.MonkeyPatch, mode: str, expected: str
) -> None:
    monkeypatch.setenv("PGSSLMODE", mode)
    assert what_libpq_is_told(REMOTE)["sslmode"] == expected


def test_no_other_encryption_takes_the_place_of_tls() -> None:
    assert what_libpq_is_told(REMOTE)["gssencmode"] == "disable"


@pytest.mark.parametrize("driver", ["", "+psycopg", "+psycopg2", "+asyncpg"])
def test_any_driver_of_postgresql_becomes_ours(driver: str) -> None:
    url = database_url(f"postgresql{driver}://audit:secret@db.example/audit")
    assert url.drivername == "postgresql+psycopg"
    assert libpq_uri(url).startswith("postgresql://audit:secret@db.example/audit?")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://audit@db.example/audit", "is for mysql; the audit log needs postgresql://"),
        ("sqlite:///audit.db", "is for sqlite"),
        ("no url", "cannot be parsed"),
        ("", "cannot be parsed"),
    ],
)
def test_what_is_no_url_of_postgresql_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        database_url(url)


def test_a_password_is_never_in_the_message() -> None:
    for url in ("mysql://audit:secret@db/x", "postgresql://audit:secret@db/x?sslmode=disable", "x:secret@"):
        with pytest.raises(ConfigurationError) as caught:
            database_url(url)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("create", [create_engine, create_asynchronous_engine])
def test_the_pool_has_the_requirements_size_and_no_more(create: Any) -> None:  # noqa: ANN401
    pool = create(REMOTE).pool
    assert (pool.size(), pool._max_overflow) == (20, 0)
    assert create(REMOTE, pool_size=3).pool.size() == 3


@pytest.mark.parametrize("create", [create_engine, create_asynchronous_engine])
def test_both_engines_give_the_driver_tls_utf_8_and_bounded_waits(
    create: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_arguments: dict[str, Any] = {}
    real: Any = sqlalchemy.create_engine

    def remember(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
        given_arguments.update(keywords["connect_args"])
        return real(*arguments, **keywords)

    monkeypatch.setattr(sqlalchemy, "create_engine", remember)
    monkeypatch.setattr("sqlalchemy.ext.asyncio.engine._create_engine", remember)
    engine = create(REMOTE)
    driver = what_the_driver_is_given(getattr(engine, "sync_engine", engine))
    assert (driver["sslmode"], driver["ssl_min_protocol_version"]) == ("require", "TLSv1.3")
    assert given_arguments == {
        "connect_timeout": 10,
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "client_encoding": "UTF8",
        "application_name": "compliance_pipelines",
    }


def test_the_engine_takes_everything_from_the_settings() -> None:
    settings = Settings(
        _env_file=None,
        audit_log_database_url=SecretStr(REMOTE),
        audit_log_connection_pool_size=7,
        audit_log_tls_min_version="TLSv1.2",
    )
    engine = engine_from_settings(settings)
    assert engine.pool.size() == 7  # type: ignore[attr-defined]
    assert engine.url.query["ssl_min_protocol_version"] == "TLSv1.2"
    assert engine.url == make_url(REMOTE).set(
        drivername="postgresql+psycopg",
        query={"sslmode": "require", "ssl_min_protocol_version": "TLSv1.2", "gssencmode": "disable"},
    )


def test_settings_without_a_url_say_which_one_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="AUDIT_LOG_DATABASE_URL is not set"):
        engine_from_settings(Settings(_env_file=None, audit_log_database_url=None))
