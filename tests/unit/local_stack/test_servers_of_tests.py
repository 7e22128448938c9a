"""The fixtures of tests/servers.py, in runs of pytest of their own where it is about the end of a run."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import redis

from compliance_pipelines.local_stack.server import await_end
from tests.unit.local_stack.helpers import CHECKOUT

if TYPE_CHECKING:
    from compliance_pipelines.local_stack.redis import EmbeddedRedis

_SECONDS = 900


def pytest_command(directory: Path, test: str, *options: str) -> list[str]:
    """A run of one test file that knows the servers' fixtures and nothing else of this project."""
    (directory / "test_of_run.py").write_text(test)
    (directory / "pytest.ini").write_text("[pytest]\n")
    return [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        f"--rootdir={directory}",
        f"--config-file={directory / 'pytest.ini'}",
        f"--confcutdir={directory}",
        f"--basetemp={directory / 'temporary'}",
        "-ptests.support.servers",
        "--disable-plugin-autoload",
        *options,
        str(directory),
    ]


def ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie where the container's init collects late."""
    try:
        return await_end([psutil.Process(pid)], 0)
    except psutil.NoSuchProcess:
        return True


def test_each_test_gets_a_database_of_its_own(database_url: str, empty_database_url: str) -> None:
    with psycopg.connect(database_url) as migrated, psycopg.connect(empty_database_url) as empty:
        assert migrated.info.dbname != empty.info.dbname
        assert empty.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        assert migrated.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone() == (True,)


def test_redis_is_there(redis_server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(redis_server.url()) as client:
        assert client.ping()


def test_workers_share_one_server_that_ends_with_the_run(tmp_path: Path) -> None:
    test = """
import os, pathlib, pytest
@pytest.mark.parametrize("number", range(2))
def test_one(postgres_server, empty_database_url, number):
    other = pathlib.Path(os.environ["MEETING"]) / str(1 - number)
    own = other.with_name(str(number))
    # Each waits for the other, so that both workers use the server at the same time.
    with open(own if number else other, "r" if number else "w") as pipe:
        pipe.read() if number else pipe.write("here")
    own.with_name(f"server-{number}").write_text(f"{postgres_server.pid} {postgres_server.state_dir}")
"""
    os.mkfifo(tmp_path / "1")
    subprocess.run(
        pytest_command(tmp_path, test, "-pxdist", "-n2"),
        cwd=CHECKOUT,
        env={**os.environ, "MEETING": str(tmp_path)},
        check=True,
        timeout=_SECONDS,
    )
    servers = {(tmp_path / f"server-{number}").read_text() for number in range(2)}
    assert len(servers) == 1
    pid, state_dir = servers.pop().split()
    assert ended(int(pid))
    assert not Path(state_dir).exists()


def test_a_killed_run_leaves_no_server(tmp_path: Path) -> None:
    test = """
import os, pathlib, signal
def test_hangs(postgres_server):
    pathlib.Path(os.environ["MEETING"]).write_text(f"{postgres_server.pid} {postgres_server.state_dir}")
    signal.pause()
"""
    meeting = tmp_path / "meeting"
    os.mkfifo(meeting)
    with subprocess.Popen(
        pytest_command(tmp_path, test), cwd=CHECKOUT, env={**os.environ, "MEETING": str(meeting)}
    ) as run:
        pid, state_dir = meeting.read_text().split()
        server = psutil.Process(int(pid))
        run.send_signal(signal.SIGKILL)
    assert await_end([server], _SECONDS)
    with (tmp_path / "temporary" / "postgres-server.users").open() as users_lock:
        fcntl.flock(users_lock, fcntl.LOCK_EX)
    assert not Path(state_dir).exists()
