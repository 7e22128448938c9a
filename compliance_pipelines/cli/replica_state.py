"""Asking a command's database whether it is a read-only replica, before and after the command.

Here: the questions, and what an error means on a replica. Not here: which commands only read (replicas.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log.standing import standing
from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.postgres.engine import conninfo_of, create_engine
from compliance_pipelines.postgres.errors import is_recovery_conflict, reason_of
from compliance_pipelines.postgres.replica import RECOVERY_CONFLICT_REMEDY, refusal, replica_state
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.postgres.replica import ReplicaState

__all__ = ["ask", "explained", "in_words", "refusal"]

_AS_OWNER: Final = frozenset({"db downgrade", "db migrate", "ledger adopt-cluster"})


@dataclass(frozen=True)
class Answer:
    """What a command's database says of itself.

    Attributes:
        replica: how far behind it is; None where it is no replica, or the settings name no database.
        may_append: whether the login may append; True where nobody was asked.
        problem: why it could not be asked.
    """

    replica: ReplicaState | None = None
    may_append: bool = True
    problem: DBAPIError | ComplianceError | None = None


def ask(path: str) -> Answer:
    """Ask the database of a command."""
    engine = _engine(path)
    if engine is None:
        return Answer()
    try:
        with engine.connect() as connection:
            replica = replica_state(connection)
            return Answer(replica, replica is None or standing(connection).may_append)
    except (DBAPIError, ComplianceError) as error:
        return Answer(problem=error)
    finally:
        engine.dispose()


def in_words(problem: DBAPIError | ComplianceError) -> str:
    """Why it could not be asked, on one line."""
    return printable(reason_of(problem))


def _engine(path: str) -> sqlalchemy.Engine | None:
    """For the database that a command works with; None where the settings name none, which it says by itself."""
    try:
        settings = load_settings()
        as_owner = path in _AS_OWNER
        url = settings.require_migration_database_url() if as_owner else settings.require_database_url()
        return create_engine(url, pool_size=1, tls_min_version=settings.audit_log_tls_min_version)
    except ComplianceError:
        return None


def explained(error: TransientError, path: str) -> TransientError:
    """The error, with what can be done about it where a replica ended the reading."""
    if RECOVERY_CONFLICT_REMEDY in str(error):
        return error
    engine = _engine(path)
    if engine is None or not is_recovery_conflict(error, conninfo_of(engine)):
        return error
    return TransientError(f"{error}: {RECOVERY_CONFLICT_REMEDY}")
