"""What each command needs of the settings, and what it does with the database.

Here: the needs and the decorator that declares them; every command has it. Not here: the settings themselves, looking
at them and opening what is needed (opening.py), and what a command does with it.

Nothing of ours is imported here: a command that needs nothing starts without what others work with.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import click

_P = ParamSpec("_P")
_R = TypeVar("_R")
_DECLARED: Final = "__needs__"
_OPENING: Final = "compliance_pipelines.cli.opening"

CONVERSATIONS: Final = ("CHECKPOINT_REDIS_URL",)
SESSIONS: Final = ("GDPR_SESSION_REDIS_URL", "GDPR_PLAYGROUND_REDIS_URL", "GDPR_STORE_REDIS_URL")
ANY_REDIS: Final = (*CONVERSATIONS, *SESSIONS, "GDPR_NOTES_REDIS_URL")


class _Requirement(NamedTuple):
    purpose: str
    settings: tuple[str, ...] = ()


class Need(Enum):
    """Something of the settings that a command needs: what for, and which settings give it."""

    DATABASE = _Requirement("to reach the audit log", ("AUDIT_LOG_DATABASE_URL",))
    MIGRATION_DATABASE = _Requirement(
        "to change the audit log's schema", ("AUDIT_LOG_MIGRATION_DATABASE_URL", "AUDIT_LOG_DATABASE_URL")
    )
    COLD_STORE = _Requirement(
        "to reach the archives and checkpoints", ("AUDIT_COLD_STORAGE_PATH", "AUDIT_COLD_STORAGE_BUCKET")
    )
    ARCHIVE_KEY = _Requirement(
        "to encrypt archives and to read them back", ("AUDIT_ARCHIVE_KEYRING_FILE", "AUDIT_ARCHIVE_KMS_KEY")
    )
    SIGNING_KEY = _Requirement("to sign checkpoints and manifests", ("LEDGER_SIGNING_KEY_FILE", "LEDGER_SIGNING_KEY"))
    PUBLIC_KEY = _Requirement(
        "to check what the ledger's key has signed",
        ("LEDGER_PUBLIC_KEY", "LEDGER_SIGNING_KEY_FILE", "LEDGER_SIGNING_KEY"),
    )
    RECORD_KEY = _Requirement(
        "to name people and conversations in records without their ids",
        ("GDPR_PSEUDONYM_KEY", "LEDGER_SIGNING_KEY_FILE", "LEDGER_SIGNING_KEY"),
    )
    SUBJECT_NAMES = _Requirement("to name people in audit entries as GDPR_SUBJECT_PSEUDONYMS says")
    ERASURE_TARGETS = _Requirement("to know where people's data is")
    CONVERSATION_REDIS = _Requirement("to reach the conversations", CONVERSATIONS)
    SESSION_REDIS = _Requirement("to reach sessions and memories", SESSIONS)
    ANY_REDIS = _Requirement("to reach what is to be bound", ANY_REDIS)
    DAGSTER_HOME = _Requirement("to record what is run", ("DAGSTER_HOME",))

    @property
    def purpose(self) -> str:
        """What it is needed for, as in "needed to ..."."""
        return self.value.purpose

    @property
    def settings(self) -> tuple[str, ...]:
        """The environment variables of which one gives it; none where nothing must be set."""
        return self.value.settings


@dataclass(frozen=True)
class Needs:
    """What a command needs.

    Attributes:
        of_settings: what must be set, in the order in which it is named.
        changes: whether the command changes something in the database, which an auditor's login does not.
        on_record: whether what it reads is put on record where the login may not append by itself.
        names_people: whether it names people or what is theirs, and leaves no entry by itself: it is for those who may
            append, who answer for what they read.
        given_by: parameters of the command that take the place of settings, where they are given.
    """

    of_settings: tuple[Need, ...]
    changes: bool
    on_record: bool
    names_people: bool
    given_by: Mapping[str, tuple[Need, ...]]

    def now(self, context: click.Context) -> tuple[Need, ...]:
        """What is needed with the parameters of this call."""
        given = {need for name, needs in self.given_by.items() if context.params.get(name) for need in needs}
        return tuple(need for need in self.of_settings if need not in given)


def needs(
    *of_settings: Need,
    changes: bool = False,
    on_record: bool = False,
    names_people: bool = False,
    given_by: Mapping[str, tuple[Need, ...]] | None = None,
    at_once: bool = True,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Declare what a command needs; see :class:`Needs`.

    It is looked at before the command begins; without `at_once`, for commands that look at their usage first, when the
    command calls `opened` or `require_declared` of opening.py.
    """
    declared = Needs(of_settings, changes, on_record, names_people, given_by or {})

    def declare(command: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(command)
        def checked(*arguments: _P.args, **options: _P.kwargs) -> _R:
            if at_once and declared.of_settings:
                import_module(_OPENING).require(declared)
            return command(*arguments, **options)

        setattr(checked, _DECLARED, declared)
        return checked

    return declare


def declared_needs(command: click.Command) -> Needs | None:
    """What a command has declared; None where it has not."""
    declared: Needs | None = getattr(command.callback, _DECLARED, None)
    return declared


def called(context: click.Context) -> str:
    """A command's full name, however the program was started."""
    names = [context.info_name or ""] if context.parent is None else []
    while context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(["compliance", *names])
