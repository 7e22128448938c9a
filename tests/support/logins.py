"""The logins of the test databases, with the privileges that a deployment gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psycopg

from compliance_pipelines.postgres.conninfo import parse
from compliance_pipelines.postgres.engine import conninfo_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy

ROLES: Final = {
    "test_pipeline": "audit_writer, audit_archiver, audit_reader",
    "test_writer": "audit_writer",
    "test_reader": "audit_reader",
    "test_owner": "audit_owner",
}
PASSWORD: Final = "only-for-tests"


def make_logins(url: str) -> None:
    """Make those that the cluster lacks. Two processes must not do it at a time: roles are the cluster's."""
    with psycopg.connect(url, autocommit=True) as connection:
        for login, roles in ROLES.items():
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (login,)).fetchone() is None:
                connection.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}'")
            connection.execute(f"GRANT {roles} TO {login}")


def login_url(superuser_url: str, login: str) -> str:
    """The same database as one of the logins."""
    return changed_url(superuser_url, user=login, password=PASSWORD)


def changed_url(url: str, **parameters: str) -> str:
    """The URL with other values of some of libpq's keywords."""
    return as_url(parse(url).changed(**parameters).parameters)


def as_url(parameters: Mapping[str, str]) -> str:
    """Libpq's keywords and values as a URL."""
    quoted = {name: quote(value, safe="") for name, value in parameters.items()}
    login = f"{quoted.pop('user')}:{quoted.pop('password')}@"
    where = f"{quoted.pop('host')}:{quoted.pop('port')}/{quoted.pop('dbname')}"
    rest = "&".join(f"{name}={value}" for name, value in quoted.items())
    return f"postgresql://{login}{where}{'?' if rest else ''}{rest}"


def url_of(engine: sqlalchemy.Engine, **parameters: str) -> str:
    """A connection string for the database of an engine, with other values of some of libpq's keywords."""
    return as_url(conninfo_of(engine).changed(**parameters).parameters)


def as_driver_url(url: str) -> str:
    """The URL with which somebody else makes an engine of SQLAlchemy's."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def database_of(engine: sqlalchemy.Engine) -> str:
    """The name of the database of an engine."""
    return conninfo_of(engine).parameters["dbname"]
