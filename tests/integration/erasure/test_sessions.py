"""Sessions go by their own field, not by their list, and nobody else's go along."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.erasure.sessions import SessionTarget

if TYPE_CHECKING:
    from tests.integration.erasure.application import Application


def target(application: Application) -> SessionTarget:
    return SessionTarget(application.redis, "redis://test")


def erase(application: Application, user_id: str) -> dict[str, int]:
    sessions = target(application)
    return dict(sessions.delete(user_id, sessions.find(user_id).items))


def test_all_sessions_and_the_list_of_the_person_go(application: Application) -> None:
    for user_id in ("alice", "Alice", "alice,bob", "al*ce", "alice:x"):
        application.log_in(user_id)
        application.log_in(user_id)
    assert erase(application, "al*ce") == {"sessions": 2, "session_lists": 1}
    assert target(application).rescan("al*ce").items == ()
    assert len(application.keys("session:*")) == 8
    assert len(application.keys("user_sessions:*")) == 4


def test_a_session_that_its_list_lost_is_found(application: Application) -> None:
    application.log_in("alice")
    application.redis.delete("user_sessions:alice")
    assert erase(application, "alice") == {"sessions": 1}


def test_a_session_of_somebody_else_in_the_list_stays(application: Application) -> None:
    theirs = application.log_in("bob")
    application.redis.rpush("user_sessions:alice", theirs)
    assert erase(application, "alice") == {"session_lists": 1}
    assert application.keys("session:*") == {f"session:{theirs}".encode()}


def test_a_session_carries_the_days_on_which_it_was_used(application: Application) -> None:
    session = application.log_in("alice", when=datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
    application.redis.hset(f"session:{session}", "last_accessed", "2026-03-03T00:30:00+02:00")
    found = [item for item in target(application).find("alice").items if item.data_type == "sessions"]
    assert [(item.first_day, item.last_day) for item in found] == [(date(2026, 3, 1), date(2026, 3, 2))]


def test_a_key_that_is_no_hash_is_reported_and_left(application: Application) -> None:
    application.redis.set("session:odd", "alice")
    found = target(application).find("alice")
    assert found.items == ()
    assert [(each.reference, each.is_theirs) for each in found.reported] == [("session:odd", False)]


def test_more_sessions_than_one_batch_all_go(application: Application) -> None:
    pipeline = application.redis.pipeline(transaction=False)
    for number in range(3_000):
        pipeline.hset(f"session:{number}", mapping={"user_id": "alice" if number % 2 else "bob"})
    pipeline.execute()
    assert erase(application, "alice") == {"sessions": 1_500}
    assert len(application.keys("session:*")) == 1_500


def test_a_redis_that_does_not_answer_is_an_error_and_not_an_empty_store() -> None:
    with pytest.raises(RedisConnectionError):
        SessionTarget(connect_url("redis://127.0.0.1:1"), "redis://test").find("alice")
