"""`compliance check`: everything that this installation relies on.

Here: arguments and words. Not here: any question that is asked.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from compliance_pipelines.audit_log.health import check_health
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.health import check_all_redis, check_targets
from compliance_pipelines.health import HealthCheck
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def check(*, as_json: bool) -> None:
    """Check the database, each Redis and each SQL target: rights, role, and what would make a reading incomplete.

    Exit status 1 where one is not in order; each failure says what to do.
    """
    settings = load_settings()
    with open_services(settings, signs=False) as services:
        checks = [
            HealthCheck(f"database: {each.name}", each.message, each.remedy)
            for each in check_health(
                services.engine,
                now=services.clock(),
                sealing_lag=sealing_lag,
                max_sealing_lag=timedelta(seconds=settings.ledger_seal_max_lag_seconds),
            )
        ]
        checks += check_all_redis(services)
    checks += check_targets(configured_targets(settings))
    tell(checks, as_json=as_json)


def tell(checks: Sequence[HealthCheck], *, as_json: bool) -> None:
    """Print checks.

    Raises:
        SystemExit: one is not in order.
    """
    click.echo(_as_json(checks) if as_json else "\n".join(map(in_words, checks)))
    if not all(each.ok for each in checks):
        raise SystemExit(1)


def _as_json(checks: Sequence[HealthCheck]) -> str:
    return json.dumps({"ok": all(each.ok for each in checks), "checks": to_json(checks)}, ensure_ascii=False, indent=2)


def to_json(checks: Sequence[HealthCheck]) -> list[dict[str, Any]]:
    """The checks for a program."""
    return [{"name": each.name, "ok": each.ok, "message": each.message, "remedy": each.remedy} for each in checks]


def in_words(each: HealthCheck) -> str:
    """A check for a person."""
    if each.ok:
        return f"ok    {each.name}: {each.message}"
    return f"FAIL  {each.name}: {each.message}\n      remedy: {each.remedy}"


COMMANDS = [check]
