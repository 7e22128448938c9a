"""Processes that servers must leave alone, and servers that a test makes by itself."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from compliance_pipelines.local_stack.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT: Final = Path(__file__).resolve().parents[3]
Server = TypeVar("Server", bound=EmbeddedServer)


@contextmanager
def stranger(server: EmbeddedServer, *, dead: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the server's account that is no server; `dead` leaves it a zombie."""
    account = server._account()
    command = account.command(["sh", "-c", "echo here; " + ("exit" if dead else "exec sleep 600")])
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd="/", **account.process_options()) as process:
        assert process.stdout is not None
        try:
            if dead:
                process.stdout.read()
            else:
                process.stdout.readline()
            yield process
        finally:
            process.kill()


@contextmanager
def stopped_at_the_end(server: Server) -> Iterator[Server]:
    """For servers that a test makes by itself."""
    try:
        yield server
    finally:
        server.stop()
