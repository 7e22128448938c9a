"""`python -m compliance_pipelines.local_stack up|down|status|env`: the local stack from a shell.

Here: arguments, and words for the terminal. Not here: anything that the stack does. It is imported when the arguments
are known, so that without its packages there is help, and a word about what is missing.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import doing, stopping_on_signals
from compliance_pipelines.local_stack.places import default_state_dir, require_packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.local_stack.stack import LocalStack


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 after a failure (one line on stderr says which) and for `status` when PostgreSQL does not run.

    Raises:
        Stopped: a signal arrived; a server that was being started goes on, and the next command finds it.
    """
    options = _parser().parse_args(arguments)
    try:
        require_packages()
        from compliance_pipelines.local_stack.stack import LocalStack  # noqa: PLC0415

        stack = LocalStack(options.state)
        with stopping_on_signals(cleanup_seconds=None), doing(f"running `local_stack {options.command}`"):
            return _run(options, stack)
    except ComplianceError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _run(options: argparse.Namespace, stack: LocalStack) -> int:
    match options.command:
        case "up":
            stack.up(redis=options.redis, cold_store=options.store)
            return _show_status(stack)
        case "down":
            stack.down()
            return 0
        case "status":
            return _show_status(stack)
        case _:
            for name, value in stack.environment().items():
                sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
            return 0


def _show_status(stack: LocalStack) -> int:
    lines = stack.status()
    for line in lines:
        state = f"127.0.0.1:{line.port}, pid {line.pid}, log {line.log_file}" if line.running else "not running"
        sys.stdout.write(f"{line.title:<11}{state}\n")
    return 0 if lines[0].running else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compliance_pipelines.local_stack",
        description="The embedded servers for development and demo, and the environment that points at them.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, summary in (
        ("up", "start what does not run yet"),
        ("down", "stop the servers; their data stays"),
        ("status", "say what runs; exit 1 if PostgreSQL does not"),
        ("env", "print shell `export` lines for the project and Dagster"),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument(
            "--state",
            type=Path,
            default=default_state_dir(),
            metavar="DIR",
            help="directory of the stack (default: %(default)s)",
        )
        if name == "up":
            command.add_argument("--redis", action="store_true", help="start Redis as well")
            command.add_argument(
                "--store", choices=("local", "s3"), help="directory or bucket for archives, from now on"
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
