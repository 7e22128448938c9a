"""Recording a request: who asks, when, and what nobody changes afterwards."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.erasure.errors import ErasureError
from compliance_pipelines.erasure.record import (
    EventKind,
    NewRequest,
    all_cases,
    record_request,
)
from compliance_pipelines.postgres.locks import transaction_lock
from tests.integration.erasure.asking import ALICE, ask, erase
from tests.integration.erasure.flaky import Shelf

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock


def test_a_person_has_one_open_request_at_a_time(services: Services) -> None:
    first, new = record_request(services, NewRequest(ALICE, "asked", "support"))
    again, newer = record_request(services, NewRequest(ALICE, "asked again", "support"))
    assert (new, newer, again.request) == (True, False, first.request)
    (asked,) = again.events
    assert (asked.kind, asked.detail["reason"], asked.detail["requested_by"]) == (
        EventKind.ASKED_AGAIN,
        "asked again",
        "support",
    )
    erase(services, first, Shelf())
    later, newest = record_request(services, NewRequest(ALICE, "asked later", "support"))
    assert newest
    assert later.request.id != first.request.id
    with services.engine.connect() as connection:
        assert [case.request.reason for case in all_cases(connection, user_id=ALICE)] == ["asked", "asked later"]


def test_two_requests_at_the_same_moment_become_one(services: Services) -> None:
    answers: list[bool] = []

    def record() -> None:
        answers.append(record_request(services, NewRequest(ALICE, "asked", "support"))[1])

    threads = [threading.Thread(target=record) for _ in range(2)]
    with services.engine.begin() as connection:
        transaction_lock(connection, "erasure.requests", doing="the test")
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == [False, True]
    with services.engine.connect() as connection:
        assert len(all_cases(connection)) == 1


def test_recording_a_request_appends_an_audit_entry(services: Services) -> None:
    case = ask(services)
    with services.engine.connect() as connection:
        metadata = connection.execute(
            text("SELECT metadata FROM audit_logs WHERE action = 'erasure.request'")
        ).scalar_one()
    assert metadata["user_id"] == ALICE
    assert metadata["deadline"] == case.request.deadline.isoformat()


@pytest.mark.parametrize(
    "values",
    [
        {"user_id": ""},
        {"reason": " "},
        {"requested_by": ""},
        {"user_id": "a\0b"},
        {"user_id": "\ud800"},
        {"user_id": "é" * 1025},
        {"received_at": datetime(2026, 1, 1)},  # noqa: DTZ001 - the point
    ],
)
def test_a_request_that_cannot_be_kept_is_refused_before_it_is_recorded(values: dict[str, Any]) -> None:
    with pytest.raises(ErasureError):
        NewRequest(**{"user_id": ALICE, "reason": "asked", "requested_by": "support", **values})


def test_a_request_cannot_have_been_received_in_the_future(services: Services, clock: MovableClock) -> None:
    with pytest.raises(ErasureError, match="has not come yet"):
        ask(services, received_at=clock() + timedelta(hours=1))


def test_the_deadline_counts_from_the_day_on_which_the_person_asked(services: Services) -> None:
    case = ask(services, received_at=datetime(2026, 1, 31, 23, 30, tzinfo=UTC))
    assert case.request.deadline == date(2026, 2, 28)


def test_nobody_changes_or_removes_the_record(services: Services, superuser_engine: sqlalchemy.Engine) -> None:
    erase(services, ask(services), Shelf().put("a"))
    for table, column in (("erasure_requests", "reason"), ("erasure_events", "kind"), ("erasure_closures", "result")):
        for statement in (f"UPDATE {table} SET {column} = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(DBAPIError, match="append-only"), superuser_engine.begin() as connection:
                connection.execute(text(statement))


def test_an_auditor_sees_that_requests_are_answered_in_time_and_not_whose_they_are(
    services: Services, reader_database_url: str
) -> None:
    from compliance_pipelines.postgres.engine import create_engine  # noqa: PLC0415

    erase(services, ask(services), Shelf())
    reader = create_engine(reader_database_url, pool_size=1)
    with reader.connect() as connection:
        assert connection.execute(text("SELECT id, deadline FROM erasure_requests")).all()
        assert connection.execute(text("SELECT kind, target FROM erasure_events")).all()
        assert connection.execute(text("SELECT result, log_entry_id FROM erasure_closures")).all()
    for column, table in (
        ("user_id", "erasure_requests"),
        ("detail", "erasure_events"),
        ("statement", "erasure_closures"),
    ):
        with reader.connect() as connection, pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text(f"SELECT {column} FROM {table}"))
    reader.dispose()
