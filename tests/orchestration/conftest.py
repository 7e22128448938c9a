"""A Dagster instance on PostgreSQL for each test, and the definitions over the test's own services."""

from __future__ import annotations

import fcntl
import shutil
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from dagster import DagsterInstance
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import GrpcServerTarget, WorkspaceFileTarget
from sqlalchemy import text

from compliance_pipelines.archive.catalogue import DayState, states_of_days
from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.audit_log.entry import AuditEntry
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.definitions import build_standalone
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.orchestration.backlog import ASSETS, CHECKS
from compliance_pipelines.orchestration.resources import ALERTS, SERVICES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from dagster import AssetCheckKey, AssetKey, Definitions, ExecuteInProcessResult, RunRequest
    from dagster._core.workspace.context import WorkspaceProcessContext

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.orchestration.alerts import Alert
    from compliance_pipelines.orchestration.backlog import Action
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_WORKSPACE: Final = _CHECKOUT / "workspace.yaml"
_TEMPLATE: Final = "dagster_template"
_DRIVER: Final = "postgresql+psycopg2"
_SETTLING_SECONDS: Final = 900.0
_POLL_SECONDS: Final = 0.02


def _home(directory: Path) -> Path:
    directory.mkdir()
    shutil.copy(_CHECKOUT / "deploy" / "dagster.yaml", directory)
    return directory


