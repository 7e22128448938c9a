"""`make run` and `make ui`: `python -m compliance_pipelines.demo`.

Here: the order of the steps and what is said on the way. Not here: any step.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from compliance_pipelines.archive.figures import take_figures
from compliance_pipelines.cli import compliance
from compliance_pipelines.cli.summary import show_summary
from compliance_pipelines.clock import clock_at, system_clock, utc_day
from compliance_pipelines.demo.filling import append_sample, leave_conversations, seal_everything
from compliance_pipelines.demo.stack import prepare
from compliance_pipelines.demo.summary import show_people, show_where_to_go
from compliance_pipelines.demo.ui import serve
from compliance_pipelines.errors import ComplianceError
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.clock import Clock
    from compliance_pipelines.local_stack.stack import LocalStack

DAYS_AHEAD: Final = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for.

    Returns:
        0, or 1 after a failure that one line on stderr names.
    """
    options = _parse(arguments)
    console = Console()
    try:
        with console.status("starting PostgreSQL, migrating"):
            stack = prepare(options.state)
        if options.ui:
            return serve(console, stack, port=options.port)
        return _run(console, options.events, stack)
    except ComplianceError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compliance_pipelines.demo", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".local"), help="directory of the embedded stack")
    parser.add_argument("--events", type=Path, help="JSON lines, gzip or not, instead of the sample entries")
    parser.add_argument("--ui", action="store_true", help="open Dagster's web page and daemon")
    parser.add_argument("--port", type=int, default=3000, help="port of the web page")
    return parser.parse_args(arguments)


def _run(console: Console, events: Path | None, stack: LocalStack) -> int:
    if events is not None:
        console.rule(f"Import {events.name}")
        _command("import", str(events))
    with open_services(load_settings()) as services:
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
    show_where_to_go(console, stack.state_dir)
    return failed


def _command(*arguments: str) -> int:
    try:
        compliance.main(list(arguments), standalone_mode=False)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def _summarise(console: Console, title: str, clock: Clock) -> None:
    with open_services(load_settings(), clock=clock) as services:
        show_summary(console, title, take_figures(services))
        show_people(console, services)


if __name__ == "__main__":
    sys.exit(main())
