"""A store or a disk that fails anywhere: nothing is lost, and the next run finishes the work."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.catalogue import DayState, day_summary
from compliance_pipelines.archive.errors import ArchiveError
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.object_store.port import ObjectExistsError, ObjectStore, ObjectStoreError
from tests.integration.archive.faulty_store import Fault, FaultyStore

if TYPE_CHECKING:
    from datetime import date

    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days


def test_the_faulty_store_is_an_object_store(services: Services) -> None:
    assert isinstance(FaultyStore(services.store), ObjectStore)


def test_whichever_call_of_the_store_fails_the_next_run_finishes_the_archive(
    services: Services, days: Days, day: date
) -> None:
    days.append(day, 3)
    healthy = FaultyStore(services.store)
    archive_day(replace(services, store=healthy), day)
    # Each list alone is a look for records about keys.
    identity, anchored = ["list", "stat", "get_bytes"], ["read_versioned", "list", "open", "open"]
    written = ["list", "list", "put_file", "list", "put_bytes", "list", "open", "open"]
    assert healthy.calls == [*identity, *anchored, *written, *identity]

    for number in range(1, len(healthy.calls) + 1):
        for done in (False, True):
            this_day = day + timedelta(days=2 * number + done)
            days.append(this_day, 3)
            broken = FaultyStore(services.store, Fault(call=number, done=done))
            with pytest.raises(ObjectStoreError, match="does not answer"):
                archive_day(replace(services, store=broken), this_day)
            assert len(broken.calls) == number

            archive_day(services, this_day)
            assert day_summary(services, this_day)[0] is DayState.VERIFIED
            assert days.cold_rows(this_day) == days.hot_rows(this_day)
            assert len(days.objects(this_day)) == len(days.manifests(this_day)) == 1
            assert days.audit_actions(this_day) == ["audit.archive"]


@pytest.mark.parametrize("method", ["put_file", "put_bytes"])
def test_a_put_whose_answer_was_lost_and_that_was_repeated_is_adopted_at_once(
    services: Services, days: Days, day: date, method: str
) -> None:
    days.append(day, 3)
    store = FaultyStore(services.store, Fault(method, done=True, error=ObjectExistsError("it is there already")))
    result = archive_day(replace(services, store=store), day)
    assert result.new_parts == (1,)
    assert day_summary(services, day)[0] is DayState.VERIFIED
    assert days.cold_rows(day) == days.hot_rows(day)


def test_an_object_that_arrives_changed_is_never_committed(
    services: Services, days: Days, day: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    days.append(day, 3)
    intact = services.store.put_file
    monkeypatch.setattr(services.store, "put_file", lambda key, path: replace(intact(key, path), sha256="0" * 64))
    with pytest.raises(ArchiveError, match="does not have the SHA-256 of what was written"):
        archive_day(services, day)
    assert days.manifests(day) == []


def test_a_restore_whose_store_fails_leaves_the_table_as_it_was(services: Services, days: Days, day: date) -> None:
    days.append(day, 3)
    archive_day(services, day)
    table = restore_day(services, day).table
    days.append(day, 2)
    archive_day(services, day)
    for method, call in (("open", 1), ("stat", 1), ("open", 2), ("open", 3), ("stat", 2), ("open", 4)):
        store = FaultyStore(services.store, Fault(method, call))
        with pytest.raises(ComplianceError, match="does not answer"):
            restore_day(replace(services, store=store), day)
        assert len(days.table_rows(table, day)) == 3
