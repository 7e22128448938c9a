"""`make run`: the main job on the embedded stack, step after step.

Here: the order of the steps and what is said on the way. Not here: any step.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.figures import take_figures
from compliance_pipelines.base.clock import clock_at, system_clock, utc_day
from compliance_pipelines.base.interruption import Stopped, doing
from compliance_pipelines.cli import compliance
from compliance_pipelines.cli.summary import show_summary
from compliance_pipelines.demo.filling import append_sample, leave_conversations, seal_everything
from compliance_pipelines.demo.summary import show_people, show_where_to_go
from compliance_pipelines.ledger.store import last_sealed_entry
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from compliance_pipelines.base.clock import Clock
    from compliance_pipelines.local_stack.stack import LocalStack

DAYS_AHEAD: Final = 8


def run(console: Console, events: Path | None, stack: LocalStack) -> int:
    """Fill the stack, do what is due, and show what came of it, twice: now, and when the grace is over.

    Args:
        console: where it is shown.
        events: JSON lines, gzip or not, instead of the sample entries.
        stack: the prepared stack.

    Returns:
        0, or 1 where something failed.
    """
    if events is not None:
        console.rule(f"Import {events.name}")
        _command("import", str(events))
    with doing("filling and sealing the audit log"), open_services(load_settings()) as services:
        if events is None:
            append_sample(console, services)
            leave_conversations(console, services, stack.redis.url())
        seal_everything(services)
    console.rule("The daily job, for every day that is due")
    failed = _command("run")
    _summarise(console, "Now", system_clock)
    ahead = utc_day(system_clock()) + timedelta(days=DAYS_AHEAD)
    console.rule(f"The same, as of {ahead}: the grace of the verified days is over")
    failed = _command("run", "--as-of", ahead.isoformat()) or failed
    _summarise(console, f"As of {ahead}", clock_at(datetime.combine(ahead, time(12), UTC)))
    with open_services(load_settings()) as services, services.engine.connect() as connection:
        keyring = stack.keyring_file if services.settings.encrypts_archives else None
        show_where_to_go(console, stack.state_dir, services.store.uri, keyring, last_sealed_entry(connection))
    return failed


def _command(*arguments: str) -> int:
    try:
        compliance.main(list(arguments), standalone_mode=False)
    except Stopped:
        raise
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _summarise(console: Console, title: str, clock: Clock) -> None:
    with open_services(load_settings(), clock=clock) as services:
        show_summary(console, title, take_figures(services))
        show_people(console, services)
