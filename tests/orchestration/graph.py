"""The project's graph as JSON, for the snapshot that a review sees.

`python -m tests.orchestration.graph` writes the snapshot anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.definitions import build_standalone

if TYPE_CHECKING:
    from dagster import AssetSpec, Definitions

SNAPSHOT: Final = Path(__file__).with_name("snapshots") / "graph.json"


def _asset(definitions: Definitions, spec: AssetSpec) -> dict[str, Any]:
    node = definitions.resolve_asset_graph().get(spec.key)
    return {
        "description": spec.description,
        "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
        "executable": node.is_executable,
        "group": spec.group_name,
        "kinds": sorted(spec.kinds),
        "owners": list(spec.owners),
        "partitions": str(spec.partitions_def) if spec.partitions_def else None,
        "pools": sorted(node.pools or ()),
    }


def graph_of(definitions: Definitions) -> str:
    """Everything that a reader of the Dagster pages sees, sorted, as JSON."""
    graph = definitions.resolve_asset_graph()
    repository = definitions.get_repository_def()
    described = {
        "assets": {
            spec.key.to_user_string(): _asset(definitions, spec) for spec in definitions.resolve_all_asset_specs()
        },
        "checks": {
            f"{key.asset_key.to_user_string()}:{key.name}": {
                "blocking": graph.get(key).blocking,
                "description": graph.get(key).description,
                "partitions": str(graph.get(key).partitions_def) if graph.get(key).partitions_def else None,
            }
            for key in graph.asset_check_keys
        },
        "jobs": {
            job.name: {
                "assets": sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys),
                "checks": sorted(
                    f"{key.asset_key.to_user_string()}:{key.name}"
                    for key in job.asset_layer.asset_graph.asset_check_keys
                ),
                "executor": job.executor_def.name,
                "partitions": str(job.partitions_def) if job.partitions_def else None,
            }
            for job in repository.get_all_jobs()
            if not job.name.startswith("__")
        },
        "schedules": {
            each.name: {"cron": each.cron_schedule, "job": each.job_name, "status": each.default_status.value}
            for each in repository.schedule_defs
        },
        "sensors": {
            each.name: {
                "interval": each.minimum_interval_seconds,
                "jobs": sorted(target.job_name for target in each.targets),
                "status": each.default_status.value,
            }
            for each in repository.sensor_defs
        },
        "resources": sorted(repository.get_top_level_resources()),
    }
    return json.dumps(described, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    SNAPSHOT.parent.mkdir(exist_ok=True)
    SNAPSHOT.write_text(graph_of(build_standalone()), encoding="utf-8")
