"""Commands in processes of their own that a test stops at a place it knows.

Here: starting one, waiting until it stands where it was wanted, and what it left behind. Nothing waits for a time to
pass; whatever is waited for has a bound that only a process that hangs can reach.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    import sqlalchemy

    from compliance_pipelines.settings import Settings

    Handler = signal.Handlers | Callable[[int, FrameType | None], object]

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS: Final = 900.0
_POLL_SECONDS: Final = 0.02
_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_WAITING: Final = text("""SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ILIKE :query""")
_SESSIONS: Final = text("""SELECT pid, state, query FROM pg_stat_activity
    WHERE datname = current_database() AND usename = 'test_pipeline' AND pid <> ALL (:known)""")
_WAITED_FOR: Final = text("""SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = :kind AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))""")
_ADVISORY: Final = text("""SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT pid = ANY (:known)
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""")


class Child:
    """A running command; what it prints goes to files, so that no pipe holds it up."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def until(self, what: str, happened: Callable[[], bool]) -> None:
        """Wait for something while the command runs."""
        until(what, lambda: happened() or self._has_ended(what))

    def _has_ended(self, what: str) -> bool:
        assert self.process.poll() is None, f"ended before {what}: {self.out}{self.err}"
        return False

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; the exit status, negative where a signal killed it."""
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not stop: {self.out}{self.err}") from None


@contextmanager
def dispositions(**of_signals: Handler) -> Iterator[None]:
    """What a process that is started here does with signals: by default nothing is ignored.

    Tests that were started in the background of a script have SIGINT ignored, and would hand that on.
    """
    wanted = dict.fromkeys(_HEARD, signal.SIG_DFL) | {signal.Signals[name]: on for name, on in of_signals.items()}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def running(
    directory: Path, *arguments: str, signals: Mapping[str, Handler] | None = None, **variables: str
) -> Iterator[Child]:
    """`python ARGUMENTS`, killed at the end if it still runs."""
    out, err = directory / "child.out", directory / "child.err"
    with out.open("wb") as stdout, err.open("wb") as stderr, dispositions(**(signals or {})):
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **variables},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        yield Child(process, out, err)
    finally:
        process.kill()
        process.wait()


@contextmanager
def command(
    directory: Path,
    settings: Settings,
    *arguments: str,
    signals: Mapping[str, Handler] | None = None,
    **variables: str,
) -> Iterator[Child]:
    """`compliance ARGUMENTS` with the settings of a test."""
    assert settings.ledger_signing_key is not None
    environment = {
        "AUDIT_LOG_DATABASE_URL": settings.require_database_url(),
        "AUDIT_COLD_STORAGE_PROVIDER": "local",
        "AUDIT_COLD_STORAGE_PATH": str(settings.audit_cold_storage_path),
        "LEDGER_SIGNING_KEY": settings.ledger_signing_key.get_secret_value(),
        "COMPLIANCE_LOCAL_STACK": "1",
    }
    with running(
        directory, "-m", "compliance_pipelines.cli", *arguments, signals=signals, **environment, **variables
    ) as child:
        yield child


def until(what: str, happened: Callable[[], bool]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(_POLL_SECONDS)


def somebody_waits(engine: sqlalchemy.Engine, kind: str = "relation") -> bool:
    """Whether a session waits for a lock of a kind of `pg_locks`, in this database: others are other tests'."""
    with engine.connect() as connection:
        return bool(connection.execute(_WAITED_FOR, {"kind": kind}).scalar_one())


class Sessions:
    """The sessions of the pipelines' login in one test's database, but for the test's own."""

    def __init__(self, superuser: sqlalchemy.Engine) -> None:
        self._superuser = superuser
        self._known = [0, *(pid for pid, _, _ in self._sessions([0]))]

    def _sessions(self, known: list[int]) -> list[tuple[int, str, str]]:
        with self._superuser.connect() as connection:
            return [tuple(row) for row in connection.execute(_SESSIONS, {"known": known})]

    def wait_for_lock(self, query: str) -> bool:
        """Whether one waits for a lock in a statement like this."""
        with self._superuser.connect() as connection:
            return bool(connection.execute(_WAITING, {"query": query}).scalar_one())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server's processes of these sessions do not move."""
        pids = [pid for pid, _, _ in self._sessions(self._known)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def are_gone(self) -> bool:
        """Whether none is left, nor any advisory lock."""
        with self._superuser.connect() as connection:
            advisory = connection.execute(_ADVISORY, {"known": self._known}).scalar_one()
        return not advisory and not self._sessions(self._known)


@contextmanager
def locked(superuser: sqlalchemy.Engine, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    """Nobody gets at the table meanwhile; with SHARE, nobody writes to it."""
    with superuser.connect() as connection:
        connection.exec_driver_sql(f"LOCK TABLE {table} IN {mode} MODE")
        yield
