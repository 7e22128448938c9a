"""The cold store's own holds in Dagster: the daily job sets them, and a check compares them both ways."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from dagster import AssetCheckSeverity

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.store_holds import sync_store_holds
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.object_store.port import RefusedByStoreError
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.orchestration.checks import store_holds_verdict
from tests.integration.archive.faulty_store import Fault, FaultyStore

if TYPE_CHECKING:
    from datetime import date

    from mypy_boto3_s3 import S3Client

    from compliance_pipelines.services import Services
    from tests.orchestration.conftest import Project

EVERYTHING = NewHold(HoldScope.EVERYTHING, "case 1", "counsel")


@pytest.fixture
def object_store(s3_client: S3Client) -> S3ObjectStore:
    """In place of a directory: a bucket that can lock, in which nothing is locked."""
    return S3ObjectStore(s3_client, S3Bucket("locks", prefix=uuid.uuid4().hex[:8]))


@pytest.fixture
def day(project: Project) -> date:
    """One that is archived."""
    day = project.sealed(days_ago=100)
    archive_day(project.services, day)
    return day


def objects(services: Services, day: date) -> list[str]:
    return [info.key for info in services.store.list("audit-archives/") if str(day) in info.key]


def test_the_daily_job_sets_what_is_held_here_alone(project: Project, day: date) -> None:
    services = project.services
    assert store_holds_verdict(services).problem is None
    hold = add_hold(services, EVERYTHING).hold
    before = store_holds_verdict(services)
    assert before.fails
    assert str(before.problem).startswith("a legal hold touches 2 objects, and the cold store does not hold them")
    assert "compliance hold sync" in before.description

    result = project.run("hold_sync")

    assert result.success
    (made,) = result.asset_materializations_for_node("audit__store_holds")
    assert made.metadata["objects held from now on"].value == 2
    assert all(services.store.has_hold(key) for key in objects(services, day))
    assert store_holds_verdict(services).summary == "2 objects of 2 held, each as a legal hold has it."

    release_hold(services, hold.id, reason="over", author="judge")
    assert "no legal hold touches them any more" in str(store_holds_verdict(services).problem)
    assert project.run("hold_sync").success
    assert store_holds_verdict(services).problem is None


def test_what_others_hold_is_a_warning_and_stays(project: Project, day: date) -> None:
    services = project.services
    key = objects(services, day)[0]
    services.store.set_hold(key, held=True)

    found = store_holds_verdict(services)

    assert (found.severity, found.fails) == (AssetCheckSeverity.WARN, False)
    assert f"by an order that is not ours, and no legal hold touches them: {key}" in str(found.problem)
    assert project.run("hold_sync").success
    assert services.store.has_hold(key)


def test_an_object_that_is_not_there_fails_the_run_and_the_check(project: Project, day: date) -> None:
    services = project.services
    key = objects(services, day)[0]
    services.store.delete(key)
    add_hold(services, EVERYTHING)

    assert not project.run("hold_sync").success

    assert key in str(store_holds_verdict(services).problem)


def test_a_right_that_is_missing_is_no_success(project: Project, day: date) -> None:
    del day
    refusing = FaultyStore(project.services.store, Fault("has_hold", 2, error=RefusedByStoreError("AccessDenied")))

    found = store_holds_verdict(replace(project.services, store=refusing))

    assert found.fails
    assert found.problem == "AccessDenied"


def test_a_directory_knows_no_holds(project: Project, day: date) -> None:
    del day

    class Directory(FaultyStore):
        def has_hold(self, key: str) -> None:
            del key

    services = replace(project.services, store=Directory(project.services.store))
    add_hold(services, EVERYTHING)

    assert not sync_store_holds(services).knows_holds
    assert "knows no holds" in store_holds_verdict(services).summary
