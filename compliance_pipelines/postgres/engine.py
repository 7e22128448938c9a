"""Connections to PostgreSQL: the pool, and what each connection is given.

Here: how a connection string becomes an engine, and how another library gets to the same database. Not here: what the
string means (conninfo.py), TLS (encryption.py), what a session is set to (sessions.py), any SQL of a domain.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from compliance_pipelines.postgres.conninfo import Conninfo, keywords, parse, resolve
from compliance_pipelines.postgres.encryption import DEFAULT_TLS_MIN_VERSION, with_encryption
from compliance_pipelines.postgres.sessions import APPLICATION_NAME, pin_engine

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from compliance_pipelines.settings import Settings

# The driver and nothing else: SQLAlchemy has rules of its own for what would follow.
_DRIVER: Final = "postgresql+psycopg://"
# A host that is gone without a word is noticed after a minute, however long the answer may take.
_UNLESS_GIVEN: Final = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": APPLICATION_NAME,
}
# What the server says before a session is pinned is read in it, too.
_ALWAYS: Final = {"client_encoding": "UTF8"}
DEFAULT_POOL_SIZE: Final = 20

# By dialect, which an engine shares with those that its execution_options() gives.
_CONNINFOS: Final[WeakKeyDictionary[sqlalchemy.Dialect, Conninfo]] = WeakKeyDictionary()


def read_conninfo(text: str, *, tls_min_version: str = DEFAULT_TLS_MIN_VERSION) -> Conninfo:
    """Everything that a connection of ours is made with; the session is still to be pinned.

    Args:
        text: `postgresql://...`, with the name of a SQLAlchemy driver or without, or libpq's `keyword=value ...`.
        tls_min_version: oldest TLS version that a remote host may speak, in libpq's words.

    Raises:
        ConfigurationError: libpq cannot use it, or it asks a remote host for an unencrypted connection; the message has
            no secret in it.
    """
    return _completed(with_encryption(parse(text), tls_min_version))


def _completed(conninfo: Conninfo) -> Conninfo:
    return Conninfo({**_UNLESS_GIVEN, **conninfo.parameters, **_ALWAYS})


def conninfo_of(engine: sqlalchemy.Engine) -> Conninfo:
    """How to get to the database of an engine; of somebody else's engine, as its URL says.

    Raises:
        ConfigurationError: libpq cannot use somebody else's URL.
    """
    known = _CONNINFOS.get(engine.dialect)
    if known is not None:
        return known
    _, values = engine.dialect.create_connect_args(engine.url)
    return _completed(resolve(Conninfo({name: str(values[name]) for name in keywords() if name in values})))


def _options(conninfo: Conninfo, pool_size: int) -> dict[str, Any]:
    return {
        "pool_size": pool_size,
        "max_overflow": 0,
        # Said in each BEGIN: what a transaction sees is not left to the session's default.
        "isolation_level": "READ COMMITTED",
        "connect_args": dict(conninfo.parameters),
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
        url: a connection string, see :func:`read_conninfo`.
        pool_size: connections at most.
        tls_min_version: oldest TLS version that a remote host may speak, in libpq's words.
        left_alone: session settings that stay as the login has them.

    Raises:
        ConfigurationError: see :func:`read_conninfo`.
    """
    conninfo = read_conninfo(url, tls_min_version=tls_min_version)
    engine = sqlalchemy.create_engine(_DRIVER, **_options(conninfo, pool_size))
    _CONNINFOS[engine.dialect] = conninfo
    pin_engine(engine, left_alone=left_alone)
    return engine


def create_asynchronous_engine(
    url: str, *, pool_size: int = DEFAULT_POOL_SIZE, tls_min_version: str = DEFAULT_TLS_MIN_VERSION
) -> AsyncEngine:
    """The asynchronous twin of :func:`create_engine`."""
    conninfo = read_conninfo(url, tls_min_version=tls_min_version)
    engine = create_async_engine(_DRIVER, **_options(conninfo, pool_size))
    _CONNINFOS[engine.dialect] = conninfo
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


def migration_engine_from_settings(settings: Settings) -> AbstractContextManager[sqlalchemy.Engine]:
    """The engine, with one connection, of the login that may change the schema, for as long as it is needed.

    Raises:
        ConfigurationError: the connection string is missing or unusable.
    """
    return engine_meanwhile(
        settings.require_migration_database_url(), tls_min_version=settings.audit_log_tls_min_version
    )


@contextmanager
def engine_meanwhile(url: str, *, tls_min_version: str = DEFAULT_TLS_MIN_VERSION) -> Iterator[sqlalchemy.Engine]:
    """An engine with one connection, which is closed at the end.

    Raises:
        ConfigurationError: as :func:`create_engine`.
    """
    engine = create_engine(url, pool_size=1, tls_min_version=tls_min_version)
    try:
        yield engine
    finally:
        engine.dispose()
