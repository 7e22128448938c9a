"""Fixtures with real servers: PostgreSQL for the whole run, a database of its own for each test, and Redis.

Here: servers and databases. Not here: anything of the domain, apart from running the migrations.

One PostgreSQL serves all workers of a run. Its roles are therefore shared by all tests; databases are not.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import redis
from alembic import command
from alembic.config import Config

from compliance_pipelines.local_stack.postgres import THROWAWAY_SETTINGS, EmbeddedPostgres
from compliance_pipelines.local_stack.redis import EmbeddedRedis
from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint
from tests.support.logins import make_logins
from tests.support.memory import memory_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.local_stack.server import EmbeddedServer

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_TEMPLATE: Final = "migrated_template"


@pytest.fixture(scope="session")
def postgres_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedPostgres]:
    """The run's PostgreSQL, shared by its workers and stopped by the last of them."""
    run_dir = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        run_dir = run_dir.parent
    in_memory = memory_directory()
    state_dir = run_dir / "postgres-server" if in_memory is None else in_memory / _name_of_run(run_dir)
    server = EmbeddedPostgres(state_dir, settings={**THROWAWAY_SETTINGS, "max_wal_size": "512MB"})
    with in_use(server, "postgres", run_dir / "postgres-server.users"):
        yield server


@pytest.fixture(scope="session")
def small_postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this worker alone, whose lock table a few hundred partitions fill."""
    run_dir = tmp_path_factory.getbasetemp()
    in_memory = memory_directory()
    state_dir = run_dir / "small-server" if in_memory is None else in_memory / f"{_name_of_run(run_dir)}-small"
    limits = {"max_connections": "20", "max_locks_per_transaction": "10", "shared_buffers": "16MB"}
    server = EmbeddedPostgres(state_dir, settings={**THROWAWAY_SETTINGS, **limits})
    with in_use(server, "postgres", run_dir / "small-server.users"):
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis of this worker alone: RediSearch works in database 0 only, so that workers could not share one."""
    run_dir = tmp_path_factory.getbasetemp()
    server = EmbeddedRedis(run_dir / "redis-server")
    with in_use(server, "redis", run_dir / "redis-server.users"):
        # A search that is cut short by a busy machine finds less than there is, and savers of 0.0 take that for all.
        with redis.Redis.from_url(server.url()) as client:
            client.execute_command("FT.CONFIG", "SET", "TIMEOUT", "0")
        yield server


@pytest.fixture
def empty_redis(redis_server: EmbeddedRedis) -> EmbeddedRedis:
    """The worker's Redis, of which no other test left anything: a foreign binding there is refused."""
    with redis.Redis.from_url(redis_server.url()) as client:
        client.flushall()
    return redis_server


class SeaweedFSWithKeys(EmbeddedSeaweedFS):
    """With a key management service in its memory, for SSE-KMS: what it encrypted is lost when the server ends."""

    def _configuration(self) -> dict[str, object]:
        keys = {"type": "local", "enableOnDemandCreate": True}
        return {**super()._configuration(), "kms": {"default_provider": "local", "providers": {"local": keys}}}


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSeaweedFS]:
    """The run's S3 service, shared by its workers; so are its buckets, in which each test has a prefix of its own."""
    run_dir = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        run_dir = run_dir.parent
    server = SeaweedFSWithKeys(run_dir / "s3-server")
    with in_use(server, "s3", run_dir / "s3-server.users"):
        yield server


@pytest.fixture(scope="session")
def s3_client(s3_server: EmbeddedSeaweedFS) -> S3Client:
    """Its user's client, one for all tests: it takes half a second to be made.

    There are two buckets: `versions`, and `locks`, in which objects can be locked as well.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        client = S3Endpoint(url=s3_server.url, path_style=True).open()
    for bucket in (S3Bucket("versions"), S3Bucket("locks", lock_mode="GOVERNANCE")):
        S3ObjectStore(client, bucket).create()
        # Another worker may have made the bucket and not have come to this yet.
        client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    return client


@pytest.fixture(scope="session")
def template_database(postgres_server: EmbeddedPostgres) -> str:
    """Name of a database that was migrated to head once in this run; to be copied, never to be connected to."""
    with (postgres_server.state_dir / "template.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not postgres_server.has_database(_TEMPLATE):
            # Renamed when it is complete, so that a worker killed in between leaves no half-migrated template.
            draft = f"{_TEMPLATE}_draft"
            postgres_server.drop_database(draft)
            postgres_server.create_database(draft)
            migrate(postgres_server.url(draft))
            make_logins(postgres_server.url(draft))
            postgres_server.rename_database(draft, _TEMPLATE)
    return _TEMPLATE


@pytest.fixture
def database_url(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """`postgresql://` URL, as superuser, of a fresh migrated database."""
    with _database(postgres_server, template_database) as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """`postgresql://` URL, as superuser, of a fresh database without any table."""
    with _database(postgres_server, None) as url:
        yield url


def alembic_config(url: str) -> Config:
    """Alembic's configuration from pyproject.toml, for one database and whatever the working directory is."""
    config = Config(toml_file=_CHECKOUT / "pyproject.toml")
    config.attributes["url"] = url
    # The .ini format, of which this option is a part, gives the percent sign a meaning.
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade a database to a revision."""
    command.upgrade(alembic_config(url), revision)


def _name_of_run(run_dir: Path) -> str:
    """A random name for a directory elsewhere that belongs to this run, the same for all its workers."""
    with (run_dir / "name").open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        name = file.read()
        if not name:
            name = f"compliance-tests-{uuid.uuid4().hex}"
            file.write(name)
        return name


@contextmanager
def _database(server: EmbeddedPostgres, template: str | None) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    server.create_database(name, template=template)
    try:
        yield server.url(name)
    finally:
        server.drop_database(name)


@contextmanager
def in_use(server: EmbeddedServer, kind: str, users_lock: Path) -> Iterator[None]:
    """Keep a server running as long as any process of this run uses it, and no longer."""
    with users_lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not server.running:
            _post_guard(users_lock, kind, server.state_dir)
        server.start()
        yield
        try:
            # Our shared lock becomes an exclusive one unless somebody else has a lock too.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        server.stop()
        shutil.rmtree(server.state_dir, ignore_errors=True)


def _post_guard(users_lock: Path, kind: str, state_dir: Path) -> None:
    # In a session of its own and nobody's child: it outlives what kills the run, and pytest does not wait for it.
    guard = [sys.executable, "-m", "tests.support.server_guard", str(users_lock), kind, str(state_dir)]
    subprocess.run(
        ["/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", *guard],
        cwd=_CHECKOUT,
        start_new_session=True,
        check=True,
    )
