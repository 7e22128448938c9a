"""A real PgBouncer in front of the PostgreSQL of the tests, where the machine has one.

Here: one process with one pool mode, for one test, and the one place that skips where there is none. Not here: what is
tested through it.

It comes from no wheel: Debian's package is `pgbouncer`, which `.ci/run` installs. Like PostgreSQL it refuses to run as
root, and then runs as `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support.logins import PASSWORD, ROLES

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME: Final = "pgbouncer"
# Debian puts it where only root looks.
_PATHS: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
_UNPRIVILEGED: Final = "nobody"
_LOOPBACK: Final = "127.0.0.1"
_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.01


@dataclass(frozen=True)
class PgBouncer:
    """A running PgBouncer."""

    port: int
    socket_dir: Path
    admin_login: str
    admin_password: str

    def url(self, direct: str, *, over_socket: bool = False) -> str:
        """The URL that leads through it to the same database, as the same login.

        Args:
            direct: the URL of the database itself.
            over_socket: address its Unix socket instead of TCP.
        """
        url = make_url(direct).set(host=_LOOPBACK, port=self.port)
        if over_socket:
            url = url.set(host=None, port=None, query={"host": str(self.socket_dir), "port": str(self.port)})
        return url.render_as_string(hide_password=False)

    def show(self, what: str) -> list[dict[str, Any]]:
        """What its console shows: POOLS, SERVERS, CLIENTS."""
        with self._console() as console:
            cursor = console.execute(f"SHOW {what}".encode())
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def _console(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=_LOOPBACK,
            port=self.port,
            user=self.admin_login,
            password=self.admin_password,
            dbname="pgbouncer",
            autocommit=True,
            cursor_factory=psycopg.ClientCursor,
        )


@contextmanager
def pgbouncer(direct: str, pool_mode: str, **options: Any) -> Iterator[PgBouncer]:  # noqa: ANN401 - its own settings
    """A PgBouncer for as long as the block lasts; the test is skipped where the machine has none.

    Args:
        direct: the URL of a database of the server, as its superuser; any database of the server can be reached.
        pool_mode: session, transaction or statement.
        options: more of its settings.
    """
    program = shutil.which(_NAME, path=_PATHS)
    if program is None:
        pytest.skip(f"{_NAME} is not installed: apt-get install {_NAME}")
    server = make_url(direct)
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    port = _free_port()
    logins = {str(server.username): str(server.password), **dict.fromkeys(ROLES, PASSWORD)}
    users = "".join(f'"{login}" "{password}"\n' for login, password in logins.items())
    (directory / "users").write_text(users, encoding="ascii")
    settings = {
        "listen_addr": _LOOPBACK,
        "listen_port": port,
        "unix_socket_dir": directory,
        "auth_type": "plain",
        "auth_file": directory / "users",
        "admin_users": server.username,
        "pool_mode": pool_mode,
        **options,
    }
    lines = ["[databases]", f"* = host={server.host} port={server.port}", "[pgbouncer]"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    (directory / "pgbouncer.ini").write_text("\n".join([*lines, ""]), encoding="ascii")
    found = PgBouncer(port, directory, str(server.username), str(server.password))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*_ended_with_us(), program, str(directory / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            **_account(directory),
        )
    try:
        _await(found, process, directory / "log")
        yield found
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(directory)


def _account(directory: Path) -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(_UNPRIVILEGED)
    for path in (directory, *directory.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _ended_with_us() -> list[str]:
    """What makes the kernel end it with a test run that is killed."""
    setpriv = shutil.which("setpriv")
    return [] if setpriv is None else [setpriv, "--pdeathsig", "TERM", "--"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _await(found: PgBouncer, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + _SECONDS
    while True:
        try:
            found.show("VERSION")
        except psycopg.OperationalError:
            if process.poll() is not None or monotonic() > deadline:
                pytest.fail(f"{_NAME} did not start: {log.read_text(errors='replace')}")
            sleep(_POLL_SECONDS)
        else:
            return
