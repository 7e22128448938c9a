"""Looking at what a command has declared to need, and opening that and nothing else.

Here: what is looked at for each need, the opened services, and the refusal of logins that a command is not for. Not
here: the declarations (needs.py), and what a command does with what it needs.

Everything that is missing or cannot be used is named at once, before a command does anything.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from sqlalchemy.exc import SQLAlchemyError

from compliance_pipelines.audit_log.standing import PIPELINES, refuse_idle_roles, standing
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.cli.needs import ANY_REDIS, CONVERSATIONS, SESSIONS, Need, Needs, called, declared_needs
from compliance_pipelines.conversations.connection import check_url
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.ledger.keys import load_signing_key, load_signing_keys
from compliance_pipelines.ledger.public_key import load_verifier_key
from compliance_pipelines.postgres.engine import engine_from_settings, read_conninfo
from compliance_pipelines.pseudonyms import subjects_from_settings
from compliance_pipelines.services import open_cold_store, open_services
from compliance_pipelines.settings import ConfigurationError, NeededSettingsError, load_settings, readable_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from compliance_pipelines.audit_log.standing import Standing
    from compliance_pipelines.base.clock import Clock
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings


class UnrecordedReadingError(ComplianceError):
    """A command that names people was called with a login whose reading of it is not recorded; it read nothing."""


class WritingByReaderError(ComplianceError):
    """A command that changes something was called with a login that may not append; it did nothing."""


def _database(settings: Settings) -> object:
    return read_conninfo(settings.require_database_url(), tls_min_version=settings.audit_log_tls_min_version)


def _migration_database(settings: Settings) -> object:
    return read_conninfo(settings.require_migration_database_url(), tls_min_version=settings.audit_log_tls_min_version)


def _record_key(settings: Settings) -> object:
    return subjects_from_settings(settings).key or load_signing_key(settings)


def _archive_key(settings: Settings) -> object:
    return KeyEncryptionKeys.from_settings(settings).current() if settings.encrypts_archives else None


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
    _redis(settings, CONVERSATIONS, missing)


def _sessions(settings: Settings) -> None:
    names = SESSIONS if settings.gdpr_store_redis_url is not None else (*SESSIONS, *CONVERSATIONS)
    missing = f"there is no Redis with sessions or memories: set {', '.join(SESSIONS[:-1])} or {SESSIONS[-1]}"
    _redis(settings, names, missing)


def _any_redis(settings: Settings) -> None:
    _redis(settings, ANY_REDIS, f"there is no Redis to bind: set {', '.join(ANY_REDIS)}, or one of them")


def _dagster_home(_settings: Settings) -> None:
    home = os.environ.get("DAGSTER_HOME")
    if not home or not Path(home).is_dir():
        raise ConfigurationError(
            "DAGSTER_HOME must name the directory of dagster.yaml, so that Dagster's pages show what was done; it is "
            + (f"{home!r}, which is no directory" if home else "not set")
        )


_LOOKS: Final[Mapping[Need, Callable[[Settings], object]]] = {
    Need.DATABASE: _database,
    Need.MIGRATION_DATABASE: _migration_database,
    Need.COLD_STORE: open_cold_store,
    Need.ARCHIVE_KEY: _archive_key,
    Need.SIGNING_KEY: load_signing_keys,
    Need.PUBLIC_KEY: load_verifier_key,
    Need.RECORD_KEY: _record_key,
    Need.SUBJECT_NAMES: subjects_from_settings,
    Need.ERASURE_TARGETS: configured_targets,
    Need.CONVERSATION_REDIS: _conversations,
    Need.SESSION_REDIS: _sessions,
    Need.ANY_REDIS: _any_redis,
    Need.DAGSTER_HOME: _dagster_home,
}
"""How each need is looked at; nothing is connected to."""


def problem_of(need: Need, settings: Settings) -> str | None:
    """What is missing or cannot be used, with what it is for; None where it is there."""
    try:
        _LOOKS[need](settings)
    except ComplianceError as error:
        return f"{error} (needed {need.purpose})"
    return None


def require(declared: Needs) -> None:
    """Let a command begin whose needs are met.

    Raises:
        NeededSettingsError: some are not. All of them are named, and values of the wrong form.
        WritingByReaderError: some are not, and the login has no use for them, because it may not append, and the
            command changes something.
        UnrecordedReadingError: likewise, because it names people.
    """
    context = click.get_current_context()
    wanted = declared.now(context)
    if not wanted:
        return
    settings, problems = readable_settings()
    problems += [problem for need in wanted if (problem := problem_of(need, settings)) is not None]
    if problems:
        if not context.params.get("dry_run") and problem_of(Need.DATABASE, settings) is None:
            _refuse_known_readers(settings, declared, called(context))
        raise NeededSettingsError(called(context), list(dict.fromkeys(problems)))


def _refuse_known_readers(settings: Settings, declared: Needs, command: str) -> None:
    """Do not ask a login for settings, such as a signing key, that the command is not for."""
    engine = engine_from_settings(settings)
    try:
        with engine.connect() as connection:
            _refuse_readers(standing(connection), declared, command)
    except SQLAlchemyError:
        return  # whether it is one cannot be told
    finally:
        engine.dispose()


def require_declared() -> None:
    """Let the running command go on if what it has declared is there.

    Raises: as :func:`require`.
    """
    require(_declared_by(click.get_current_context()))


def _declared_by(context: click.Context) -> Needs:
    declared = declared_needs(context.command)
    if declared is None:
        raise TypeError(f"`{called(context)}` does not declare what it needs")
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
        WritingByReaderError: the command changes something, and the login may not append.
        UnrecordedReadingError: the command names people, and the login may not append.
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
                if not only_reads:
                    _refuse_readers(standing(connection), declared, called(context))
        yield services


def _refuse_readers(reader: Standing, declared: Needs, command: str) -> None:
    """Refuse what is for those who may append to a login that may not.

    Raises:
        WritingByReaderError: the command changes something.
        UnrecordedReadingError: it names people.
    """
    if reader.may_append:
        return
    if declared.changes and reader.is_auditor:
        raise WritingByReaderError(
            f"`{command}` changes data, and the login of AUDIT_LOG_DATABASE_URL is an auditor's, who only reads: "
            "nothing was done. Whoever operates the pipelines runs this with their login"
        )
    if declared.changes:
        raise WritingByReaderError(
            f"`{command}` changes data, and the login of AUDIT_LOG_DATABASE_URL may not append to the audit log, where "
            f"that is recorded: nothing was done. The pipelines' login is a member of {' and '.join(PIPELINES)}"
        )
    if declared.names_people:
        raise UnrecordedReadingError(
            f"`{command}` names people or what is theirs, and the login of AUDIT_LOG_DATABASE_URL only reads, so that "
            "no entry would say who has seen it: nothing was read. Whoever operates the pipelines runs this with their "
            "login, and hands over what it says"
        )
