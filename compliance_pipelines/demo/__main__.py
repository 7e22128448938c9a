"""`make run` and `make ui`: `python -m compliance_pipelines.demo`.

Here: arguments, signals and errors. Not here: any step.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import doing, stopping_on_signals
from compliance_pipelines.local_stack.places import require_packages

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for.

    Returns:
        0, or 1 after a failure that one line on stderr names.

    Raises:
        Stopped: a signal arrived; the servers go on, and the next time goes on from there.
    """
    options = _parse(arguments)
    console = Console()
    try:
        # Dagster's daemon may take longer to end than a step of a run.
        with stopping_on_signals(cleanup_seconds=None) if options.ui else stopping_on_signals():
            return _run(console, options)
    except ComplianceError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m compliance_pipelines.demo", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path(".local"), help="directory of the embedded stack")
    parser.add_argument("--store", choices=("local", "s3"), help="directory or bucket for archives, from now on")
    parser.add_argument("--events", type=Path, help="JSON lines, gzip or not, instead of the sample entries")
    parser.add_argument("--ui", action="store_true", help="open Dagster's web page and daemon")
    parser.add_argument("--port", type=int, default=3000, help="port of the web page")
    return parser.parse_args(arguments)


def _run(console: Console, options: argparse.Namespace) -> int:
    with doing("starting the servers"), console.status("starting PostgreSQL, migrating"):
        require_packages()
        # Loading takes seconds, in which a signal must find its handler.
        from compliance_pipelines.demo import stack, steps, ui  # noqa: PLC0415

        prepared = stack.prepare(options.state, options.store)
    if options.ui:
        return ui.serve(console, prepared, port=options.port)
    return steps.run(console, options.events, prepared)


if __name__ == "__main__":
    sys.exit(main())
