"""Connections to the audit log's database: URLs, TLS, pool.

Here: how a URL becomes an engine or a libpq connection string. Not here: any SQL of a domain.
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

from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings

_DRIVER: Final = "postgresql+psycopg"
_UNENCRYPTED_MODES: Final = frozenset({"disable", "allow", "prefer"})
_CONNECT_TIMEOUT_SECONDS: Final = 10
# A server that waits for a lock or sorts a day does not look at its client, and would go on for one that is dead.
_NOTICE_DEATH: Final = "-cclient_connection_check_interval=500"
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
    # Between options a tab is as good as a space, which the URL would write as a plus sign, and libpq read as one.
    options = "\t".join(filter(None, [str(url.query.get("options", "")), _NOTICE_DEATH]))
    return (
        url.set(drivername="postgresql").update_query_dict({"options": options}).render_as_string(hide_password=False)
    )


def _pool_options(size: int) -> dict[str, Any]:
    return {
        "pool_size": size,
        "max_overflow": 0,
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "options": f"-c timezone=UTC {_NOTICE_DEATH}",
            "application_name": "compliance_pipelines",
        },
    }


def create_engine(
    url: str, *, pool_size: int = DEFAULT_POOL_SIZE, tls_min_version: str = DEFAULT_TLS_MIN_VERSION
) -> sqlalchemy.Engine:
    """An engine with a pool of `pool_size` connections that are tested before use.

    Sessions speak UTC, so that a day means the same everywhere.
    """
    return sqlalchemy.create_engine(
        database_url(url, tls_min_version=tls_min_version),
        **_pool_options(pool_size),
    )


def create_asynchronous_engine(
    url: str, *, pool_size: int = DEFAULT_POOL_SIZE, tls_min_version: str = DEFAULT_TLS_MIN_VERSION
) -> AsyncEngine:
    """The asynchronous twin of :func:`create_engine`."""
    return create_async_engine(
        database_url(url, tls_min_version=tls_min_version),
        **_pool_options(pool_size),
    )


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
