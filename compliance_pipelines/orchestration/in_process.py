"""Running the jobs in this process, with the same records in Dagster as runs of the daemon leave.

Here: opening the instance for one such process at a time, and executing one job or one step. Not here: which of them,
and in which order.
"""

from __future__ import annotations

import fcntl
import os
import sys
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dagster import AssetCheckSeverity, DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run_iterator
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin, get_python_environment_entry_point
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import Stopped, check_stopped, reinstate_handlers
from compliance_pipelines.orchestration.backlog import ACTION_TAG, ASSETS, CHECKS, RETENTION_JOB
from compliance_pipelines.orchestration.failures import reasons_of_failure
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dagster import DagsterEvent, Definitions, JobDefinition

    from compliance_pipelines.orchestration.backlog import Action, Step

RUNNER_TAG: Final = "compliance/in_process"
_HOME: Final = "DAGSTER_HOME"
_LOCK_FILE: Final = "compliance-run.lock"
_NAME_DIGITS: Final = 8
# The daemon has no part in these runs: it neither starts them again nor knows how.
_MAX_RETRIES_TAG: Final = "dagster/max_retries"

_STATEMENT_TIMEOUT_MS: Final = 60_000
_POOL_RECYCLE_SECONDS: Final = 3600
_POOL_OVERFLOW: Final = 20

_UNFINISHED: Final = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_DIED: Final = "The process of this run ended before the run did. Whatever it had begun is finished by the next run."

# The terminal belongs to the progress bar. What steps print would be caught by two more processes for each step, which
# take its place; nothing is lost, because no step prints.
_OVERRIDES: Final = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}
# The code location as workspace.yaml names it: by it Dagster's pages know which job a run belongs to.
_LOCATION: Final = "compliance_pipelines"
_MODULE: Final = "compliance_pipelines.definitions"
_REPOSITORY: Final = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name=_MODULE), _LOCATION),
    SINGLETON_REPOSITORY_NAME,
)
_CODE: Final = RepositoryPythonOrigin(
    sys.executable, ModuleCodePointer(_MODULE, "defs"), entry_point=get_python_environment_entry_point(sys.executable)
)
_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunnerBusyError(ComplianceError):
    """Another process works through what is due in the same way."""


@dataclass(frozen=True)
class Runner:
    """Dagster's instance, and the name under which this process, alone for now, records its runs."""

    instance: DagsterInstance
    name: str


@contextmanager
def open_runner() -> Iterator[Runner]:
    """Dagster's instance of DAGSTER_HOME, set up for many runs in one process.

    Runs of an earlier process that was killed are marked as failed, and their slots in the pools are freed: nobody else
    would do so where no daemon runs, and the next run would wait for them for ever.

    Raises:
        ConfigurationError: DAGSTER_HOME is not set or is no directory.
        RunnerBusyError: another process holds it.
    """
    home = os.environ.get(_HOME)
    if not home or not Path(home).is_dir():
        raise ConfigurationError(
            f"{_HOME} must name the directory of dagster.yaml, so that Dagster's pages show what was done; it is "
            + (f"{home!r}, which is no directory" if home else "not set")
        )
    with _alone_in(Path(home)) as name:
        reference = InstanceRef.from_dir(str(Path(home).resolve()), overrides=_OVERRIDES)
        with DagsterInstance.from_ref(reference) as instance:
            # By default each event opens a connection of its own, which takes longer than writing it.
            instance.optimize_for_webserver(
                statement_timeout=_STATEMENT_TIMEOUT_MS, pool_recycle=_POOL_RECYCLE_SECONDS, max_overflow=_POOL_OVERFLOW
            )
            _bury_dead_runs(instance, name)
            yield Runner(instance, name)


@contextmanager
def _alone_in(home: Path) -> Iterator[str]:
    """Hold the home's lock, which ends with the process: whoever has it knows that its earlier holders are gone.

    Yields:
        the name that is kept in the lock file.
    """
    with (home / _LOCK_FILE).open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunnerBusyError(
                f"another `compliance run` is at work ({home / _LOCK_FILE} is locked): wait for it to end"
            ) from None
        file.seek(0)
        name = file.read()
        if not name:
            name = uuid.uuid4().hex[:_NAME_DIGITS]
            file.write(name)
            file.flush()
        yield name


