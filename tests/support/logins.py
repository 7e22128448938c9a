"""The logins of the test databases, with the privileges that a deployment gives them."""

from __future__ import annotations

from typing import Final

import psycopg
from sqlalchemy.engine import make_url

ROLES: Final = {
    "test_pipeline": "audit_writer, audit_archiver, audit_reader",
    "test_writer": "audit_writer",
    "test_reader": "audit_reader",
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
    return make_url(superuser_url).set(username=login, password=PASSWORD).render_as_string(hide_password=False)
