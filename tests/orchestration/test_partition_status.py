"""What the bar of partitions on an asset's page says, asked as the page asks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from dagster_graphql.test.utils import execute_dagster_graphql

from compliance_pipelines.archive.catalogue import DayState
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.keys import (
    CHECKSUM,
    COLD_ARCHIVE,
    HOT_PARTITION,
    MANIFEST_SIGNATURE,
    READ_BACK,
    ROWS_MATCH_LEDGER,
)
from tests.support.damage import flip

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from dagster import AssetKey
    from dagster._core.workspace.context import WorkspaceProcessContext

    from tests.conftest import MovableClock
    from tests.orchestration.conftest import Project

STATUSES: Final = """
    query ($key: AssetKeyInput!) {
        assetNodes(assetKeys: [$key]) {
            partitionStats { numMaterialized numFailed numMaterializing }
            assetPartitionStatuses {
                ... on TimePartitionStatuses { ranges { status startKey endKey } }
            }
        }
    }
"""


class Page:
    """The asset's page of one test."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self._workspace = workspace

    def of(self, asset: AssetKey) -> dict[str, Any]:
        """The numbers of the asset, and the days in each state."""
        answer = execute_dagster_graphql(
            self._workspace.create_request_context(), STATUSES, {"key": {"path": list(asset.path)}}
        )
        [node] = answer.data["assetNodes"]
        ranges = node["assetPartitionStatuses"]["ranges"]
        return {**node["partitionStats"], "days": {each["startKey"]: each["status"] for each in ranges}}


@pytest.fixture
def page(workspace: WorkspaceProcessContext) -> Page:
    return Page(workspace)


@pytest.fixture
def purged(project: Project, clock: MovableClock) -> date:
    """A day that only the cold store has."""
    day = project.sealed(days_ago=100)
    assert project.step(Action.ARCHIVE, day).success
    clock.advance(days=8)
    assert project.step(Action.PURGE, day).success
    assert project.state(day) is DayState.PURGED
    return day


def red(day: date) -> dict[str, Any]:
    return {"numMaterialized": 0, "numFailed": 1, "numMaterializing": 0, "days": {day.isoformat(): "FAILED"}}


def green(day: date) -> dict[str, Any]:
    return {"numMaterialized": 1, "numFailed": 0, "numMaterializing": 0, "days": {day.isoformat(): "MATERIALIZED"}}


def parquet(tmp_path: Path) -> Path:
    [path] = (tmp_path / "cold").rglob("*.parquet")
    return path


@pytest.mark.parametrize("with_checks", [True, False], ids=["with its checks", "alone"])
def test_a_damaged_archive_of_a_purged_day_is_red_when_it_is_materialized_and_green_when_it_was_repaired(
    project: Project, page: Page, purged: date, tmp_path: Path, with_checks: bool
) -> None:
    assert page.of(COLD_ARCHIVE) == green(purged)
    flip(tmp_path / "cold")
    checks = READ_BACK if with_checks else ()
    assert not project.run("daily_retention", purged, [COLD_ARCHIVE], checks).success
    assert page.of(COLD_ARCHIVE) == red(purged)
    flip(tmp_path / "cold")
    assert project.run("daily_retention", purged, [COLD_ARCHIVE], checks).success
    assert page.of(COLD_ARCHIVE) == green(purged)


@pytest.mark.parametrize("checks", [READ_BACK, (CHECKSUM,)], ids=["all", "one"])
def test_a_damaged_archive_of_a_purged_day_is_red_when_only_its_checks_look(
    project: Project, page: Page, purged: date, tmp_path: Path, checks: tuple[Any, ...]
) -> None:
    flip(tmp_path / "cold")
    for _ in range(2):
        assert not project.run("daily_retention", purged, checks=checks).success
        assert page.of(COLD_ARCHIVE) == red(purged)
    flip(tmp_path / "cold")
    assert project.run("daily_retention", purged, checks=checks).success
    assert page.of(COLD_ARCHIVE) == green(purged)


@pytest.mark.parametrize("what", ["manifest", "object"])
def test_what_is_missing_is_as_red_as_what_is_altered(
    project: Project, page: Page, purged: date, tmp_path: Path, what: str
) -> None:
    [manifest] = (tmp_path / "cold").rglob("audit-logs-*.manifest.json")
    (manifest if what == "manifest" else parquet(tmp_path)).unlink()
    assert not project.run("daily_retention", purged, checks=READ_BACK).success
    assert page.of(COLD_ARCHIVE) == red(purged)


def test_a_check_that_passes_beside_one_that_was_not_asked_leaves_the_day_as_it_is(
    project: Project, page: Page, purged: date, tmp_path: Path
) -> None:
    """The manifest is whole, the object is not: a run that asks for the manifest alone says nothing of the object."""
    flip(tmp_path / "cold")
    assert not project.run("daily_retention", purged, checks=READ_BACK).success
    assert project.run("daily_retention", purged, checks=[MANIFEST_SIGNATURE]).success
    assert page.of(COLD_ARCHIVE) == red(purged)


def test_a_look_at_a_whole_archive_records_nothing_new(project: Project, page: Page, purged: date) -> None:
    def events() -> int:
        return len(project.instance.fetch_materializations(COLD_ARCHIVE, limit=10).records)

    before = events()
    assert project.run("daily_retention", purged, checks=READ_BACK).success
    assert events() == before
    assert page.of(COLD_ARCHIVE) == green(purged)


def test_the_hot_partition_of_a_purged_day_says_so(project: Project, page: Page, purged: date) -> None:
    """The purge says it itself: nobody has to look at the day again."""
    [latest] = project.instance.fetch_materializations(HOT_PARTITION, limit=1).records
    materialized = latest.asset_materialization
    assert materialized is not None
    assert materialized.partition == purged.isoformat()
    shown = {key: value.value for key, value in materialized.metadata.items()}
    assert (shown["dagster/partition_row_count"], shown["state"], shown["bytes"]) == (0, "purged", 0)
    assert shown["purged entries"] == 3
    with project.services.engine.connect() as connection:
        moment = connection.exec_driver_sql("SELECT purged_at FROM archived_audit_logs").scalar_one()
    assert shown["purged at"] == pytest.approx(moment.timestamp(), abs=1)
    assert page.of(HOT_PARTITION) == green(purged)


def test_the_checks_of_a_day_can_be_run_again_by_their_job(
    project: Project, page: Page, purged: date, tmp_path: Path
) -> None:
    job = project.definitions.resolve_job_def("day_checks")
    assert job.partitions_def is not None
    flip(tmp_path / "cold")
    assert not project.run("day_checks", purged).success
    assert page.of(COLD_ARCHIVE) == red(purged)
    flip(tmp_path / "cold")
    again = project.run("day_checks", purged)
    assert again.success
    assert {each.asset_check_key for each in again.get_asset_check_evaluations()} == {ROWS_MATCH_LEDGER, *READ_BACK}
    assert page.of(COLD_ARCHIVE) == green(purged)


def test_execute_all_looks_at_nothing_records_nothing_and_fails_nobody(project: Project) -> None:
    """The button of the page starts the checks of an asset without a day. Their descriptions say how it is done."""
    result = project.run("daily_retention", checks=[ROWS_MATCH_LEDGER, *READ_BACK])
    assert result.success
    assert result.get_asset_check_evaluations() == []
    graph = project.definitions.resolve_asset_graph()
    for key in (ROWS_MATCH_LEDGER, *READ_BACK):
        assert "`day_checks`" in str(graph.get(key).description)
