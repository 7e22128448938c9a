"""The project's definitions under other names.

Here: what Dagster's own `key_prefix` leaves out when it loads assets from modules: the ops of assets and checks, whose
names must be unique in a code location; jobs, which select by key; schedules and sensors, which target jobs; texts,
which name all of these; the host's store of values, which ops would start. Not here: the names (names.py), or anything
that a definition does.

Dagster has no public way to give an existing definition another name. What is used instead is what its own functions
for loading and merging use; a test renames every definition and runs some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dagster import (
    AssetChecksDefinition,
    AssetsDefinition,
    AssetSelection,
    AssetSpec,
    Definitions,
    In,
    OpDefinition,
    Out,
    ScheduleDefinition,
    SensorDefinition,
    TableColumnDep,
    TableColumnLineage,
    in_process_executor,
)
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster_shared.record import replace

from compliance_pipelines.orchestration.values import VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster import AssetCheckKey, AssetKey
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

    from compliance_pipelines.orchestration.names import Names

_LINEAGE: Final = "dagster/column_lineage"


@dataclass(frozen=True)
class Parts:
    """All that the project defines, as its modules define it."""

    assets: Sequence[AssetsDefinition | AssetSpec]
    checks: Sequence[AssetChecksDefinition]
    jobs: Sequence[UnresolvedAssetJobDefinition]
    schedules: Sequence[ScheduleDefinition]
    sensors: Sequence[SensorDefinition]


def renamed(parts: Parts, names: Names) -> Definitions:
    """The definitions, without resources, under these names; each job has the executor of its own.

    A process for each step costs seconds and gains nothing: parallelism comes from runs and within the domain. That is
    said job by job, because an executor of all definitions would be the host's.
    """
    return _Renaming(parts, names).definitions()


class _Renaming:
    def __init__(self, parts: Parts, names: Names) -> None:
        self._parts = parts
        self._names = names
        # Which keys a selection means, it says of a graph; here of the one under the project's own names.
        self._graph = AssetGraph.from_assets(
            [
                *(AssetsDefinition(specs=[each]) if isinstance(each, AssetSpec) else each for each in parts.assets),
                *parts.checks,
            ]
        )
        self._keys = {key: names.asset(key) for key in self._graph.get_all_asset_keys()}
        self._jobs = {job.name: self._job(job) for job in parts.jobs}

    def definitions(self) -> Definitions:
        return Definitions(
            assets=[self._asset(each) for each in self._parts.assets],
            asset_checks=[self._computed(check) for check in self._parts.checks],
            jobs=list(self._jobs.values()),
            schedules=[self._schedule(each) for each in self._parts.schedules],
            sensors=[self._sensor(each) for each in self._parts.sensors],
        )

    def _asset(self, asset: AssetsDefinition | AssetSpec) -> AssetsDefinition | AssetSpec:
        if isinstance(asset, AssetSpec):
            deps = [self._keys[dep.asset_key] for dep in asset.deps]
            return self._described(asset.replace_attributes(key=self._keys[asset.key], deps=deps))
        computed: AssetsDefinition = self._computed(asset)
        return computed.map_asset_specs(self._described)

    def _described(self, spec: AssetSpec) -> AssetSpec:
        """The spec with what names other things beside its key: its group, and the columns that its own come from."""
        metadata = dict(spec.metadata)
        if isinstance(lineage := metadata.get(_LINEAGE), TableColumnLineage):
            metadata[_LINEAGE] = self._lineage(lineage)
        assert spec.group_name is not None  # noqa: S101 - every asset of the project has one
        return spec.replace_attributes(
            group_name=self._names.group(spec.group_name),
            metadata=metadata,
            description=self._text(spec.description),
        )

    def _text(self, text: str | None) -> str | None:
        return None if text is None else self._names.text(text)

    def _lineage(self, lineage: TableColumnLineage) -> TableColumnLineage:
        return TableColumnLineage(
            {
                column: [TableColumnDep(self._keys[dep.asset_key], dep.column_name) for dep in deps]
                for column, deps in lineage.deps_by_column.items()
            }
        )

    def _computed(self, definition: Any) -> Any:  # noqa: ANN401 - an AssetsDefinition in, one of the same class out
        moved = definition.with_attributes(asset_key_replacements=self._keys)
        attributes = moved.get_attributes_dict()
        op = attributes["node_def"]
        assert isinstance(op, OpDefinition)  # noqa: S101 - the project has no graphs
        # The host's store of values would be started for the inputs, too, though they only say what comes before.
        ins = {each.name: replace(In.from_definition(each), input_manager_key=VALUES) for each in op.input_defs}
        outs = {
            each.name: Out.from_definition(each)._replace(
                io_manager_key=VALUES, description=self._text(each.description)
            )
            for each in op.output_defs
        }
        attributes["node_def"] = op.with_replaced_properties(
            name=self._names.name(op.name), ins=ins, outs=outs, description=self._text(op.description)
        )
        attributes["check_specs_by_output_name"] = {
            output: check._replace(description=self._text(check.description))
            for output, check in attributes["check_specs_by_output_name"].items()
        }
        if isinstance(definition, AssetChecksDefinition):
            # Its class has no such constructor, and warns of what this argument is not needed for.
            del attributes["execution_type"]
            return AssetChecksDefinition(**attributes)
        return AssetsDefinition.dagster_internal_init(**attributes)

    def _job(self, job: UnresolvedAssetJobDefinition) -> UnresolvedAssetJobDefinition:
        return replace(
            job,
            name=self._names.name(job.name),
            description=self._text(job.description),
            selection=self._selection(job.selection),
            executor_def=in_process_executor,
        )

    def _selection(self, selection: AssetSelection) -> AssetSelection:
        keys: list[AssetKey] = sorted(self._keys[key] for key in selection.resolve(self._graph))
        checks: list[AssetCheckKey] = sorted(self._names.check(key) for key in selection.resolve_checks(self._graph))
        return AssetSelection.assets(*keys).without_checks() | AssetSelection.checks(*checks)

    def _schedule(self, schedule: ScheduleDefinition) -> ScheduleDefinition:
        return ScheduleDefinition(
            name=self._names.name(schedule.name),
            job=self._jobs[schedule.job_name],
            cron_schedule=schedule.cron_schedule,
            execution_timezone=schedule.execution_timezone,
            execution_fn=schedule._execution_fn,  # noqa: SLF001 - see above
            default_status=schedule.default_status,
            description=self._text(schedule.description),
            tags=schedule.tags,
            metadata=schedule.metadata,
        )

    def _sensor(self, sensor: SensorDefinition) -> SensorDefinition:
        selection = sensor.asset_selection
        return SensorDefinition(
            name=self._names.name(sensor.name),
            jobs=[self._jobs[target.job_name] for target in sensor.targets] or None,
            asset_selection=None if selection is None else self._selection(selection),
            evaluation_fn=sensor._raw_fn,  # noqa: SLF001 - see above
            minimum_interval_seconds=sensor.minimum_interval_seconds,
            default_status=sensor.default_status,
            description=self._text(sensor.description),
            metadata=sensor.metadata,
        )
