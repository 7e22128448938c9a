"""`compliance check`: everything that this installation relies on.

Here: arguments and words. Not here: any question that is asked.
"""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.audit_log.readings import is_auditor
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.cli.needs import needs
from compliance_pipelines.encryption.health import check_archive_keys
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.health import check_places, check_redis_places
from compliance_pipelines.ledger.health import check_keys, check_outside, check_store
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.object_store.deferred import DeferredObjectStore
from compliance_pipelines.orchestration.home import check_home
from compliance_pipelines.postgres.engine import engine_from_settings
from compliance_pipelines.services import Services, open_cold_store
from compliance_pipelines.sessions.health import check_session_retention
from compliance_pipelines.settings import ConfigurationError, readable_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.settings import Settings


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@needs()
def check(*, as_json: bool) -> None:
    """Check all that is relied on: settings, database, key, cold store, each Redis and SQL target, Dagster's home.

    Each is looked at, whatever is wrong with the others, and says what to do. Exit status 1 where something does not
    work. A risk, with which everything works and a loss is possible, does not count for it. With an auditor's login,
    what only those need who write is left out.
    """
    tell(check_everything(), as_json=as_json)


def check_everything() -> list[HealthCheck]:
    """Look at everything; it raises nothing that a setting, a server or a store can cause."""
    try:
        settings, problems = readable_settings()
    except ConfigurationError as error:
        return [HealthCheck("settings", str(error), "correct it")]
    checks = [HealthCheck("settings", problem, "correct it") for problem in problems]
    url = None if settings.audit_log_database_url is None else settings.audit_log_database_url.get_secret_value()
    try:
        engine = engine_from_settings(settings)
        of_database = check_database(engine, settings)
    except ConfigurationError as error:
        engine = _no_engine(error)
        of_database = [HealthCheck("connectivity", str(error), "set or correct AUDIT_LOG_DATABASE_URL")]
    checks += [each.of("database") for each in of_database]
    try:
        checks += _check_with(settings, engine)
    finally:
        engine.dispose()
    return checks + [each.of("dagster") for each in check_home(url)]


def _no_engine(error: ConfigurationError) -> sqlalchemy.Engine:
    """An engine that says why there is none: what else a store or a Redis is asked can still be told."""

    def connect() -> NoReturn:
        raise error

    return sqlalchemy.create_engine("postgresql+psycopg://", creator=connect)


def _check_with(settings: Settings, engine: sqlalchemy.Engine) -> list[HealthCheck]:
    store = DeferredObjectStore(partial(open_cold_store, settings))
    services = Services(settings, engine, store, Keyring.from_settings(settings))
    audits = _is_auditors(engine)
    checks = [each.of("key") for each in check_keys(settings, engine)]
    checks += [each.of("cold store") for each in check_store(services, writes=not audits)]
    checks += [each.of("cold store") for each in check_archive_keys(settings, writes=not audits)]
    checks += [each.of("outside") for each in check_outside(services)]
    if audits:
        of_places = check_redis_places(services, only_reading=True)
    else:
        of_places = [*_check_targets(services), *check_session_retention(services)]
    return checks + (of_places or [HealthCheck("redis", "none is configured, nor any other target of erasures")])


def _check_targets(services: Services) -> list[HealthCheck]:
    try:
        targets = configured_targets(services.settings)
    except ComplianceError as error:
        unusable = HealthCheck("targets of erasures", str(error), "correct the setting")
        return [unusable, *check_redis_places(services)]
    try:
        return check_places(services, targets)
    except ComplianceError as error:  # of the tables of aliases
        unusable = HealthCheck("tables of aliases", str(error), "correct GDPR_ALIASES_SQL")
        return [unusable, *check_redis_places(services)]


def _is_auditors(engine: sqlalchemy.Engine) -> bool:
    try:
        with engine.connect() as connection:
            return is_auditor(connection)
    except (SQLAlchemyError, ComplianceError):
        return False  # the checks of the database say why


def check_database(engine: sqlalchemy.Engine, settings: Settings) -> list[HealthCheck]:
    """Look at the audit log's database."""
    return check_health(
        engine,
        now=system_clock(),
        sealing_lag=sealing_lag,
        max_sealing_lag=timedelta(seconds=settings.ledger_seal_max_lag_seconds),
        stuck_after=timedelta(seconds=settings.ledger_seal_max_busy_seconds),
    )


def tell(checks: Sequence[HealthCheck], *, as_json: bool) -> None:
    """Print checks.

    Raises:
        SystemExit: something does not work.
    """
    click.echo(_as_json(checks) if as_json else "\n".join(map(in_words, checks)))
    if any(each.fails for each in checks):
        raise SystemExit(1)


def _as_json(checks: Sequence[HealthCheck]) -> str:
    works = not any(each.fails for each in checks)
    return json.dumps({"ok": works, "checks": to_json(checks)}, ensure_ascii=False, indent=2)


def to_json(checks: Sequence[HealthCheck]) -> list[dict[str, Any]]:
    """The checks for a program."""
    return [
        {
            "name": each.name,
            "ok": each.ok,
            "is_risk": each.is_risk,
            "message": each.message,
            "remedy": each.remedy,
        }
        for each in checks
    ]


def in_words(each: HealthCheck) -> str:
    """A check for a person."""
    if each.ok:
        return f"ok    {each.name}: {each.message}"
    return f"{'FAIL' if each.fails else 'RISK'}  {each.name}: {each.message}\n      remedy: {each.remedy}"


COMMANDS = [check]
