"""Which environment a database belongs to: an id of its own, by which what is destroyed beside it is told apart.

Here: making and reading the id. Not here: where else it stands: in the cold store's identity
(ledger/store_identity.py), in Redis (conversations/environment.py).

The id is made by the first command of a person that binds something to the database, and not by the migrations: a
database that was copied as a template must not pass for the one that it was copied from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.audit_log import sql

if TYPE_CHECKING:
    from uuid import UUID

    import sqlalchemy


def environment_of(connection: sqlalchemy.Connection) -> UUID | None:
    """The environment's id; None where nothing was bound yet."""
    found: UUID | None = connection.execute(sql.ENVIRONMENT).scalar_one_or_none()
    return found


def ensure_environment(connection: sqlalchemy.Connection) -> UUID:
    """The environment's id, made where there is none; the caller commits before it writes the id anywhere else."""
    connection.execute(sql.MAKE_ENVIRONMENT)
    made: UUID = connection.execute(sql.ENVIRONMENT).scalar_one()
    return made


def take_environment(connection: sqlalchemy.Connection, environment: UUID) -> None:
    """Let a database that has none yet be of this environment, which it replaces the lost database of.

    Args:
        connection: of the owner, who commits.
        environment: its id.
    """
    connection.execute(sql.TAKE_ENVIRONMENT, {"environment_id": environment})
