"""`make ui`: Dagster's web page and daemon on the embedded stack, until interrupted.

Here: starting the two processes and ending them. Not here: what they show.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.catalogue import facts_of_days
from compliance_pipelines.base.clock import system_clock, utc_day
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import doing
from compliance_pipelines.base.shipped import shipped
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from datetime import date

    from rich.console import Console

    from compliance_pipelines.local_stack.stack import LocalStack

_HOST: Final = "127.0.0.1"
_POLL_SECONDS: Final = 1.0
_END_SECONDS: Final = 30.0


class PortInUseError(ComplianceError):
    """Something else listens where the web page should."""


def serve(console: Console, stack: LocalStack, *, port: int) -> int:
    """Run both until a signal, or until one of them ends.

    Returns:
        the exit status of the process that ended by itself.

    Raises:
        Stopped: a signal arrived, and both have ended.
        PortInUseError: the port is taken.
    """
    _refuse_taken_port(port)
    binaries = Path(sys.executable).parent
    workspace = shipped("workspace.yaml")
    commands = (
        (str(binaries / "dagster-webserver"), "-h", _HOST, "-p", str(port), "-w", str(workspace)),
        (str(binaries / "dagster-daemon"), "run", "-w", str(workspace)),
    )
    environment = {**os.environ, **stack.environment()}
    # From 2015 on, a bar of days would be thousands of grey ones with a coloured sliver at its end.
    environment.setdefault("AUDIT_LOG_FIRST_DAY", _first_known_day().isoformat())
    processes = [subprocess.Popen(command, cwd=workspace.parent, env=environment) for command in commands]  # noqa: S603 - our own arguments
    console.print(f"[bold]Dagster[/] http://{_HOST}:{port}  (Ctrl-C ends it; `make down` stops PostgreSQL as well)")
    try:
        with doing("showing Dagster's pages"):
            return _wait_for_first(processes)
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            _await_end(process)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_known_day() -> date:
    with open_services(load_settings()) as services, services.engine.connect() as connection:
        return min(facts_of_days(connection), default=utc_day(system_clock()))


def _wait_for_first(processes: list[subprocess.Popen[bytes]]) -> int:
    while True:
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=_POLL_SECONDS)


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise PortInUseError(f"port {port} cannot be used: {error.strerror}; choose one with PORT=...") from error
