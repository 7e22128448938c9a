"""What each command needs of the settings, and opening that and nothing else.

Here: the needs and the decorator that declares them; every command has it. Not here: the settings themselves, and what
a command does with what it needs.

Everything that is missing or cannot be used is named at once, before a command does anything.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeVar

import click
from sqlalchemy.exc import SQLAlchemyError

from compliance_pipelines.audit_log.readings import is_auditor
from compliance_pipelines.audit_log.standing import refuse_idle_roles
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.conversations.connection import check_url
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.ledger.keys import load_signing_key
from compliance_pipelines.ledger.public_key import load_verifier_key
from compliance_pipelines.object_store import open_object_store
from compliance_pipelines.postgres.engine import engine_from_settings, read_conninfo
from compliance_pipelines.pseudonyms import subjects_from_settings
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import ConfigurationError, NeededSettingsError, load_settings, readable_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import sqlalchemy

    from compliance_pipelines.base.clock import Clock
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

_P = ParamSpec("_P")
_R = TypeVar("_R")
_DECLARED: Final = "__needs__"
_CONVERSATIONS: Final = ("CHECKPOINT_REDIS_URL",)
_SESSIONS: Final = ("GDPR_SESSION_REDIS_URL", "GDPR_PLAYGROUND_REDIS_URL", "GDPR_STORE_REDIS_URL")
_ANY_REDIS: Final = (*_CONVERSATIONS, *_SESSIONS, "GDPR_NOTES_REDIS_URL")


class WritingByAuditorError(ComplianceError):
    """A command that changes something was called with an auditor's login; it did nothing."""


class _Requirement(NamedTuple):
    purpose: str
    settings: tuple[str, ...]
    look: Callable[[Settings], object]


def _database(settings: Settings) -> object:
    return read_conninfo(settings.require_database_url(), tls_min_version=settings.audit_log_tls_min_version)


def _migration_database(settings: Settings) -> object:
    return read_conninfo(settings.require_migration_database_url(), tls_min_version=settings.audit_log_tls_min_version)


def _record_key(settings: Settings) -> object:
    return subjects_from_settings(settings).key or load_signing_key(settings)


def _redis(settings: Settings, names: tuple[str, ...], missing: str) -> None:
    found = {name: url for name in names if (url := getattr(settings, name.lower())) is not None}
    if not found:
        raise ConfigurationError(missing)
    for name, secret in found.items():
        check_url(name, secret.get_secret_value(), allow_plaintext=settings.checkpoint_redis_allow_plaintext)


def _conversations(settings: Settings) -> None:
    missing = (
        "CHECKPOINT_REDIS_URL is not set: give the URL of the Redis that holds the conversations "
        "(redis://user:password@host:6379/0), or start the embedded stack with `make run`"
    )
    _redis(settings, _CONVERSATIONS, missing)


def _sessions(settings: Settings) -> None:
    names = _SESSIONS if settings.gdpr_store_redis_url is not None else (*_SESSIONS, *_CONVERSATIONS)
    missing = f"there is no Redis with sessions or memories: set {', '.join(_SESSIONS[:-1])} or {_SESSIONS[-1]}"
    _redis(settings, names, missing)


def _any_redis(settings: Settings) -> None:
    _redis(settings, _ANY_REDIS, f"there is no Redis to bind: set {', '.join(_ANY_REDIS)}, or one of them")


def _dagster_home(_settings: Settings) -> None:
    home = os.environ.get("DAGSTER_HOME")
    if not home or not Path(home).is_dir():
        raise ConfigurationError(
            "DAGSTER_HOME must name the directory of dagster.yaml, so that Dagster's pages show what was done; it is "
            + (f"{home!r}, which is no directory" if home else "not set")
        )


class Need(Enum):
    """Something of the settings that a command needs: what for, which settings give it, and how it is looked at.

    Looking connects to nothing.
    """

    DATABASE = _Requirement("to reach the audit log", ("AUDIT_LOG_DATABASE_URL",), _database)
    MIGRATION_DATABASE = _Requirement(
        "to change the audit log's schema",
        ("AUDIT_LOG_MIGRATION_DATABASE_URL", "AUDIT_LOG_DATABASE_URL"),
        _migration_database,
    )
    COLD_STORE = _Requirement("to reach the archives and checkpoints", ("AUDIT_COLD_STORAGE_PATH",), open_object_store)
    SIGNING_KEY = _Requirement(
        "to sign checkpoints and manifests", ("LEDGER_SIGNING_KEY_FILE", "LEDGER_SIGNING_KEY"), load_signing_key
    )
    PUBLIC_KEY = _Requirement(
        "to check what the ledger's key has signed",
        ("LEDGER_PUBLIC_KEY", "LEDGER_SIGNING_KEY_FILE", "LEDGER_SIGNING_KEY"),
        load_verifier_key,
    )
    RECORD_KEY = _Requirement(
        "to name people and conversations in records without their ids",
        ("GDPR_PSEUDONYM_KEY", "LEDGER_SIGNING_KEY_FILE", "LEDGER_SIGNING_KEY"),
        _record_key,
    )
    SUBJECT_NAMES = _Requirement(
        "to name people in audit entries as GDPR_SUBJECT_PSEUDONYMS says", (), subjects_from_settings
    )
    ERASURE_TARGETS = _Requirement("to know where people's data is", (), configured_targets)
    CONVERSATION_REDIS = _Requirement("to reach the conversations", _CONVERSATIONS, _conversations)
    SESSION_REDIS = _Requirement("to reach sessions and memories", _SESSIONS, _sessions)
    ANY_REDIS = _Requirement("to reach what is to be bound", _ANY_REDIS, _any_redis)
    DAGSTER_HOME = _Requirement("to record what is run", ("DAGSTER_HOME",), _dagster_home)

    @property
    def purpose(self) -> str:
        """What it is needed for, as in "needed to ..."."""
        return self.value.purpose

    @property
    def settings(self) -> tuple[str, ...]:
        """The environment variables of which one gives it; none where nothing must be set."""
        return self.value.settings

    def problem(self, settings: Settings) -> str | None:
        """What is missing or cannot be used, with what it is for; None where it is there."""
        try:
            self.value.look(settings)
        except ComplianceError as error:
            return f"{error} (needed {self.purpose})"
        return None


