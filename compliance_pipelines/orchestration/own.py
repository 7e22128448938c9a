"""Which runs and checks are the project's own, in an instance and a code location that others may share.

Here: telling ours from theirs. Not here: what is told of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dagster._core.definitions.assets.job.asset_job import is_reserved_asset_job_name

from compliance_pipelines.orchestration import checks, conversations, erasures, jobs, sessions
from compliance_pipelines.orchestration.assets import cold
from compliance_pipelines.orchestration.backlog import ASSETS
from compliance_pipelines.orchestration.in_process import RUNNER_TAG
from compliance_pipelines.orchestration.keys import AUDIT_LOG_PARTITIONS, CHECKPOINT
from compliance_pipelines.orchestration.names import Names

if TYPE_CHECKING:
    from dagster import AssetCheckKey, AssetKey, DagsterRun, SensorEvaluationContext

JOBS: Final = frozenset(job.name for job in (*jobs.JOBS, *conversations.JOBS, *sessions.JOBS, *erasures.JOBS))
CHECKS: Final = frozenset(
    key
    for definition in (*cold.ASSETS, *checks.CHECKS, *conversations.CHECKS, *sessions.CHECKS, *erasures.CHECKS)
    for key in definition.check_keys
)
_ASSETS: Final = frozenset(
    [key for keys in ASSETS.values() for key in keys]
    + [AUDIT_LOG_PARTITIONS, CHECKPOINT]
    + [key.asset_key for key in CHECKS]
)


@dataclass(frozen=True)
class Own:
    """What is ours, seen from the place where a sensor runs.

    Attributes:
        location: name of the code location; None outside of one.
        checks: the checks that the location has of ours.
        names: what our jobs and assets are called there.
    """

    location: str | None
    checks: tuple[AssetCheckKey, ...]
    names: Names = field(default_factory=Names)

    @classmethod
    def of(cls, context: SensorEvaluationContext, names: Names) -> Own:
        """What is ours where this sensor runs."""
        origin, repository = context.code_location_origin, context.repository_def
        ours = {names.check(key) for key in CHECKS}
        known = ours if repository is None else ours & set(repository.asset_graph.asset_check_keys)
        return cls(None if origin is None else origin.location_name, tuple(sorted(known)), names)

    def has(self, run: DagsterRun) -> bool:
        """Whether a run is of this location, and of one of our jobs or a backfill of our assets."""
        origin = run.remote_job_origin
        location = None if origin is None else origin.repository_origin.code_location_origin.location_name
        if location != self.location and RUNNER_TAG not in run.tags:
            return False
        if not is_reserved_asset_job_name(run.job_name):
            return run.job_name in map(self.names.name, JOBS)
        chosen = {*(run.asset_selection or ()), *(key.asset_key for key in run.asset_check_selection or ())}
        return any(map(self.has_asset, chosen))

    def has_asset(self, key: AssetKey) -> bool:
        """Whether an asset is ours."""
        return key in set(map(self.names.asset, _ASSETS))
