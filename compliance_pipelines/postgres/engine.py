"""Connections to the audit log's database: URLs, TLS, pool.

Here: how a URL becomes an engine or a libpq connection string. Not here: what a session is set to
(sessions.py), any SQL of a domain.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from psycopg.pq import Conninfo
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from compliance_pipelines.postgres.sessions import APPLICATION_NAME, pin_engine
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from compliance_pipelines.settings import Settings

_DRIVER: Final = "postgresql+psycopg"
_UNENCRYPTED_MODES: Final = frozenset({"disable", "allow", "prefer"})
# A host that is gone without a word is noticed after a minute, however long the answer may take.
_CONNECTION_PARAMETERS: Final = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "client_encoding": "UTF8",
    "application_name": APPLICATION_NAME,
}
DEFAULT_POOL_SIZE: Final = 20
DEFAULT_TLS_MIN_VERSION: Final = "TLSv1.3"


def is_local(host: str | None) -> bool:
    """Whether a host of a URL is this machine: none at all, a Unix socket directory, or a loopback address.

    A name that is not `localhost` is not resolved and counts as remote, so that doubt ends in TLS.
    """
    if host is None or host == "" or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def database_url(url: str, *, tls_min_version: str = DEFAULT_TLS_MIN_VERSION) -> URL:
    """The SQLAlchemy URL for psycopg 3, with TLS demanded unless every host that it may lead to is local.

    Args:
        url: `postgresql://...`, with or without a SQLAlchemy driver.
        tls_min_version: oldest TLS version that a remote host may speak, in libpq's words.

    Raises:
        ConfigurationError: the URL is malformed, not PostgreSQL's, or asks a remote host for an unencrypted connection.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            "the database URL cannot be parsed: it must read postgresql://user:password@host/db"
        ) from None
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigurationError(
            f"the database URL is for {parsed.get_backend_name()}; the audit log needs postgresql://"
        )
    parsed = parsed.set(drivername=_DRIVER)
    query = dict(parsed.query)
    if not all(map(is_local, _targets(parsed))):
        mode = query.get("sslmode") or _demanding_mode_of_environment()
        if mode in _UNENCRYPTED_MODES:
            raise ConfigurationError(
                f"sslmode={mode} would let the audit log travel unencrypted to {parsed.host}: "
                "use sslmode=verify-full (or require)"
            )
        # Another kind of encryption, which libpq may prefer, would go without the TLS that is demanded here.
        query = {"ssl_min_protocol_version": tls_min_version, **query, "sslmode": mode, "gssencmode": "disable"}
    return parsed.set(query=query)


def _targets(url: URL) -> list[str]:
    """Every host and address that libpq may connect to, by the URL or by its environment (PGHOST, PGHOSTADDR)."""
    defaults = {option.keyword.decode(): (option.val or b"").decode() for option in Conninfo.get_defaults()}
    hosts = url.query.get("host") or url.host or defaults["host"]
    # An address wins over the host, which is then only the certificate's name.
    addresses = url.query.get("hostaddr") or defaults["hostaddr"]
    found = [target for each in (hosts, addresses) for target in (each.split(",") if isinstance(each, str) else each)]
    if "service" in url.query or "PGSERVICE" in os.environ:
        found.append("whatever host the service file names")
    return [target.rsplit(":", 1)[0] if target.count(":") == 1 else target for target in found]


def _demanding_mode_of_environment() -> str:
    mode = os.environ.get("PGSSLMODE", "require")
    return "require" if mode in _UNENCRYPTED_MODES else mode


def libpq_uri(url: URL) -> str:
    """The connection string for libpq clients such as ADBC, with the password in it: never log it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def session_uri(url: URL) -> str:
    """The same with what each connection of ours is given; the session is still to be pinned."""
    given = {name: str(value) for name, value in _CONNECTION_PARAMETERS.items()}
    return libpq_uri(url.set(query={**given, **url.query}))


def _pool_options(size: int) -> dict[str, Any]:
    return {
        "pool_size": size,
        "max_overflow": 0,
        # Said in each BEGIN: what a transaction sees is not left to the session's default.
        "isolation_level": "READ COMMITTED",
        "connect_args": dict(_CONNECTION_PARAMETERS),
    }


def create_engine(
    url: str,
    *,
    pool_size: int = DEFAULT_POOL_SIZE,
    tls_min_version: str = DEFAULT_TLS_MIN_VERSION,
    left_alone: Collection[str] = (),
) -> sqlalchemy.Engine:
    """An engine with a pool of `pool_size` connections, each tested and pinned (sessions.py) before use.

    Args:
        url: `postgresql://...`, with or without a SQLAlchemy driver.
        pool_size: connections at most.
        tls_min_version: oldest TLS version that a remote host may speak, in libpq's words.
        left_alone: session settings that stay as the login has them.

    Raises:
        ConfigurationError: see :func:`database_url`.
    """
    engine = sqlalchemy.create_engine(
        database_url(url, tls_min_version=tls_min_version),
        **_pool_options(pool_size),
    )
    pin_engine(engine, left_alone=left_alone)
    return engine


def create_asynchronous_engine(
    url: str, *, pool_size: int = DEFAULT_POOL_SIZE, tls_min_version: str = DEFAULT_TLS_MIN_VERSION
) -> AsyncEngine:
    """The asynchronous twin of :func:`create_engine`."""
    engine = create_async_engine(
        database_url(url, tls_min_version=tls_min_version),
        **_pool_options(pool_size),
    )
    pin_engine(engine)
    return engine


def engine_from_settings(settings: Settings) -> sqlalchemy.Engine:
    """The engine for the audit log.

    Raises:
        ConfigurationError: AUDIT_LOG_DATABASE_URL is missing or unusable.
    """
    return create_engine(
        settings.require_database_url(),
        pool_size=settings.audit_log_connection_pool_size,
        tls_min_version=settings.audit_log_tls_min_version,
    )
