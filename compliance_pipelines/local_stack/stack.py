"""The servers and files that the project runs on at a developer's machine, under one directory.

Here: which servers there are, which databases, where files lie, and the environment variables that say so. Not here:
how a server is run, or the making of any content (schema, keys, entries).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from compliance_pipelines.base.shipped import shipped
from compliance_pipelines.local_stack.errors import EmbeddedServerError
from compliance_pipelines.local_stack.places import default_state_dir
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from compliance_pipelines.local_stack.redis import EmbeddedRedis
from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS
from compliance_pipelines.local_stack.server import link_atomically

if TYPE_CHECKING:
    from pathlib import Path

from compliance_pipelines.local_stack.server import EmbeddedServer

COMPLIANCE_DATABASE: Final = "compliance"
DAGSTER_DATABASE: Final = "dagster"
PIPELINE_LOGIN: Final = "compliance_pipelines"
BUCKET: Final = "compliance-audit"

ColdStore = Literal["local", "s3"]
_KINDS: Final = {None: "nothing", "local": "a directory", "s3": "a bucket of an S3 service"}


@dataclass(frozen=True)
class ServerStatus:
    """What is to be said about one server; `port` and `pid` are None unless it runs."""

    title: str
    running: bool
    port: int | None
    pid: int | None
    log_file: Path


class LocalStack:
    """PostgreSQL with the databases `compliance` and `dagster`, if wanted Redis and an S3 service, and directories.

    Whether the cold store is a directory or a bucket is chosen when the stack is made, and stays so.

    Args:
        state_dir: directory for everything; default: that of places.py.
    """

    def __init__(self, state_dir: Path | None = None) -> None:
        self.state_dir: Final = (state_dir or default_state_dir()).resolve()
        self.postgres: Final = EmbeddedPostgres(self.state_dir / "postgres")
        self.redis: Final = EmbeddedRedis(self.state_dir / "redis")
        self.s3: Final = EmbeddedSeaweedFS(self.state_dir / "s3")
        self.cold_dir: Final = self.state_dir / "cold"
        self.dagster_home: Final = self.state_dir / "dagster"
        self.signing_key_file: Final = self.state_dir / "ledger.key"
        self.keyring_file: Final = self.state_dir / "archives.keyring"

    @property
    def cold_store(self) -> ColdStore | None:
        """Which kind the stack was made with; None where it has none yet."""
        if self.s3.state_dir.exists():
            return "s3"
        return "local" if self.cold_dir.exists() else None

    def up(self, *, redis: bool = False, cold_store: ColdStore | None = None) -> dict[str, str]:
        """Start what does not run yet, and give the environment; what is there already stays as it is.

        Args:
            redis: start Redis too.
            cold_store: what archives are to be kept in; None: what the stack was made with, else a directory.

        Raises:
            EmbeddedServerError: a server did not start, or the stack was made with another cold store.
        """
        made_with = self.cold_store
        if cold_store is not None and made_with not in {None, cold_store}:
            raise EmbeddedServerError(
                f"the stack in {self.state_dir} keeps its archives in {_KINDS[made_with]}, and that stays so: "
                "give another directory (STATE=...) for one of the other kind"
            )
        if (cold_store or made_with) == "s3":
            self.s3.start()
        self.postgres.start()
        for name in (COMPLIANCE_DATABASE, DAGSTER_DATABASE):
            self.postgres.create_database(name)
        # A run makes two hundred commits there. What a crash takes of the last of them is history and no evidence: what
        # is due is derived from the other database.
        self.postgres.set_default(DAGSTER_DATABASE, "synchronous_commit", "off")
        if redis:
            self.redis.start()
        self._make_dagster_home()
        return self.environment()

    def down(self) -> None:
        """Stop the servers; their data stays.

        Raises:
            EmbeddedServerError: a server does not stop.
        """
        for server in self._servers():
            server.stop()

    def status(self) -> list[ServerStatus]:
        """One line per server."""
        lines = []
        for server in self._servers():
            running = server.running
            lines.append(
                ServerStatus(
                    title=server.title,
                    running=running,
                    port=server.port if running else None,
                    pid=server.pid if running else None,
                    log_file=server.log_file,
                )
            )
        return lines

    def environment(self) -> dict[str, str]:
        """The environment variables that point the project, and Dagster, at this stack.

        AUDIT_LOG_DATABASE_URL is for PIPELINE_LOGIN, which whoever migrates the database has to make, with the
        superuser's password. CHECKPOINT_REDIS_URL is among the variables only while Redis runs.

        Raises:
            EmbeddedServerError: PostgreSQL does not run.
        """
        if not self.postgres.running:
            raise EmbeddedServerError(
                f"the local stack in {self.state_dir} is not running: start it with "
                f"`python -m compliance_pipelines.local_stack up --state {shlex.quote(str(self.state_dir))}`"
            )
        variables = {
            "AUDIT_LOG_DATABASE_URL": self.postgres.url(COMPLIANCE_DATABASE, user=PIPELINE_LOGIN),
            "AUDIT_LOG_MIGRATION_DATABASE_URL": self.postgres.url(COMPLIANCE_DATABASE),
            # Dagster's storage needs psycopg2; a bare postgresql:// would mean psycopg 3 to SQLAlchemy.
            "DAGSTER_POSTGRES_URL": self.postgres.url(DAGSTER_DATABASE, driver="postgresql+psycopg2"),
            "DAGSTER_HOME": str(self.dagster_home),
            **self._cold_store_variables(),
            "LEDGER_SIGNING_KEY_FILE": str(self.signing_key_file),
            "COMPLIANCE_LOCAL_STACK": "1",
        }
        if self.redis.running:
            variables["CHECKPOINT_REDIS_URL"] = self.redis.url()
        return variables

    def _cold_store_variables(self) -> dict[str, str]:
        if self.cold_store != "s3":
            return {"AUDIT_COLD_STORAGE_PROVIDER": "local", "AUDIT_COLD_STORAGE_PATH": str(self.cold_dir)}
        return {
            "AUDIT_COLD_STORAGE_PROVIDER": "s3",
            "AUDIT_COLD_STORAGE_BUCKET": BUCKET,
            "AUDIT_COLD_STORAGE_ENDPOINT_URL": self.s3.url,
            "AUDIT_COLD_STORAGE_PATH_STYLE": "true",
            "AUDIT_COLD_STORAGE_LOCK": "compliance",
            "AUDIT_ARCHIVE_KEYRING_FILE": str(self.keyring_file),
            **self.s3.environment,
        }

    def _servers(self) -> tuple[EmbeddedServer, ...]:
        return (self.postgres, self.redis, *([self.s3] if self.cold_store == "s3" else []))

    def _make_dagster_home(self) -> None:
        self.dagster_home.mkdir(exist_ok=True)
        link_atomically(self.dagster_home / "dagster.yaml", shipped("deploy/dagster.yaml"))
