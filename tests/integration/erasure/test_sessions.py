"""Sessions of both kinds go by their own field, nobody else's go along, and what cannot be told is said."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError

from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.record import NewRequest, State, record_request
from compliance_pipelines.erasure.runner import run_request
from compliance_pipelines.erasure.sessions import SessionTarget, session_targets
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.settings import Settings
from tests.integration.erasure.server_writes import log_in, play
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from tests.integration.erasure.application import Application

UUID = "7b0c9c9e-1f0a-4c38-9f39-0d1e2f3a4b5c"


def target(redis: Redis, **options: tuple[str, ...]) -> SessionTarget:
    return SessionTarget(redis, "redis://test", **options)  # type: ignore[arg-type]


def erase(redis: Redis, user_id: str) -> dict[str, int]:
    sessions = target(redis)
    return dict(sessions.delete(user_id, sessions.find(user_id).items))


def reported(redis: Redis, user_id: str) -> dict[str, bool]:
    return {each.reference: each.is_theirs for each in target(redis).find(user_id).reported}


def keys(redis: Redis) -> set[bytes]:
    return set(redis.scan_iter(match="*session*"))


# Sessions of logins


def test_all_sessions_and_the_list_of_the_person_go(application: Application) -> None:
    for user_id in ("alice", "Alice", "alice,bob", "al*ce", "alice:x"):
        application.log_in(user_id)
        application.log_in(user_id)
    assert erase(application.redis, "al*ce") == {"sessions": 2, "session_lists": 1}
    assert target(application.redis).rescan("al*ce").items == ()
    assert len(application.keys("session:*")) == 8
    assert len(application.keys("user_sessions:*")) == 4


def test_a_session_that_its_list_lost_is_found(application: Application) -> None:
    application.log_in("alice")
    application.redis.delete("user_sessions:alice")
    assert erase(application.redis, "alice") == {"sessions": 1}


def test_a_session_of_somebody_else_in_the_list_stays(application: Application) -> None:
    theirs = application.log_in("bob")
    application.redis.rpush("user_sessions:alice", theirs)
    assert erase(application.redis, "alice") == {"session_lists": 1}
    assert application.keys("session:*") == {f"session:{theirs}".encode()}


def test_a_session_carries_the_days_on_which_it_was_used(application: Application) -> None:
    session = application.log_in("alice", when=datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
    application.redis.hset(f"session:{session}", "last_accessed", "2026-03-03T00:30:00+02:00")
    found = [item for item in target(application.redis).find("alice").items if item.data_type == "sessions"]
    assert [(item.first_day, item.last_day) for item in found] == [(date(2026, 3, 1), date(2026, 3, 2))]


def test_more_sessions_than_one_batch_all_go(application: Application) -> None:
    pipeline = application.redis.pipeline(transaction=False)
    for number in range(3_000):
        pipeline.hset(f"session:{number}", mapping={"user_id": "alice" if number % 2 else "bob"})
    pipeline.execute()
    assert erase(application.redis, "alice") == {"sessions": 1_500}
    assert len(application.keys("session:*")) == 1_500


@pytest.mark.parametrize("kind", ["list", "set", "zset"])
def test_the_list_of_the_persons_sessions_goes_whatever_it_is_stored_as(redis: Redis, kind: str) -> None:
    match kind:
        case "list":
            redis.rpush("user_sessions:alice", "1")
        case "set":
            redis.sadd("user_sessions:alice", "1")
        case _:
            redis.zadd("user_sessions:alice", {"1": 1})
    redis.rpush("user_sessions:alice:x", "2")
    assert erase(redis, "alice") == {"session_lists": 1}
    assert keys(redis) == {b"user_sessions:alice:x"}


def test_what_begins_like_the_persons_list_and_is_no_list_is_reported_as_theirs(redis: Redis) -> None:
    for user_id in ("al*ce", "alice"):
        redis.rpush(f"user_sessions:{user_id}:x", "1")
        redis.set(f"user_sessions:{user_id}:last", "2026-03-01")
    assert reported(redis, "alice") == {"user_sessions:alice:last": True}
    assert reported(redis, "al*ce") == {"user_sessions:al*ce:last": True}
    assert reported(redis, "al") == {}


# Sessions of the playground


def test_both_copies_of_a_playground_session_go_and_nobody_elses(redis: Redis) -> None:
    users = ("alice", "Alice", "alice:x", "user:alice", "user", "al*ce", "alice,bob", "ålice", 'al"ice')
    for user_id in users:
        play(redis, user_id)
        log_in(redis, user_id)
    for number, user_id in enumerate(users):
        assert erase(redis, user_id) == {"sessions": 3, "session_lists": 1}
        assert target(redis).rescan(user_id).reported == ()
        assert len(keys(redis)) == 4 * (len(users) - number - 1)


def test_a_playground_session_carries_the_days_on_which_it_was_used(redis: Redis) -> None:
    play(redis, "alice", when=datetime(2026, 3, 1, tzinfo=UTC), used=datetime(2026, 3, 4, tzinfo=UTC))
    days = {(item.first_day, item.last_day) for item in target(redis).find("alice").items}
    assert days == {(date(2026, 3, 1), date(2026, 3, 4))}


def test_a_session_of_a_user_whose_id_begins_like_the_persons_is_not_theirs(redis: Redis) -> None:
    # The name alone could be a session `x:{id}` of alice.
    redis.set(f"session:user:alice:x:{UUID}", json.dumps({"user_id": "alice:x", "messages": []}))
    assert target(redis).find("alice") == target(redis).find("nobody")
    assert erase(redis, "alice:x") == {"sessions": 1}


def test_a_session_without_a_user_is_nobodys(redis: Redis) -> None:
    session = play(redis, None)
    assert reported(redis, "alice") == {f"session:{session}": False}
    target(redis).rescan("alice")


@pytest.mark.parametrize("user_id", [42, "42"])
def test_a_number_is_the_user_that_it_is_written_as(redis: Redis, user_id: object) -> None:
    redis.set("session:1", json.dumps({"user_id": user_id}))
    redis.set("session:2", json.dumps({"user_id": "042"}))
    assert erase(redis, "42") == {"sessions": 1}
    assert keys(redis) == {b"session:2"}


# What contradicts itself, or says nothing


def test_a_session_whose_name_says_another_user_than_it_does_inside_is_left_to_a_human(redis: Redis) -> None:
    redis.set(f"session:user:alice:{UUID}", json.dumps({"user_id": "bob"}))
    for user_id in ("alice", "bob"):
        assert reported(redis, user_id) == {f"session:user:alice:{UUID}": True}
        assert target(redis).find(user_id).items == ()
    assert reported(redis, "carol") == {}


@pytest.mark.parametrize(
    "content",
    [
        {"messages": []},
        {"user_id": None},
        {"user_id": ""},
        {"user": "bob"},
    ],
)
def test_a_shape_that_nobody_knows_under_the_persons_name_is_reported_as_theirs(
    redis: Redis, content: dict[str, object]
) -> None:
    redis.set(f"session:user:alice:{UUID}", json.dumps(content))
    redis.hset("session:user:alice:hash", mapping={"theme": "dark"})
    found = reported(redis, "alice")
    assert found == {f"session:user:alice:{UUID}": True, "session:user:alice:hash": True}
    assert reported(redis, "carol") == {}


@pytest.mark.parametrize(
    "content",
    [
        {"user": "alice"},
        {"owner": {"id": "alice"}},
        {"members": ["bob", "alice"]},
        {"alice": {"role": "owner"}},
        ["alice"],
        "alice",
    ],
)
def test_a_session_that_names_the_person_elsewhere_is_reported_as_theirs(redis: Redis, content: object) -> None:
    redis.set("session:1", json.dumps(content))
    redis.hset("session:2", mapping={"metadata": json.dumps(content)})
    assert reported(redis, "alice") == {"session:1": True, "session:2": True}
    assert reported(redis, "carol") == {"session:1": False, "session:2": False}


def test_what_a_late_reader_leaves_of_an_expired_session_is_nobodys(redis: Redis) -> None:
    # The server reads a session and then notes when: if it expired in between, this is made anew, without an end.
    redis.hset("session:gone", "last_accessed", "2026-03-01T00:00:00+00:00")
    assert reported(redis, "alice") == {"session:gone": False}
    target(redis).rescan("alice")


# What cannot be read


UNREADABLE: dict[str, tuple[bytes | str | float, ...]] = {
    "list": ("RPUSH", "KEY", "alice"),
    "set": ("SADD", "KEY", "alice"),
    "sorted set": ("ZADD", "KEY", 1, "alice"),
    "stream": ("XADD", "KEY", "*", "user_id", "alice"),
    "json document": ("JSON.SET", "KEY", "$", '{"user_id": "alice"}'),
    "no json": ("SET", "KEY", b"\x80\x04\x95pickled"),
    "half of it": ("SET", "KEY", '{"user_id": "alice"'),
    "two users": ("SET", "KEY", '{"user_id": "bob", "user_id": "alice"}'),
    "a list of users": ("SET", "KEY", '{"user_id": ["bob"]}'),
    "an object as user": ("SET", "KEY", '{"user_id": {"id": "bob"}}'),
    "nested too deeply": ("SET", "KEY", "[" * 100_000),
}


def put_unreadable(redis: Redis, key: str, kind: str) -> None:
    execute(redis, *(key if part == "KEY" else part for part in UNREADABLE[kind]))


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_reported_and_nobody_says_that_nothing_is_left(redis: Redis, kind: str) -> None:
    put_unreadable(redis, "session:odd", kind)
    assert target(redis).find("alice").items == ()
    assert reported(redis, "alice") == {"session:odd": False}
    with pytest.raises(TargetError, match=r"1 keys could not be read.*session:odd: unreadable"):
        target(redis).rescan("alice")


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_under_a_persons_name_is_theirs_and_nobody_elses(redis: Redis, kind: str) -> None:
    put_unreadable(redis, f"session:user:alice:{UUID}", kind)
    assert reported(redis, "alice") == {f"session:user:alice:{UUID}": True}
    assert target(redis).rescan("alice").items == ()
    assert reported(redis, "carol") == {}
    target(redis).rescan("carol")


def test_other_softwares_keys_are_left_out_where_a_person_says_so_and_the_record_has_it(redis: Redis) -> None:
    put_unreadable(redis, "session:web:1", "no json")
    put_unreadable(redis, "session:odd", "no json")
    found = target(redis, foreign=("session:web:",)).find("alice")
    assert [each.reference for each in found.reported] == ["session:odd"]
    assert found.notes == ("1 keys were not looked at: GDPR_FOREIGN_KEYS says that they are other software's",)


@pytest.mark.parametrize(
    ("name", "state", "result"),
    [
        ("session:odd", State.PARTIAL, None),
        (f"session:user:user:alice:{UUID}", State.CLOSED, "partial"),
        (f"session:user:user:bob:{UUID}", State.CLOSED, "success"),
    ],
)
def test_a_request_is_not_a_success_while_something_of_the_person_may_be_unread(
    services: Services, application: Application, name: str, state: State, result: str | None
) -> None:
    log_in(application.redis, "user:alice")
    put_unreadable(application.redis, name, "no json")
    case, _ = record_request(services, NewRequest("user:alice", "gdpr_article_17_user_request", "support"))
    case = run_request(services, session_targets(services.settings), case.request.id)
    assert case.state is state
    assert (case.closure and case.closure.result) == result
    assert keys(application.redis) == {name.encode()}
    if state is State.PARTIAL:
        application.redis.delete(name)
        assert run_request(services, session_targets(services.settings), case.request.id).state is State.CLOSED


def test_a_hold_on_a_conversation_keeps_the_playgrounds_session_in_which_it_is_held(
    services: Services, application: Application
) -> None:
    # The playground runs its agent under the session's id.
    held, free = play(application.redis, "user:alice"), play(application.redis, "user:alice")
    hold = add_hold(services, NewHold(HoldScope.THREAD, "case 7", "counsel", subject=held)).hold
    case, _ = record_request(services, NewRequest("user:alice", "gdpr_article_17_user_request", "support"))
    assert run_request(services, session_targets(services.settings), case.request.id).state is State.HELD
    assert keys(application.redis) == {f"session:{held}".encode(), f"session:user:user:alice:{held}".encode()}
    assert not application.redis.exists(f"session:{free}")
    release_hold(services, hold.id, reason="closed", author="judge")
    assert run_request(services, session_targets(services.settings), case.request.id).state is State.CLOSED
    assert keys(application.redis) == set()


user_ids = st.text(st.sampled_from("ab:-å "), min_size=1, max_size=4) | st.sampled_from(
    ["user", "user:alice", "user:alice:x", "alice", "session", "user:user"]
)


@given(users=st.lists(user_ids, min_size=1, max_size=5, unique=True))
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_ids_are_a_persons_sessions_go_and_nobody_elses(redis: Redis, users: list[str]) -> None:
    redis.flushdb()
    written: dict[str, set[bytes]] = {}
    for user_id in users:
        played, logged = play(redis, user_id), log_in(redis, user_id)
        names = (
            f"session:{played}",
            f"session:user:{user_id}:{played}",
            f"session:{logged}",
            f"user_sessions:{user_id}",
        )
        written[user_id] = {name.encode() for name in names}
    for user_id in users:
        assert target(redis).find(user_id).reported == ()
        assert sum(erase(redis, user_id).values()) == 4
        del written[user_id]
        assert keys(redis) == set().union(*written.values())


@pytest.mark.parametrize("command", ["get", "hmget", "hgetall", "type", "scan"])
def test_a_refused_command_is_an_error_and_not_an_empty_store(
    redis: Redis, redis_server: EmbeddedRedis, command: str
) -> None:
    play(redis, "alice")
    log_in(redis, "alice")
    redis.hset("session:gone", "last_accessed", "x")
    execute(redis, "ACL", "SETUSER", "restricted", "reset", "on", ">secret", "~*", "+@all", f"-{command}")
    try:
        url = f"redis://restricted:secret@127.0.0.1:{redis_server.port}/0"
        with Redis.from_url(url) as restricted, pytest.raises(NoPermissionError):
            target(restricted).find("alice")
    finally:
        execute(redis, "ACL", "DELUSER", "restricted")


def test_a_session_that_became_somebody_elses_meanwhile_is_left(redis: Redis) -> None:
    sessions = target(redis)
    redis.set("session:1", json.dumps({"user_id": "alice"}))
    redis.hset("session:2", mapping={"user_id": "alice"})
    found = sessions.find("alice").items
    redis.set("session:1", json.dumps({"user_id": "bob"}))
    assert sessions.delete("alice", found) == {"sessions": 1}
    assert keys(redis) == {b"session:1"}


def test_a_redis_that_does_not_answer_is_an_error_and_not_an_empty_store() -> None:
    with pytest.raises(RedisConnectionError):
        SessionTarget(connect_url("redis://127.0.0.1:1"), "redis://test").find("alice")


def test_the_playgrounds_redis_is_a_target_of_its_own_unless_it_is_the_same() -> None:
    one, other = SecretStr("redis://localhost:1/0"), SecretStr("redis://localhost:1/2")

    def named(sessions: SecretStr | None, playground: SecretStr | None) -> list[tuple[str, str]]:
        settings = Settings(_env_file=None, gdpr_session_redis_url=sessions, gdpr_playground_redis_url=playground)
        return [(target.name, target.location) for target in session_targets(settings)]

    assert named(None, None) == []
    assert named(one, one) == [("sessions", "redis://localhost:1/0")]
    assert named(one, other) == [
        ("sessions", "redis://localhost:1/0"),
        ("playground_sessions", "redis://localhost:1/2"),
    ]
    assert named(None, other) == [("playground_sessions", "redis://localhost:1/2")]
