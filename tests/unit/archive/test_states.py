"""What follows from the facts of days: their states, what is due, what comes next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.archive.catalogue import (
    DayFacts,
    DayState,
    NextDue,
    archive_due_at,
    due_among,
    next_due_among,
    purge_due_at,
)
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings

TODAY = date(2026, 10, 10)
NOW = datetime(2026, 10, 10, 12, tzinfo=UTC)
DAY = TODAY - timedelta(days=91)

SEALED = {"unarchived_segments": 2, "unarchived_entries": 10}
ARCHIVED = {"parts": 1, "archived_entries": 10}
VERIFIED = {**ARCHIVED, "verified_parts": 1, "last_verified_at": NOW - timedelta(days=7)}
PURGED = {**ARCHIVED, "verified_parts": 1, "purged_parts": 1, "purged_entries": 10}
EXPIRED = {**PURGED, "expired_parts": 1, "expired_entries": 10}


def facts(values: dict[str, Any], *, day: date = DAY, **more: Any) -> DayFacts:  # noqa: ANN401 - any field
    return DayFacts(day, **{**values, **more})


def services(now: datetime = NOW, **values: Any) -> Services:  # noqa: ANN401 - any setting
    """What decides about dates: the clock and the settings."""
    return Services(
        settings=Settings(_env_file=None, **values),
        engine=sqlalchemy.create_engine("postgresql+psycopg://never-connected"),
        store=LocalObjectStore(Path("never-used")),
        keys=Keyring.of(SigningKey.generate("tests.example/audit")),
        clock=lambda: now,
    )


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (SEALED, DayState.SEALED),
        (ARCHIVED, DayState.ARCHIVED),
        (VERIFIED, DayState.VERIFIED),
        (PURGED, DayState.PURGED),
        (EXPIRED, DayState.EXPIRED),
        ({**SEALED, "unsealed_entries": 1}, DayState.OPEN),
        ({**VERIFIED, "unsealed_entries": 1}, DayState.OPEN),
        ({**PURGED, "unsealed_entries": 1}, DayState.OPEN),
        ({**VERIFIED, "unarchived_segments": 1}, DayState.SEALED),
        ({**PURGED, "unarchived_segments": 1}, DayState.SEALED),
        ({**PURGED, "parts": 2}, DayState.ARCHIVED),
        ({**PURGED, "parts": 2, "verified_parts": 2}, DayState.VERIFIED),
        ({**PURGED, "parts": 2, "verified_parts": 2, "purged_parts": 2, "expired_parts": 1}, DayState.PURGED),
    ],
)
def test_the_state_is_the_least_advanced_step_of_any_entry(values: dict[str, Any], state: DayState) -> None:
    assert facts(values).state(TODAY) is state


def test_today_is_open_whatever_is_sealed() -> None:
    assert facts(SEALED, day=TODAY).state(TODAY) is DayState.OPEN
    assert facts(SEALED, day=TODAY - timedelta(days=1)).state(TODAY) is DayState.SEALED


@pytest.mark.parametrize(
    ("values", "hot", "cold", "total"),
    [
        ({}, 0, 0, 0),
        ({**SEALED, "unsealed_entries": 3}, 13, 0, 13),
        (VERIFIED, 10, 10, 10),
        ({**PURGED, "unsealed_entries": 3}, 3, 10, 13),
        (EXPIRED, 0, 0, 0),
    ],
)
def test_entries_are_counted_once_each(values: dict[str, Any], hot: int, cold: int, total: int) -> None:
    found = facts(values)
    assert (found.hot_entries, found.cold_entries, found.total_entries) == (hot, cold, total)


def test_a_day_falls_due_when_more_than_the_retention_has_passed() -> None:
    younger = TODAY - timedelta(days=90)
    assert due_among(services(), [facts(SEALED), facts(SEALED, day=younger)]).archive == (DAY,)
    assert archive_due_at(services(), DAY) == datetime(2026, 10, 10, tzinfo=UTC)
    assert due_among(services(audit_log_retention_days=30), [facts(SEALED, day=younger)]).archive == (younger,)


@pytest.mark.parametrize("values", [SEALED, ARCHIVED, {**PURGED, "unarchived_segments": 1}, {**PURGED, "parts": 2}])
def test_whatever_is_not_archived_and_verified_is_due_for_the_archive(values: dict[str, Any]) -> None:
    found = due_among(services(), [facts(values)])
    assert (found.archive, found.purge) == ((DAY,), ())


@pytest.mark.parametrize("values", [{}, PURGED, EXPIRED, {"unsealed_entries": 5}])
def test_where_nothing_can_be_done_nothing_is_due(values: dict[str, Any]) -> None:
    found = due_among(services(), [facts(values)])
    assert (found.archive, found.purge) == ((), ())


def test_a_verified_day_is_due_for_the_purge_when_the_grace_has_passed() -> None:
    in_grace = facts(VERIFIED, last_verified_at=NOW - timedelta(days=7) + timedelta(microseconds=1))
    assert due_among(services(), [facts(VERIFIED)]).purge == (DAY,)
    assert due_among(services(), [in_grace]).purge == ()
    assert due_among(services(audit_log_purge_grace_days=0), [in_grace]).purge == (DAY,)


def test_a_day_that_was_archived_early_stays_for_the_retention() -> None:
    young = TODAY - timedelta(days=50)
    verified_at = NOW - timedelta(days=40)
    assert due_among(services(), [facts(VERIFIED, day=young, last_verified_at=verified_at)]).purge == ()
    assert purge_due_at(services(), young, verified_at) == archive_due_at(services(), young)


def test_a_verified_day_with_late_entries_is_not_due_for_the_purge() -> None:
    assert due_among(services(), [facts(VERIFIED, unsealed_entries=1)]).purge == ()
    assert due_among(services(), [facts(VERIFIED, unarchived_segments=1)]).purge == ()


@given(
    st.builds(
        DayFacts,
        day=st.dates(TODAY - timedelta(days=120), TODAY),
        unarchived_segments=st.integers(0, 1),
        unsealed_entries=st.integers(0, 1),
        parts=st.integers(0, 3),
        verified_parts=st.integers(0, 3),
        purged_parts=st.integers(0, 3),
        last_verified_at=st.just(NOW - timedelta(days=8)) | st.just(NOW),
    )
)
def test_no_day_is_due_for_two_things_at_once(found: DayFacts) -> None:
    ordered = replace(found, verified_parts=min(found.verified_parts, found.parts))
    due = due_among(services(), [ordered])
    assert not (due.archive and due.purge)


def test_next_comes_what_is_due_first_and_of_the_oldest_day() -> None:
    days = [
        facts(SEALED, day=TODAY - timedelta(days=10)),
        facts(VERIFIED, last_verified_at=NOW - timedelta(days=1)),
        facts(PURGED, day=TODAY - timedelta(days=200)),
    ]
    assert next_due_among(services(), days) == NextDue("purge", DAY, NOW + timedelta(days=6))
    assert next_due_among(services(), days[:1]) == NextDue(
        "archive", TODAY - timedelta(days=10), datetime(2026, 12, 30, tzinfo=UTC)
    )
    assert next_due_among(services(), days[2:]) is None


def test_a_held_day_is_not_next_for_the_purge_but_for_the_archive_it_is() -> None:
    younger = facts(VERIFIED, day=DAY + timedelta(days=1), last_verified_at=NOW - timedelta(days=1))
    days = [facts(VERIFIED), younger]
    assert next_due_among(services(), days) == NextDue("purge", DAY, NOW)
    assert next_due_among(services(), days, {DAY}) == NextDue("purge", younger.day, NOW + timedelta(days=6))
    assert next_due_among(services(), days, {DAY, younger.day}) is None
    assert next_due_among(services(), [facts(SEALED)], {DAY}) == NextDue(
        "archive", DAY, archive_due_at(services(), DAY)
    )
