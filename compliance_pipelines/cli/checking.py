"""`compliance check`: everything that this installation relies on.

Here: arguments and words. Not here: any question that is asked.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.health import check_places
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.services import open_services
from compliance_pipelines.sessions.health import check_session_retention
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy

    from compliance_pipelines.base.health import HealthCheck
    from compliance_pipelines.settings import Settings


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def check(*, as_json: bool) -> None:
    """Check the database, each Redis and each SQL target: rights, role, and what would make a reading incomplete.

    Exit status 1 where something does not work. A risk, with which everything works and a loss is possible, does not
    count for it. Each says what to do.
    """
    settings = load_settings()
    with open_services(settings, signs=False) as services:
        checks = [each.of("database") for each in check_database(services.engine, settings)]
        checks += check_places(services, configured_targets(settings))
        checks += check_session_retention(services)
    tell(checks, as_json=as_json)


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