@pytest.fixture(scope="session")
def dagster_template(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a database with Dagster's tables, to be copied: making them takes seconds."""
    with (postgres_server.state_dir / "dagster-template.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not postgres_server.has_database(_TEMPLATE):
            draft = f"{_TEMPLATE}_draft"
            postgres_server.drop_database(draft)
            postgres_server.create_database(draft)
            with pytest.MonkeyPatch.context() as environment:
                environment.setenv("DAGSTER_POSTGRES_URL", postgres_server.url(draft, driver=_DRIVER))
                home = _home(tmp_path_factory.mktemp("dagster") / "home")
                with DagsterInstance.from_config(str(home)) as instance:
                    instance.get_runs(limit=1)
            postgres_server.rename_database(draft, _TEMPLATE)
    return _TEMPLATE


@pytest.fixture
def dagster_home(
    postgres_server: EmbeddedPostgres, dagster_template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """DAGSTER_HOME of this test: the project's own dagster.yaml, on a database of its own."""
    name = f"dagster_{uuid.uuid4().hex}"
    postgres_server.create_database(name, template=dagster_template)
    home = _home(tmp_path / "dagster")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres_server.url(name, driver=_DRIVER))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    yield home
    postgres_server.drop_database(name)


@pytest.fixture
def instance(dagster_home: Path) -> Iterator[DagsterInstance]:
    """Dagster's instance of this test."""
    with DagsterInstance.from_config(str(dagster_home)) as opened:
        opened.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=10)
        yield opened


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The settings of this test in the environment, for whatever reads them there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", settings.require_database_url())
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PROVIDER", "local")
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PATH", str(settings.audit_cold_storage_path))
    assert settings.ledger_signing_key is not None
    monkeypatch.setenv("LEDGER_SIGNING_KEY", settings.ledger_signing_key.get_secret_value())
    monkeypatch.setenv("COMPLIANCE_LOCAL_STACK", "1")
    return monkeypatch


class RecordingSink:
    """Keeps alerts; refuses them while `broken`."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.broken = False

    def send(self, alert: Alert) -> None:
        if self.broken:
            raise ConnectionError("the sink is out of order")
        self.alerts.append(alert)


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@dataclass
class Project:
    """The definitions over one test's services, and the few things that tests do with them."""

    definitions: Definitions
    services: Services
    instance: DagsterInstance
    log: AuditLog
    _entries: int = field(default=0)

    @property
    def today(self) -> date:
        return utc_day(self.services.clock())

    def append(self, days_ago: int, count: int = 3) -> date:
        """Append entries to the day that many days ago, which gets its partition, and give that day."""
        day = self.today - timedelta(days=days_ago)
        with self.services.engine.begin() as connection:
            ensure_days(connection, [day])
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        self.log.append_many(
            AuditEntry(
                log_entry_id=f"entry-{self._entries + number}",
                timestamp=noon + timedelta(seconds=number),
                user_id="user:1",
                action="conversation.read",
                result="success",
            )
            for number in range(count)
        )
        self._entries += count
        return day

    def settle(self) -> None:
        """Wait until one pass seals all that was appended: transactions in other tests' databases hold it back."""
        deadline = time.monotonic() + _SETTLING_SECONDS
        while not self._may_seal_everything():
            assert time.monotonic() < deadline, "a transaction elsewhere did not end"
            time.sleep(_POLL_SECONDS)

    def _may_seal_everything(self) -> bool:
        with self.services.engine.connect() as connection:
            horizon = text("SELECT audit_tx_horizon() > coalesce((SELECT max(tx_id) FROM audit_logs), 0)")
            return bool(connection.execute(horizon).scalar_one())

    def seal(self) -> None:
        """Seal all that was appended."""
        self.settle()
        seal(self.services)

    def state(self, day: date) -> DayState:
        """How far a day has come."""
        return states_of_days(self.services)[day]

    def sealed(self, days_ago: int, count: int = 3) -> date:
        """A day with sealed entries."""
        day = self.append(days_ago, count)
        self.seal()
        return day

    def run(
        self,
        job: str,
        day: date | None = None,
        assets: Collection[AssetKey] = (),
        checks: Collection[AssetCheckKey] = (),
        **tags: str,
    ) -> ExecuteInProcessResult:
        """Execute a job, or the named part of it, as a run, without raising what it raises."""
        definition = self.definitions.resolve_job_def(job)
        if assets or checks:
            definition = definition.get_subset(
                asset_selection=frozenset(assets), asset_check_selection=frozenset(checks)
            )
        return definition.execute_in_process(
            instance=self.instance,
            partition_key=day.isoformat() if day else None,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def step(self, action: Action, day: date) -> ExecuteInProcessResult:
        """Execute one step of a day's life, as the schedule requests it."""
        return self.run("daily_retention", day, ASSETS[action], CHECKS[action])

    def launch(self, request: RunRequest) -> ExecuteInProcessResult:
        """Execute what a schedule or a sensor requested, as the daemon would."""
        assert request.partition_key is not None
        return self.run(
            "daily_retention",
            date.fromisoformat(request.partition_key),
            request.asset_selection or (),
            request.asset_check_keys or (),
            **request.tags,
        )


@pytest.fixture
def project(services: Services, instance: DagsterInstance, sink: RecordingSink) -> Project:
    definitions = build_standalone({SERVICES: services, ALERTS: sink})
    log = AuditLog(services.engine, first_day=services.settings.audit_log_first_day, archived_ids=ArchivedIds(services))
    return Project(definitions, services, instance, log)


@pytest.fixture
def workspace(project: Project, environment: pytest.MonkeyPatch) -> Iterator[WorkspaceProcessContext]:
    """The project as webserver and daemon load it: from workspace.yaml, in a process with the settings of this test."""
    with create_test_daemon_workspace_context(WorkspaceFileTarget([str(_WORKSPACE)]), project.instance) as opened:
        yield opened


@pytest.fixture(scope="session")
def code_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServerTarget]:
    """The process that loads workspace.yaml, without any setting: it takes seconds, and one serves all tests."""
    directory = str(tmp_path_factory.mktemp("code-server"))
    with (
        DagsterInstance.local_temp(directory) as instance,
        create_test_daemon_workspace_context(WorkspaceFileTarget([str(_WORKSPACE)]), instance) as opened,
    ):
        [location] = opened.create_request_context().code_locations
        assert isinstance(location, GrpcServerCodeLocation)
        yield GrpcServerTarget(location.host, location.port, location.socket, location.name)


@pytest.fixture
def pages(project: Project, code_server: GrpcServerTarget) -> Iterator[WorkspaceProcessContext]:
    """The project as its pages show it, with what the instance of this test knows; no run and no tick starts there."""
    with create_test_daemon_workspace_context(code_server, project.instance) as opened:
        yield opened
