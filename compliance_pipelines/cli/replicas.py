"""What each command may do where the database is a read-only replica, asked before it does anything.

Here: which commands only read, and the question in front of all. Not here: asking the database (replica_state.py), how
a replica is recognised (postgres/replica.py), what a reading command says about it.

Commands that write are those that are not named here, so that a new one is refused until somebody has thought about it.
A command that writes is not left to the server's refusal: it comes late, after objects were put or keys were deleted.
Where the question gets no answer, such a command ends with the error, and one that reads says so when it is done.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import click

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.cli.needs import declared_needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.cli.replica_state import Answer

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
        "keys list",
        "ledger checkpoint",
        "sessions plan",
        "sessions status",
        "status",
        "store show",
        "verify",
    }
)
_READ_AND_RECORD: Final = frozenset({"erase certificate", "erase record", "prove", "query", "search"})
_TELLS_ITSELF: Final = frozenset({"status", "verify"})
_WITHOUT_DATABASE: Final = frozenset(
    {"keys init", "ledger key", "ledger new-key", "settings", "store check", "verify-proof"}
)
_DRY_RUN: Final = "dry_run"
_ASKING: Final = "compliance_pipelines.cli.replica_state"

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
        command.callback = _guarded(command.callback, path, on_record=_is_on_record(command))
        _GUARDED.add(command)
    return command


def _is_on_record(command: click.Command) -> bool:
    declared = declared_needs(command)
    return declared is not None and declared.on_record


def _guarded(work: Callable[..., Any], path: str, *, on_record: bool) -> Callable[..., Any]:
    @functools.wraps(work)
    def ask_first(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - those of the command
        asking = import_module(_ASKING)
        answer = asking.ask(path)
        records = path in _READ_AND_RECORD
        writes = not (records or path in _ONLY_READ or kwargs.get(_DRY_RUN))
        if writes and answer.problem is not None:
            raise answer.problem
        if answer.replica is not None:
            if writes:
                raise asking.refusal(f"`compliance {path}`")
            if path not in _TELLS_ITSELF:
                click.echo(f"the database is a read-only replica: {answer.replica.in_words()}", err=True)
        try:
            done = work(*args, **kwargs)
        except TransientError as error:
            raise asking.explained(error, path) from error
        except SystemExit:
            # It came to its end, with an exit status that says more.
            _tell_of_no_record(answer, records=records, on_record=on_record)
            raise
        if answer.problem is not None and path not in _TELLS_ITSELF:
            click.echo(
                "whether the database is a read-only replica, which may be behind, could not be asked: "
                f"{asking.in_words(answer.problem)}",
                err=True,
            )
        _tell_of_no_record(answer, records=records, on_record=on_record)
        return done

    return ask_first


def _tell_of_no_record(answer: Answer, *, records: bool, on_record: bool) -> None:
    """Say that what should be on record is not, because a replica takes no entry."""
    if answer.replica is not None and (records or (on_record and not answer.may_append)):
        click.echo(
            "nothing could be recorded here: the database is a read-only replica, so that the audit log does not say "
            "that this was done",
            err=True,
        )