@dataclass(frozen=True)
class Needs:
    """What a command needs.

    Attributes:
        of_settings: what must be set, in the order in which it is named.
        changes: whether the command changes something in the database, which an auditor's login does not.
        given_by: parameters of the command that take the place of settings, where they are given.
    """

    of_settings: tuple[Need, ...]
    changes: bool
    given_by: Mapping[str, tuple[Need, ...]]

    def now(self, context: click.Context) -> tuple[Need, ...]:
        """What is needed with the parameters of this call."""
        given = {need for name, needs in self.given_by.items() if context.params.get(name) for need in needs}
        return tuple(need for need in self.of_settings if need not in given)


def needs(
    *of_settings: Need,
    changes: bool = False,
    given_by: Mapping[str, tuple[Need, ...]] | None = None,
    at_once: bool = True,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Declare what a command needs; see :class:`Needs`.

    It is looked at before the command begins; without `at_once`, for commands that look at their usage first, when the
    command calls :func:`opened` or :func:`require_declared`.
    """
    declared = Needs(of_settings, changes, given_by or {})

    def declare(command: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(command)
        def checked(*arguments: _P.args, **options: _P.kwargs) -> _R:
            if at_once:
                require(declared)
            return command(*arguments, **options)

        setattr(checked, _DECLARED, declared)
        return checked

    return declare


def declared_needs(command: click.Command) -> Needs | None:
    """What a command has declared; None where it has not."""
    declared: Needs | None = getattr(command.callback, _DECLARED, None)
    return declared


def require(declared: Needs) -> None:
    """Let a command begin whose needs are met.

    Raises:
        NeededSettingsError: some are not. All of them are named, and values of the wrong form.
        WritingByAuditorError: some are not, and an auditor has no use for them, because the command changes something.
    """
    context = click.get_current_context()
    wanted = declared.now(context)
    if not wanted:
        return
    settings, problems = readable_settings()
    problems += [problem for need in wanted if (problem := need.problem(settings)) is not None]
    if problems:
        if declared.changes and Need.DATABASE.problem(settings) is None:
            _refuse_known_auditors(settings, _called(context))
        raise NeededSettingsError(_called(context), list(dict.fromkeys(problems)))


def _refuse_known_auditors(settings: Settings, command: str) -> None:
    """Do not ask an auditor for a signing key."""
    engine = engine_from_settings(settings)
    try:
        refuse_auditors(engine, command)
    except SQLAlchemyError:
        return  # whether it is one cannot be told
    finally:
        engine.dispose()


def _called(context: click.Context) -> str:
    """A command's full name, however the program was started."""
    names = [context.info_name or ""] if context.parent is None else []
    while context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(["compliance", *names])


def require_declared() -> None:
    """Let the running command go on if what it has declared is there.

    Raises: as :func:`require`.
    """
    require(_declared_by(click.get_current_context()))


def _declared_by(context: click.Context) -> Needs:
    declared = declared_needs(context.command)
    if declared is None:
        raise TypeError(f"`{_called(context)}` does not declare what it needs")
    return declared


@contextmanager
def opened(
    *,
    clock: Clock = system_clock,
    settings: Settings | None = None,
    only_reads: bool = False,
    judges_rows: bool = False,
) -> Iterator[Services]:
    """The services that the running command has declared to need.

    Args:
        clock: decides what is due.
        settings: None: those of the environment.
        only_reads: a command that changes something else changes nothing as it is called now.
        judges_rows: the command finds out by itself whether rows are missing.

    Raises:
        ConfigurationError: one cannot be used.
        RoleNotInheritedError: the login has a role of the audit log, and the rights of none.
        RowsHiddenError: rows may be hidden from the login, so that what it would be told is perhaps not all.
        WritingByAuditorError: the command changes something, and the login is an auditor's.
    """
    context = click.get_current_context()
    declared = _declared_by(context)
    wanted = declared.now(context)
    if settings is None:
        require(declared)
    with open_services(
        load_settings() if settings is None else settings,
        clock=clock,
        signs=Need.SIGNING_KEY in wanted,
        stores=Need.COLD_STORE in wanted,
    ) as services:
        if Need.DATABASE in wanted:
            with services.engine.connect() as connection:
                refuse_idle_roles(connection)
                if not judges_rows:
                    refuse_hidden_rows(connection)
        if declared.changes and not only_reads:
            refuse_auditors(services.engine, _called(context))
        yield services


def refuse_auditors(engine: sqlalchemy.Engine, command: str) -> None:
    """Refuse a command that changes something to an auditor's login.

    Raises:
        WritingByAuditorError: the login is one.
    """
    with engine.connect() as connection:
        if is_auditor(connection):
            raise WritingByAuditorError(
                f"`{command}` changes data, and the login of AUDIT_LOG_DATABASE_URL is an auditor's, who only reads: "
                "nothing was done. Whoever operates the pipelines runs this with their login"
            )
