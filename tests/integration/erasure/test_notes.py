"""Notes on conversations go wherever they lie, and none goes that alone says whose a conversation is."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from redis import Redis

from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.notes import NoteTarget
from compliance_pipelines.erasure.record import Case, NewRequest, State, record_request
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.erasure.runner import run_request
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from tests.integration.erasure.server_writes import note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.integration.erasure.application import Application

ALICE = "user:alice"
BOB = "user:bob"


@pytest.fixture
def other(redis_server: EmbeddedRedis, redis: Redis) -> Iterator[Redis]:
    """Database 2, where the server keeps its notes; empty."""
    with Redis.from_url(redis_server.url().replace("/0", "/2")) as client:
        yield client


@pytest.fixture
def settings(settings: Settings, redis_server: EmbeddedRedis) -> Settings:
    """Checkpoints in database 0, notes in database 2, and nothing else."""
    return settings.model_copy(
        update={
            "gdpr_session_redis_url": None,
            "gdpr_store_redis_url": None,
            "gdpr_sql_targets": None,
            "gdpr_notes_redis_url": SecretStr(redis_server.url().replace("/0", "/2")),
        }
    )


def target(settings: Settings) -> NoteTarget:
    made = NoteTarget.from_settings(settings)
    assert made is not None
    return made


def erase(services: Services, user_id: str = ALICE) -> Case:
    case, _ = record_request(services, NewRequest(user_id, "gdpr_article_17_user_request", "support"))
    return run_request(services, configured_targets(services.settings), case.request.id)


def notes(redis: Redis) -> set[bytes]:
    return set(redis.scan_iter(match="conversation:*"))


def test_notes_in_another_database_than_the_checkpoints_go(
    services: Services, application: Application, other: Redis
) -> None:
    for user_id in (ALICE, BOB):
        application.converse(f"of {user_id}", user_id)
        note(other, f"of {user_id}", user_id)
        note(other, f"expired of {user_id}", user_id)
    case = erase(services)
    assert (case.state, case.closure and case.closure.result) == (State.CLOSED, "success")
    assert case.deleted() == {"conversations": 1, "conversation_notes": 2}
    assert notes(other) == {b"conversation:metadata:of user:bob", b"conversation:metadata:expired of user:bob"}
    assert len(application.keys("checkpoint:*")) == 2


@pytest.mark.parametrize("user_id", ["Alice", "alice:x", "user:alice ", "42"])
def test_a_note_belongs_to_exactly_whom_it_names(settings: Settings, other: Redis, user_id: str) -> None:
    for number, each in enumerate(("alice", "Alice", "alice:x", "user:alice", "user:alice ", 42)):
        note(other, str(number), each)  # type: ignore[arg-type]
    notes_target = target(settings)
    assert notes_target.delete(user_id, notes_target.find(user_id).items) == {"conversation_notes": 1}
    assert len(notes(other)) == 5


def test_a_note_carries_its_conversation_and_the_days_of_its_activity(settings: Settings, other: Redis) -> None:
    last = datetime(2026, 3, 4, tzinfo=UTC).timestamp()
    note(other, "a:b", ALICE, when=datetime(2026, 3, 1, tzinfo=UTC), last_activity=last)
    (item,) = target(settings).find(ALICE).items
    assert (item.thread_id, item.first_day, item.last_day) == ("a:b", date(2026, 3, 1), date(2026, 3, 4))


def test_a_note_that_alone_says_whose_a_conversation_is_stays_as_long_as_the_conversation(
    services: Services, application: Application, other: Redis
) -> None:
    application.converse("thread", None)
    key = note(other, "thread", ALICE)
    case = erase(services)
    assert case.closure is not None
    assert case.closure.result == "partial"
    kept = [each for each in json.loads(case.closure.statement)["kept"] if each["data_type"] == "conversation_notes"]
    assert [(each["references"], each["is_theirs"]) for each in kept] == [(["thread"], True)]
    assert notes(other) == {key}
    application.redis.flushdb()
    bind_redis(services)
    assert erase(services).deleted() == {"conversation_notes": 1}


def test_a_note_beside_the_checkpoints_goes_with_its_conversation_or_stays_with_it(
    services: Services, application: Application
) -> None:
    application.converse("whose only the note says", None)
    note(application.redis, "whose only the note says", ALICE)
    application.converse("shared", ALICE)
    application.converse("shared", BOB)
    note(application.redis, "shared", ALICE)
    case = erase(services)
    assert case.deleted() == {"conversations": 1}
    assert notes(application.redis) == {b"conversation:metadata:shared"}
    assert case.closure is not None
    assert case.closure.result == "partial"


def test_a_note_that_names_the_person_on_a_conversation_of_somebody_else_goes(
    services: Services, application: Application
) -> None:
    application.converse("of bob", BOB)
    note(application.redis, "of bob", ALICE)
    assert erase(services).deleted() == {"conversation_notes": 1}
    assert notes(application.redis) == set()
    assert application.keys("checkpoint:*")


def test_a_held_conversation_keeps_its_note(services: Services, application: Application, other: Redis) -> None:
    application.converse("thread", ALICE)
    key = note(other, "thread", ALICE)
    hold = add_hold(services, NewHold(HoldScope.THREAD, "case 7", "counsel", subject="thread"))
    assert erase(services).state is State.HELD
    assert notes(other) == {key}
    release_hold(services, hold.hold.id, reason="closed", author="judge")
    assert erase(services).deleted() == {"conversations": 1, "conversation_notes": 1}


def test_notes_are_looked_for_in_the_redis_of_the_sessions_too(
    services: Services, redis_server: EmbeddedRedis, other: Redis
) -> None:
    url = services.settings.gdpr_notes_redis_url
    settings = services.settings.model_copy(update={"gdpr_session_redis_url": url, "gdpr_notes_redis_url": None})
    note(other, "1", ALICE)
    assert len(target(settings).find(ALICE).items) == 1


def test_the_same_name_in_two_databases_is_two_notes(settings: Settings, redis: Redis, other: Redis) -> None:
    for client in (redis, other):
        note(client, "1", ALICE)
        client.rpush("conversation:metadata:odd", "x")
    without_checkpoints = settings.model_copy(
        update={"gdpr_session_redis_url": settings.checkpoint_redis_url, "checkpoint_redis_url": None}
    )
    notes_target = target(without_checkpoints)
    found = notes_target.find(ALICE)
    assert len(found.items) == len(found.reported) == 2
    assert notes_target.delete(ALICE, found.items) == {"conversation_notes": 2}


@pytest.mark.parametrize(
    "value", ["no json", "{", '{"user_id": ["bob"]}', '{"user_id": "bob", "user_id": "user:alice"}', None]
)
def test_a_note_that_cannot_be_read_may_be_anybodys(settings: Settings, other: Redis, value: str | None) -> None:
    if value is None:
        other.hset("conversation:metadata:1", mapping={"user_id": ALICE})
    else:
        other.set("conversation:metadata:1", value)
    found = target(settings).find(ALICE)
    assert [(each.reference, each.is_theirs) for each in found.reported] == [
        (f"conversation:metadata:1 in {target(settings).location.split(', ')[0]}", False)
    ]
    with pytest.raises(TargetError, match="1 keys could not be read"):
        target(settings).rescan(ALICE)


@pytest.mark.parametrize(
    ("key", "content"), [("1", {"owner": ALICE}), ("1", {"user_id": [ALICE]}), (f"{ALICE}:1", {"title": "x"})]
)
def test_a_note_that_names_the_person_elsewhere_is_reported_as_theirs(
    settings: Settings, other: Redis, key: str, content: dict[str, object]
) -> None:
    other.set(f"conversation:metadata:{key}", json.dumps(content))
    assert [each.is_theirs for each in target(settings).find(ALICE).reported] == [True]
    assert not any(each.is_theirs for each in target(settings).find(BOB).reported)


def test_a_note_that_became_somebody_elses_meanwhile_is_left(settings: Settings, other: Redis) -> None:
    key = note(other, "1", ALICE)
    notes_target = target(settings)
    found = notes_target.find(ALICE).items
    note(other, "1", BOB)
    assert notes_target.delete(ALICE, found) == {"conversation_notes": 0}
    assert notes(other) == {key}
