"""The tables of holds and erasures come and go, and never with a record in them unless somebody insists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from compliance_pipelines.audit_log.migrate import downgrade, upgrade
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.postgres.engine import create_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

BEFORE_DECISIONS: Final = "0008"
REQUEST: Final = text(
    "INSERT INTO erasure_requests (user_id, reason, requested_by, received_at, deadline)"
    " VALUES ('u', 'asked', 'support', now(), current_date + 30)"
)
WITHDRAWAL: Final = text("INSERT INTO erasure_events (request_id, attempt, kind) VALUES (1, 0, 'withdrawn')")
TABLES = {"legal_holds", "legal_hold_releases", "erasure_requests", "erasure_events", "erasure_closures"}


@pytest.fixture
def administrator(database_url: str) -> Iterator[sqlalchemy.Engine]:
    engine = create_engine(database_url, pool_size=1)
    yield engine
    engine.dispose()


def tables(engine: sqlalchemy.Engine) -> set[str]:
    with engine.connect() as connection:
        found = set(connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars())
    return found & TABLES


def test_an_empty_record_goes_with_a_downgrade_and_comes_back_with_an_upgrade(
    database_url: str, administrator: sqlalchemy.Engine
) -> None:
    downgrade(database_url, "0002")
    assert tables(administrator) == set()
    upgrade(database_url)
    assert tables(administrator) == TABLES


@pytest.mark.parametrize(
    "row",
    [
        "INSERT INTO legal_holds (scope, reason, author) VALUES ('everything', 'case 7', 'counsel')",
        (
            "INSERT INTO erasure_requests (user_id, reason, requested_by, received_at, deadline)"
            " VALUES ('u', 'asked', 'support', now(), current_date + 30)"
        ),
    ],
)
def test_a_downgrade_that_would_destroy_a_record_is_refused_unless_it_is_asked_for(
    database_url: str, administrator: sqlalchemy.Engine, row: str
) -> None:
    with administrator.begin() as connection:
        connection.execute(text(row))
    with pytest.raises(ComplianceError, match="downgrade refused"):
        downgrade(database_url, "0002")
    assert tables(administrator) == TABLES
    downgrade(database_url, "0002", destroy_audit_trail=True)
    assert tables(administrator) == set()


NONSENSE: Final = (
    "INSERT INTO legal_holds (scope, reason, author) VALUES ('user', 'case 7', 'counsel')",
    "INSERT INTO legal_holds (scope, subject, reason, author) VALUES ('everything', 'u', 'case 7', 'counsel')",
    "INSERT INTO legal_holds (scope, first_day, reason, author) VALUES ('days', '2026-03-01', 'case 7', 'counsel')",
    (
        "INSERT INTO legal_holds (scope, first_day, last_day, reason, author)"
        " VALUES ('days', '2026-03-02', '2026-03-01', 'case 7', 'counsel')"
    ),
    "INSERT INTO legal_holds (scope, reason, author) VALUES ('everything', ' ', 'counsel')",
    "INSERT INTO legal_holds (scope, reason, author) VALUES ('everything', 'case 7', '')",
    "INSERT INTO legal_holds (scope, reason, author) VALUES ('anything', 'case 7', 'counsel')",
    (
        "INSERT INTO erasure_requests (user_id, reason, requested_by, received_at, deadline)"
        " VALUES ('', 'asked', 'support', now(), current_date + 30)"
    ),
    (
        "INSERT INTO erasure_requests (user_id, reason, requested_by, received_at, deadline)"
        " VALUES ('u', 'asked', 'support', 'infinity', current_date + 30)"
    ),
)


def test_the_database_itself_refuses_what_makes_no_sense(administrator: sqlalchemy.Engine) -> None:
    for row in NONSENSE:
        with pytest.raises(IntegrityError, match="violates check constraint"), administrator.begin() as connection:
            connection.execute(text(row))


@pytest.mark.parametrize(
    "row",
    [
        "INSERT INTO erasure_events (request_id, attempt, kind) VALUES (1, 0, 'started')",
        "INSERT INTO erasure_events (request_id, attempt, kind) VALUES (1, 1, 'found')",
        "INSERT INTO erasure_events (request_id, attempt, kind, target) VALUES (1, 0, 'withdrawn', 'sessions')",
        "INSERT INTO erasure_events (request_id, attempt, kind) VALUES (1, 1, 'forgotten')",
        (
            "INSERT INTO erasure_closures (request_id, result, log_entry_id, entry_timestamp, statement)"
            " VALUES (1, 'done', 'e', now(), '{}')"
        ),
    ],
)
def test_events_and_ends_that_make_no_sense_are_refused(administrator: sqlalchemy.Engine, row: str) -> None:
    with administrator.begin() as connection:
        connection.execute(REQUEST)
    with pytest.raises(IntegrityError, match="violates check constraint"), administrator.begin() as connection:
        connection.execute(text(row))


def test_decisions_are_not_taken_back_by_a_downgrade(database_url: str, administrator: sqlalchemy.Engine) -> None:
    with administrator.begin() as connection:
        connection.execute(REQUEST)
        connection.execute(
            text("INSERT INTO erasure_events (request_id, attempt, kind) VALUES (1, 1, 'started')"),
        )
    downgrade(database_url, BEFORE_DECISIONS)
    with pytest.raises(IntegrityError, match="violates check constraint"), administrator.begin() as connection:
        connection.execute(WITHDRAWAL)
    upgrade(database_url)
    with administrator.begin() as connection:
        connection.execute(WITHDRAWAL)
    with pytest.raises(ComplianceError, match="1 decisions and identifiers"):
        downgrade(database_url, BEFORE_DECISIONS)
    downgrade(database_url, BEFORE_DECISIONS, destroy_audit_trail=True)
    with administrator.connect() as connection:
        kinds = connection.execute(text("SELECT kind FROM erasure_events ORDER BY id")).scalars().all()
    assert kinds == ["started", "withdrawn"]
    upgrade(database_url)
