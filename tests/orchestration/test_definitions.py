"""What Dagster loads: without a server, a secret, or a warning, and with no change that a review misses."""

from __future__ import annotations

import os
import subprocess
import sys
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

from dagster import Definitions

from compliance_pipelines.definitions import build_standalone, defs
from compliance_pipelines.orchestration.partitions import FIRST_DAY
from tests.orchestration.graph import SNAPSHOT, graph_of

if TYPE_CHECKING:
    from pathlib import Path

_IMPORT: Final = """
import socket, warnings

def refuse(*_, **__):
    raise AssertionError("importing the definitions opened a connection")

socket.socket.connect = refuse
import dagster
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from compliance_pipelines.definitions import defs
    dagster.Definitions.validate_loadable(defs)
about = [str(each.message) for each in caught if "dagster" in each.category.__module__]
assert not about, about
"""


def test_importing_connects_to_nothing_needs_no_secret_and_warns_of_nothing(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(
        [sys.executable, "-c", _IMPORT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_the_graph_is_the_one_that_was_reviewed() -> None:
    assert graph_of(build_standalone()) == SNAPSHOT.read_text(encoding="utf-8"), (
        "the graph changed; if that is meant: python -m tests.orchestration.graph"
    )


def test_every_definition_can_be_loaded() -> None:
    Definitions.validate_loadable(defs)


def _groups() -> dict[str, set[str]]:
    """The groups that each group comes after, as the page shows them when all are collapsed."""
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    upstream: dict[str, set[str]] = {str(spec.group_name): set() for spec in specs.values()}
    for spec in specs.values():
        upstream[str(spec.group_name)] |= {str(specs[dep.asset_key].group_name) for dep in spec.deps}
    return {group: others - {group} for group, others in upstream.items()}


def test_groups_that_are_collapsed_make_no_cycle() -> None:
    assert list(TopologicalSorter(_groups()).static_order())


def test_an_asset_that_dagster_makes_says_what_it_is_made_from() -> None:
    """And each is named so that a reader who sees the last part of its key alone knows whose it is."""
    graph = defs.resolve_asset_graph()
    assert [key for key in graph.materializable_asset_keys if not graph.get(key).parent_keys] == []
    assert "partitions" not in {key.path[-1] for key in graph.get_all_asset_keys()}


def test_each_asset_of_days_says_where_its_days_begin_and_what_missing_means() -> None:
    partitioned = [spec for spec in defs.resolve_all_asset_specs() if spec.partitions_def is not None]
    assert len(partitioned) == 6
    for spec in partitioned:
        assert f"Days begin with {FIRST_DAY}" in str(spec.description)
        assert "*missing*" in str(spec.description)
