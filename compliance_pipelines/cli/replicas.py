"""What each command may do where the database is a read-only replica, asked before it does anything.

Here: which commands only read, and the question in front of all. Not here: how a replica is recognised
(postgres/replica.py), what a reading command says about it.

Commands that write are those that are not named here, so that a new one is refused until somebody has thought about it.
A command that writes is not left to the server's refusal: it comes late, after objects were put or keys were deleted.
Where the question gets no answer, such a command ends with the error, and one that reads says so when it is done.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import click
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log.readings import is_auditor
from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.postgres.engine import conninfo_of, create_engine
from compliance_pipelines.postgres.errors import is_recovery_conflict, reason_of
from compliance_pipelines.postgres.replica import RECOVERY_CONFLICT_REMEDY, refusal, replica_state
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.postgres.replica import ReplicaState

_ONLY_READ: Final = frozenset(
    {
        "check",
        "conversations plan",
        "conversations status",
        "erase list",
        "erase plan",
        "erase records",
        "erase show",
        "erase targets",
        "hold list",
        "ledger checkpoint",
        "sessions plan",
        "sessions status",
        "status",
        "store show",
        "verify",
    }
)
_READ_AND_RECORD: Final = frozenset({"erase certificate", "erase record", "prove"})
_TELLS_ITSELF: Final = frozenset({"status", "verify"})
_WITHOUT_DATABASE: Final = frozenset({"ledger key", "ledger new-key", "settings", "verify-proof"})
_AS_OWNER: Final = frozenset({"db downgrade", "db migrate", "ledger adopt-cluster"})
_DRY_RUN: Final = "dry_run"

_GUARDED: Final[WeakSet[click.Command]] = WeakSet()


def guarded(command: click.Command, path: str) -> click.Command:
    """Put the question in front of a command and of all commands below it, once.

    Args:
        command: as its module defines it.
        path: its name as it is typed after `compliance`.
    """
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            guarded(below, f"{path} {name}")
    elif command not in _GUARDED and command.callback is not None and path not in _WITHOUT_DATABASE:
        command.callback = _guarded(command.callback, path)
        _GUARDED.add(command)
    return command


def _guarded(work: Callable[..., Any], path: str) -> Callable[..., Any]:
    @functools.wraps(work)
    def ask_first(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the command
        records = path in _READ_AND_RECORD
        writes = not (records or path in _ONLY_READ or kwargs.get(_DRY_RUN))
        unknown, replica, by_auditor = None, None, False
        try:
            replica, by_auditor = _state(path)
        except (DBAPIError, ComplianceError) as error:
            if writes:
                raise
            unknown = error
        if replica is not None:
            if writes:
                raise refusal(f"`compliance {path}`")
            if path not in _TELLS_ITSELF:
                click.echo(f"the database is a read-only replica: {replica.in_words()}", err=True)
        try:
            done = work(*args, **kwargs)
        except TransientError as error:
            raise _explained(error, path) from error
        if unknown is not None and path not in _TELLS_ITSELF:
            click.echo(
                "whether the database is a read-only replica, which may be behind, could not be asked: "
                f"{printable(reason_of(unknown))}",
                err=True,
            )
        if replica is not None and (records or by_auditor):
            click.echo(
                "nothing could be recorded here: the database is a read-only replica, so that the audit log does not "
                "say that this was done",
                err=True,
            )
        return done

    return ask_first


def _state(path: str) -> tuple[ReplicaState | None, bool]:
    """How far behind the command's database is, and whether the login is an auditor's, whose readings go on record.

    None and False where it is no replica, or the settings name no database.

    Raises:
        DBAPIError: it could not be asked.
        ComplianceError: likewise.
    """
    engine = _engine(path)
    if engine is None:
        return None, False
    try:
        with engine.connect() as connection:
            state = replica_state(connection)
            return state, state is not None and is_auditor(connection)
    finally:
        engine.dispose()


def _engine(path: str) -> sqlalchemy.Engine | None:
    """For the database that a command works with; None where the settings name none, which it says by itself."""
    try:
        settings = load_settings()
        as_owner = path in _AS_OWNER
        url = settings.require_migration_database_url() if as_owner else settings.require_database_url()
        return create_engine(url, pool_size=1, tls_min_version=settings.audit_log_tls_min_version)
    except ComplianceError:
        return None


def _explained(error: TransientError, path: str) -> TransientError:
    """The error, with what can be done about it where a replica ended the reading."""
    if RECOVERY_CONFLICT_REMEDY in str(error):
        return error
    engine = _engine(path)
    if engine is None or not is_recovery_conflict(error, conninfo_of(engine)):
        return error
    return TransientError(f"{error}: {RECOVERY_CONFLICT_REMEDY}")
