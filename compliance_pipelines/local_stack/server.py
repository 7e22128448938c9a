"""What the embedded servers have in common: one process per state directory, which every later process finds again.

Here: lock, port, password, log, launching, waiting and stopping. Not here: what one server in particular needs.

The truth about a running server is its process, found through the pid file that the server writes itself and checked
to be ours before anything is done to it. A pid file that is left over from a crash therefore never counts.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, Final

import psutil

from compliance_pipelines.local_stack.account import Account
from compliance_pipelines.local_stack.errors import EmbeddedServerError

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
_START_SECONDS: Final = 600.0  # covers the recovery of a large write-ahead log after a crash
_POLL_SECONDS: Final = 0.01
_PORT_ATTEMPTS: Final = 5
_LOG_LINES_SHOWN: Final = 15
_LOG_BYTES_KEPT: Final = 10_000_000
# The server becomes nobody's child at once: it outlives us, and its death leaves no zombie of ours.
_DETACH: Final = '"$@" </dev/null >&2 & echo $!'


class EmbeddedServer(ABC):
    """One server whose files all lie in a state directory.

    Args:
        state_dir: directory for data, password, port, configuration and log; made when it is missing.
    """

    title: ClassVar[str]
    _shutdown: ClassVar[tuple[tuple[signal.Signals, float], ...]]  # signals, and seconds to wait after each

    def __init__(self, state_dir: Path) -> None:
        self.state_dir: Final = state_dir.resolve()
        self.log_file: Final = self.state_dir / "server.log"
        self._password_file: Final = self.state_dir / "password"
        self._port_file: Final = self.state_dir / "port"

    @property
    def running(self) -> bool:
        """Whether the server runs and accepts connections."""
        process = self._process()
        return process is not None and self._is_ready(process)

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        process = self._process()
        return None if process is None else process.pid

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1, the same over restarts unless somebody else took it meanwhile.

        Raises:
            EmbeddedServerError: the server was never started.
        """
        port = self._recorded_port()
        if port is None:
            raise EmbeddedServerError(f"{self.title} in {self.state_dir} was never started: start it first")
        return port

    @property
    def password(self) -> str:
        """Password of the superuser, made at the first start.

        Raises:
            EmbeddedServerError: the server was never started, or the password is not ours to read.
        """
        try:
            return self._password_file.read_text(encoding="ascii")
        except FileNotFoundError:
            raise EmbeddedServerError(f"{self.title} in {self.state_dir} has no password yet: start it first") from None
        except PermissionError:
            raise self._not_ours(self._password_file) from None

    def start(self) -> None:
        """Start the server, or find that it runs already; it accepts connections when this returns.

        Any number of processes may call this at the same time; one of them starts the server.

        Raises:
            EmbeddedServerError: the server did not start; the message ends with the last lines of its log.
        """
        with self._alone():
            process = self._process()
            if process is not None and self._await_ready(process):
                return
            self._clear_remains()
            self._prepare()
            for _ in range(_PORT_ATTEMPTS):
                port = self._choose_port()
                log_start = self._log_size()
                process = self._launch(port)
                if process is not None and self._await_ready(process):
                    return
                if _is_free(port):
                    break
            raise EmbeddedServerError(f"{self.title} did not start:\n{self._log_since(log_start)}")

    def stop(self) -> None:
        """Stop the server if it runs; nothing is lost.

        Raises:
            EmbeddedServerError: the server still runs although it was told to stop.
        """
        if not self.state_dir.exists():
            return
        with self._alone():
            process = self._process()
            if process is None:
                # Children of a server that was killed may go on without it.
                self._clear_remains()
                return
            for signal_number, seconds in self._shutdown:
                try:
                    process.send_signal(signal_number)
                except psutil.NoSuchProcess:
                    return
                if await_end([process], seconds):
                    self._clear_remains()
                    return
            raise EmbeddedServerError(
                f"{self.title} (pid {process.pid}) does not stop: see the end of {self.log_file}, then kill it"
            )

    @property
    @abstractmethod
    def _pid_file(self) -> Path:
        """File that the running server keeps, whose first line is its process id."""

    @abstractmethod
    def _is_ours(self, process: psutil.Process) -> bool:
        """Whether a process is this server on this state directory."""

    @abstractmethod
    def _is_ready(self, process: psutil.Process) -> bool:
        """Whether our process accepts connections."""

    @abstractmethod
    def _prepare(self) -> None:
        """Bring data and configuration into being before a launch; also after a preparation that was cut short."""

    @abstractmethod
    def _command(self, port: int) -> list[str]:
        """The server's command line."""

    @abstractmethod
    def _clear_remains(self) -> None:
        """Remove what a dead server left that would hinder the next."""

    def _account(self) -> Account:
        """The account of the server's processes."""
        return Account()

    def _process(self) -> psutil.Process | None:
        try:
            with self._pid_file.open(encoding="utf-8") as file:
                process = psutil.Process(int(file.readline()))
            return process if _is_alive(process) and self._is_ours(process) else None
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        except PermissionError:
            raise self._not_ours(self._pid_file) from None

    def _launch(self, port: int) -> psutil.Process | None:
        """Launch the server; None when it ended before it could be looked at."""
        account = self._account()
        # A log may quote statements, and with them personal data.
        with os.fdopen(os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
            launcher = subprocess.run(  # noqa: S603  the command line is our own
                ["/bin/sh", "-c", _DETACH, "sh", *account.command(self._command(port))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                env=server_environment(),
                start_new_session=True,
                umask=0o077,
                check=True,
                **account.process_options(),
            )
        try:
            return psutil.Process(int(launcher.stdout))
        except psutil.NoSuchProcess:
            return None

    def _await_ready(self, process: psutil.Process) -> bool:
        """Wait until a process accepts connections; False when it ended instead."""
        deadline = time.monotonic() + _START_SECONDS
        while _is_alive(process):
            if self._is_ready(process):
                return True
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"{self.title} (pid {process.pid}) runs but accepts no connections after {_START_SECONDS:.0f} s; "
                    f"it may be recovering from a crash: see the end of {self.log_file}, then try again"
                )
            time.sleep(_POLL_SECONDS)
        return False

    def _choose_port(self) -> int:
        port = self._recorded_port()
        if port is None or not _is_free(port):
            with socket.socket() as probe:
                probe.bind((LOOPBACK, 0))
                port = int(probe.getsockname()[1])
        # Recorded before the launch, so that the port of a running server is always on record.
        write_atomically(self._port_file, str(port), mode=0o644)
        return port

    def _recorded_port(self) -> int | None:
        try:
            return int(self._port_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def _make_password(self) -> None:
        if not self._password_file.exists():
            write_atomically(self._password_file, secrets.token_urlsafe(24), mode=0o600)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from starting or stopping this server meanwhile; the kernel frees the lock of the dead."""
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
            lock = (self.state_dir / "lock").open("ab")
        except PermissionError:
            raise self._not_ours(self.state_dir) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._log_size() > _LOG_BYTES_KEPT and self._process() is None:
                self.log_file.replace(self.log_file.with_suffix(".log.old"))
            yield

    def _log_size(self) -> int:
        return self.log_file.stat().st_size if self.log_file.exists() else 0

    def _log_since(self, start: int) -> str:
        with self.log_file.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES_SHOWN:]) or f"(nothing in {self.log_file})"

    def _not_ours(self, path: Path) -> EmbeddedServerError:
        return EmbeddedServerError(
            f"{path} belongs to another user, who started {self.title} there: go on as that user, "
            "or name another state directory"
        )


def server_environment() -> dict[str, str]:
    """Environment of a server: none of the caller's variables, which could redirect it, apart from the search path."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def write_atomically(path: Path, text: str, *, mode: int) -> None:
    """Write a small file so that a reader sees the old content or the new."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    draft.replace(path)


def link_atomically(path: Path, target: Path) -> None:
    """Make a symbolic link, or replace what is there by one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(path)


def await_end(processes: Iterable[psutil.Process], seconds: float) -> bool:
    """Wait until all processes have ended; False when one still lives after some seconds."""
    deadline = time.monotonic() + seconds
    for process in processes:
        while _is_alive(process):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
    return True


def _is_alive(process: psutil.Process) -> bool:
    try:
        # A zombie counts as dead: containers often have no init process that would collect it.
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do, so that connections of an earlier server that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
