"""What the bar of partitions on an asset's page says, asked as the page asks it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from dagster import DagsterEventType
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus
from dagster_graphql.test.utils import execute_dagster_graphql

from compliance_pipelines.archive.catalogue import DayState
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.orchestration import checks as checks_of_days
from compliance_pipelines.orchestration.assets import cold
from compliance_pipelines.orchestration.backlog import Action
from compliance_pipelines.orchestration.checks import Verdict, cold_verdicts
from compliance_pipelines.orchestration.failures import RETRIES
from compliance_pipelines.orchestration.keys import (
    CHECKSUM,
    COLD_ARCHIVE,
    HOT_PARTITION,
    MANIFEST_SIGNATURE,
    READ_BACK,
    ROWS_MATCH_LEDGER,
)
from tests.support.damage import flip, turn_bit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    import sqlalchemy
    from dagster import AssetCheckKey, AssetKey, ExecuteInProcessResult
    from dagster._core.workspace.context import WorkspaceProcessContext

    from compliance_pipelines.services import Services
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

    def __init__(self, pages: WorkspaceProcessContext) -> None:
        self._pages = pages

    def of(self, asset: AssetKey) -> dict[str, Any]:
        """The numbers of the asset, and the days in each state."""
        answer = execute_dagster_graphql(
            self._pages.create_request_context(), STATUSES, {"key": {"path": list(asset.path)}}
        )
        [node] = answer.data["assetNodes"]
        ranges = node["assetPartitionStatuses"]["ranges"]
        return {**node["partitionStats"], "days": {each["startKey"]: each["status"] for each in ranges}}


@pytest.fixture
def page(pages: WorkspaceProcessContext) -> Page:
    return Page(pages)


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


def on_page(project: Project, key: AssetCheckKey, day: date) -> AssetCheckExecutionResolvedStatus:
    """What the page of a check says of a day."""
    [record] = project.instance.event_log_storage.get_asset_check_execution_history(
        key, 1, partition_filter=PartitionKeyFilter(key=day.isoformat())
    )
    return asyncio.run(record.resolve_status(LoadingContextForTest(project.instance)))


NOT_LOOKED_AT: Final = AssetCheckExecutionResolvedStatus.EXECUTION_FAILED


def test_an_archive_that_could_not_be_looked_at_is_not_green(
    project: Project, page: Page, purged: date, tmp_path: Path
) -> None:
    [identity] = (tmp_path / "cold").rglob("audit-store/identity")
    hidden = identity.rename(tmp_path / "hidden")
    for _ in range(2):
        assert not project.run("daily_retention", purged, checks=READ_BACK).success
        assert page.of(COLD_ARCHIVE) == red(purged)
        assert {on_page(project, key, purged) for key in READ_BACK} == {NOT_LOOKED_AT}
    hidden.rename(identity)
    assert project.run("day_checks", purged).success
    assert page.of(COLD_ARCHIVE) == green(purged)


def test_an_attempt_that_is_followed_by_another_says_nothing_of_the_day(
    project: Project, page: Page, purged: date, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [TransientError("the store did not answer")] * (RETRIES.max_retries + 1)

    def flaky(services: Services, day: date) -> Mapping[str, Verdict]:
        if faults:
            raise faults.pop()
        return cold_verdicts(services, day)

    monkeypatch.setattr(cold, "cold_verdicts", flaky)
    monkeypatch.setattr(type(RETRIES), "calculate_delay", lambda *_: 0)
    assert not project.run("daily_retention", purged, checks=[MANIFEST_SIGNATURE]).success
    assert page.of(COLD_ARCHIVE) == red(purged)
    flip(tmp_path / "cold")
    faults.append(TransientError("the store did not answer"))
    assert project.run("daily_retention", purged, checks=[MANIFEST_SIGNATURE]).success
    assert page.of(COLD_ARCHIVE) == red(purged)
    flip(tmp_path / "cold")
    faults.append(TransientError("the store did not answer"))
    assert project.run("daily_retention", purged, checks=READ_BACK).success
    assert page.of(COLD_ARCHIVE) == green(purged)


def test_a_day_that_was_never_archived_stays_missing_when_it_cannot_be_looked_at(
    project: Project, page: Page, tmp_path: Path
) -> None:
    day = project.sealed(days_ago=5)
    [identity] = (tmp_path / "cold").rglob("audit-store/identity")
    identity.unlink()
    assert not project.run("daily_retention", day, checks=READ_BACK).success
    assert page.of(COLD_ARCHIVE)["days"] == {}


@pytest.fixture
def looked_at(project: Project, page: Page) -> date:
    """A day in PostgreSQL that was looked at, and was whole."""
    day = project.sealed(days_ago=5)
    assert project.run("daily_retention", day, [HOT_PARTITION], [ROWS_MATCH_LEDGER]).success
    assert page.of(HOT_PARTITION) == green(day)
    return day


def rewrite(superuser: sqlalchemy.Engine, result: str) -> None:
    """Set the result of the oldest row, past the triggers."""
    with superuser.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql(
            "UPDATE audit_logs SET result = %s WHERE id = (SELECT min(id) FROM audit_logs)", (result,)
        )


@pytest.mark.parametrize("assets", [(), (HOT_PARTITION,)], ids=["alone", "with its asset"])
def test_a_day_whose_rows_were_altered_is_red_while_its_check_finds_it(
    project: Project, page: Page, looked_at: date, superuser_engine: sqlalchemy.Engine, assets: tuple[AssetKey, ...]
) -> None:
    rewrite(superuser_engine, "failure")
    for _ in range(2):
        assert not project.run("daily_retention", looked_at, assets, [ROWS_MATCH_LEDGER]).success
        assert page.of(HOT_PARTITION) == red(looked_at)
    rewrite(superuser_engine, "success")
    assert project.run("daily_retention", looked_at, checks=[ROWS_MATCH_LEDGER]).success
    assert page.of(HOT_PARTITION) == green(looked_at)


def test_the_job_of_a_days_checks_shows_altered_rows_on_the_day(
    project: Project, page: Page, looked_at: date, superuser_engine: sqlalchemy.Engine
) -> None:
    rewrite(superuser_engine, "failure")
    assert not project.run("day_checks", looked_at).success
    assert page.of(HOT_PARTITION) == red(looked_at)
    rewrite(superuser_engine, "success")
    assert project.run("day_checks", looked_at).success
    assert page.of(HOT_PARTITION) == green(looked_at)


@pytest.mark.parametrize("assets", [(), (HOT_PARTITION,)], ids=["alone", "with its asset"])
def test_rows_that_could_not_be_read_leave_no_day_green(
    project: Project,
    page: Page,
    looked_at: date,
    monkeypatch: pytest.MonkeyPatch,
    assets: tuple[AssetKey, ...],
) -> None:
    def unreadable(*_: object) -> None:
        raise ValueError("no row that anybody understands")

    with monkeypatch.context() as broken:
        broken.setattr(checks_of_days, "_hot_rows", unreadable)
        assert not project.run("daily_retention", looked_at, assets, [ROWS_MATCH_LEDGER]).success
    assert page.of(HOT_PARTITION) == red(looked_at)
    assert on_page(project, ROWS_MATCH_LEDGER, looked_at) is NOT_LOOKED_AT
    assert project.run("daily_retention", looked_at, checks=[ROWS_MATCH_LEDGER]).success
    assert page.of(HOT_PARTITION) == green(looked_at)


def order_of(project: Project, result: ExecuteInProcessResult, asset: AssetKey) -> list[DagsterEventType]:
    """What a run recorded of an asset and its checks, in the order in which Dagster keeps it."""
    kinds = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION)
    found = []
    for record in project.instance.get_records_for_run(result.run_id, of_type=set(kinds)).records:
        event = record.event_log_entry.dagster_event
        assert event is not None
        of = event.asset_key or event.asset_check_evaluation_data.asset_key
        found += [event.event_type] if of == asset else []
    return found


def test_checks_follow_the_materialization_which_would_make_them_history(
    project: Project, purged: date, tmp_path: Path
) -> None:
    made, checked = DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION
    day = project.sealed(days_ago=99)
    assert order_of(project, project.step(Action.ARCHIVE, day), COLD_ARCHIVE) == [made, *[checked] * len(READ_BACK)]
    # The same where checks alone find a day whole that was damaged.
    for path in (tmp_path / "cold").rglob(f"*{purged}*.parquet"):
        for expected in ([checked], [made, checked]):
            turn_bit(path)
            result = project.run("daily_retention", purged, checks=[CHECKSUM])
            assert order_of(project, result, COLD_ARCHIVE) == expected