def _bury_dead_runs(instance: DagsterInstance, name: str) -> None:
    for run in instance.get_runs(RunsFilter(tags={RUNNER_TAG: name}, statuses=_UNFINISHED)):
        instance.report_run_failed(run, _DIED)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


class InProcessRuns:
    """Executes jobs of the definitions, one after another.

    Args:
        definitions: with the services that the runs work with.
        runner: where the runs are recorded, and under which name.
    """

    def __init__(self, definitions: Definitions, runner: Runner) -> None:
        self._definitions = definitions
        self._runner = runner
        self._jobs: dict[Action, JobDefinition] = {}

    def run_job(self, name: str, partition_key: str | None = None) -> list[str]:
        """Execute a whole job; returns what failed, runs and checks, nothing when all is well.

        Raises:
            Stopped: a signal arrived; the run is canceled on record.
        """
        return self._execute(self._definitions.resolve_job_def(name), partition_key, {})

    def run_step(self, step: Step) -> list[str]:
        """Execute one step of a day's life; returns what failed, runs and checks, nothing when all is well.

        Raises:
            Stopped: a signal arrived; the run is canceled on record.
        """
        if not step.has_partition:
            return [f"{step.day} lies before Dagster's first day: set AUDIT_LOG_FIRST_DAY to it or an earlier day"]
        if step.action not in self._jobs:
            self._jobs[step.action] = self._definitions.resolve_job_def(RETENTION_JOB).get_subset(
                asset_selection=frozenset(ASSETS[step.action]), asset_check_selection=frozenset(CHECKS[step.action])
            )
        return self._execute(self._jobs[step.action], step.partition_key, {ACTION_TAG: step.action.value})

    def _execute(self, job: JobDefinition, partition_key: str | None, tags: dict[str, str]) -> list[str]:
        run_id = str(uuid.uuid4())
        try:
            check_stopped()
            events = self._recorded(job, run_id, partition_key, tags)
            check_stopped()
        except Stopped as stopped:
            self._cancel(run_id, stopped)
            raise
        problems = _failed_checks(events)
        if not any(event.event_type is DagsterEventType.RUN_SUCCESS for event in events):
            problems += reasons_of_failure(events) or [f"run {run_id} failed"]
        return problems

    def _recorded(
        self, job: JobDefinition, run_id: str, partition_key: str | None, tags: dict[str, str]
    ) -> list[DagsterEvent]:
        instance = self._runner.instance
        here = job.as_ephemeral_job(resource_defs={}, input_values={})
        of_day = {} if partition_key is None else here.get_tags_for_partition_key(partition_key, None)
        run = instance.create_run_for_job(
            here,
            run_config=_QUIET,
            run_id=run_id,
            tags={**job.run_tags, RUNNER_TAG: self._runner.name, _MAX_RETRIES_TAG: "0", **of_day, **tags},
            remote_job_origin=_REPOSITORY.get_job_origin(job.name),
            job_code_origin=JobPythonOrigin(job.name, _CODE),
        )
        try:
            return list(execute_run_iterator(InMemoryJob(here), run, instance))
        finally:
            # During a run Dagster has handlers of its own, and it leaves SIGTERM with the one of SIGINT.
            reinstate_handlers()

    def _cancel(self, run_id: str, stopped: Stopped) -> None:
        instance = self._runner.instance
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status is not DagsterRunStatus.SUCCESS:
            instance.report_run_canceled(run, f"{stopped}.")
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _failed_checks(events: Sequence[DagsterEvent]) -> list[str]:
    """A check that fails without blocking leaves its run green."""
    evaluations = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    return [
        f"{evaluation.asset_key.to_user_string()}, check {evaluation.check_name}: {evaluation.description or 'failed'}"
        for evaluation in evaluations
        if not evaluation.passed and evaluation.severity is AssetCheckSeverity.ERROR
    ]
