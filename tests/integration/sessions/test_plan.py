"""What is idle for its period is due; what is held, exempt, undated or in use stays, and is said."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from compliance_pipelines.sessions.errors import SessionError
from tests.integration.erasure.server_writes import log_in, play, remember_in_javascript
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from compliance_pipelines.sessions.plan import SessionPlan
    from tests.integration.sessions.conftest import World

DAY = 86_400


def due(plan: SessionPlan) -> list[tuple[str, str | None]]:
    return sorted(((key.kind.value, key.owner) for key in plan.due), key=lambda pair: (pair[0], pair[1] or ""))


def test_what_was_not_used_for_its_period_is_due_wherever_it_lies(world: World) -> None:
    log_in(world.sessions, "user:alice", when=world.ago(200), used=world.ago(91), seconds=400 * DAY)
    log_in(world.sessions, "user:bob", when=world.ago(200), used=world.ago(89), seconds=400 * DAY)
    play(world.playground, "user:alice", when=world.ago(92), seconds=400 * DAY)
    play(world.playground, None, when=world.ago(92), seconds=400 * DAY)
    remember_in_javascript(world.memories, ("memories", "user:alice"), "old", when=world.ago(366))
    remember_in_javascript(world.memories, ("memories", "user:alice"), "new", when=world.ago(364))
    before = [world.names(each) for each in (world.sessions, world.memories, world.playground)]
    plan = world.retention().plan()
    assert due(plan) == [
        ("login_session", "user:alice"),
        ("memory", "user:alice"),
        ("memory_vector", "user:alice"),
        ("playground_session", None),
        ("playground_session", "user:alice"),
        ("playground_session", "user:alice"),
    ]
    assert (plan.counts.sessions, plan.counts.memories, plan.counts.unreadable) == (5, 4, 0)
    assert plan.seconds_past_cutoff == pytest.approx(2 * DAY, abs=1)
    assert before == [world.names(each) for each in (world.sessions, world.memories, world.playground)]
    assert world.sessions.zcard("nothing") == 0


def test_the_moment_that_counts_is_the_start_of_the_day_in_a_backfill(world: World) -> None:
    log_in(world.sessions, "user:alice", when=world.ago(91), seconds=400 * DAY)
    assert due(world.retention().plan(now=world.ago(1.5))) == []
    assert len(due(world.retention().plan(now=world.ago(0.5)))) == 1


def test_without_a_period_memories_stay(world: World) -> None:
    remember_in_javascript(world.memories, ("memories", "user:alice"), "old", when=world.ago(4_000))
    plan = world.retention(memory_retention_days=None).plan()
    assert (due(plan), plan.counts.memories) == ([], 0)


def test_what_says_nowhere_when_it_was_used_stays_and_is_said(world: World) -> None:
    world.sessions.hset("session:1", mapping={"user_id": "user:alice", "created_at": "yesterday"})
    world.playground.set("session:2", json.dumps({"user_id": "user:alice"}))
    execute(world.memories, "JSON.SET", "store:3", "$", json.dumps({"prefix": "user\\:alice", "key": "x"}))
    plan = world.retention().plan()
    assert due(plan) == []
    assert sorted(key.key.decode() for key in plan.undated) == ["session:1", "session:2", "store:3"]
    assert plan.seconds_past_cutoff is None


def test_a_time_in_the_future_is_not_due(world: World) -> None:
    log_in(world.sessions, "user:alice", when=world.ago(200), used=world.ago(-200), seconds=400 * DAY)
    assert due(world.retention().plan()) == []


def test_what_cannot_be_read_stays_and_is_counted(world: World) -> None:
    world.sessions.rpush("session:1", "x")
    world.sessions.set("session:2", "pickled")
    world.memories.set("store:3", "x")
    plan = world.retention().plan()
    assert (due(plan), plan.counts.unreadable) == ([], 3)
    plan = world.retention(gdpr_foreign_keys=("session:1", "session:2", "store:3")).plan()
    assert (plan.counts.unreadable, plan.counts.foreign) == (0, 3)


def test_what_a_late_reader_left_of_an_expired_session_falls_due_like_any_other(world: World) -> None:
    world.sessions.hset("session:1", "last_accessed", world.ago(100).isoformat())
    assert due(world.retention().plan()) == [("login_session", None)]


@pytest.mark.parametrize(
    ("hold", "stay"),
    [
        (NewHold(HoldScope.USER, "case 7", "counsel", subject="user:alice"), {"user:alice", None}),
        (NewHold(HoldScope.EVERYTHING, "case 7", "counsel"), {"user:alice", "user:bob", None}),
        (NewHold(HoldScope.THREAD, "case 7", "counsel", subject="another's"), set()),
    ],
)
def test_what_a_hold_covers_stays_and_doubt_counts_as_a_hold(
    world: World, hold: NewHold, stay: set[str | None]
) -> None:
    for user_id in ("user:alice", "user:bob"):
        log_in(world.sessions, user_id, when=world.ago(100), seconds=400 * DAY)
        remember_in_javascript(world.memories, ("memories", user_id), "tea", when=world.ago(400), vector=False)
    play(world.playground, None, when=world.ago(100), seconds=400 * DAY)
    remember_in_javascript(world.memories, ("teams", "7", "all"), "tea", when=world.ago(400), vector=False)
    add_hold(world.services, hold)
    plan = world.retention(gdpr_store_namespaces='[["memories", "{user_id}"]]').plan()
    assert {kept.key.owner for kept in plan.held} == stay
    assert {owner for _, owner in due(plan)} == {"user:alice", "user:bob", None} - stay
    assert len(plan.held) + len(plan.due) == 6
    assert all(kept.reason.endswith("case 7") for kept in plan.held)


def test_a_hold_on_a_session_by_its_id_and_one_on_days_keep_it(world: World) -> None:
    session = play(world.playground, "user:alice", when=world.ago(100), used=world.ago(95), seconds=400 * DAY)
    day = world.ago(97).date()
    assert len(world.retention().plan().due) == 2
    add_hold(world.services, NewHold(HoldScope.THREAD, "case 7", "counsel", subject=session))
    assert [kept.key.session_id for kept in world.retention().plan().held] == [session, session]
    play(world.playground, "user:alice", when=world.ago(100), used=world.ago(95), seconds=400 * DAY)
    assert len(world.retention().plan().due) == 2
    add_hold(world.services, NewHold(HoldScope.DAYS, "case 8", "counsel", first_day=day, last_day=day))
    assert len(world.retention().plan().held) == 4


def test_a_session_that_contradicts_itself_is_kept_by_a_hold_on_anybody(world: World) -> None:
    content = {"user_id": "user:bob", "updated_at": world.ago(100).isoformat()}
    world.playground.set("session:user:user:alice:1", json.dumps(content))
    assert due(world.retention().plan()) == [("playground_session", None)]
    add_hold(world.services, NewHold(HoldScope.USER, "case 7", "counsel", subject="user:carol"))
    assert due(world.retention().plan()) == []


def test_exempt_users_keep_theirs(world: World) -> None:
    for user_id in ("user:alice", "user:admin"):
        log_in(world.sessions, user_id, when=world.ago(100), seconds=400 * DAY)
    plan = world.retention(session_exempt_users=("user:admin",)).plan()
    assert due(plan) == [("login_session", "user:alice")]
    assert [(kept.key.owner, kept.reason) for kept in plan.exempt] == [("user:admin", "user user:admin is exempt")]


def test_a_redis_that_refuses_is_an_error_that_names_its_setting(world: World) -> None:
    log_in(world.sessions, "user:alice")
    url = world.services.settings.gdpr_session_redis_url
    assert url is not None
    host = url.get_secret_value().rpartition("@")[2]
    execute(world.sessions, "ACL", "SETUSER", "restricted", "reset", "on", ">secret", "~*", "+@all", "-hmget")
    try:
        restricted = type(url)(f"redis://restricted:secret@{host}")
        with pytest.raises(SessionError, match=r"GDPR_SESSION_REDIS_URL.*hmget") as raised:
            world.retention(gdpr_session_redis_url=restricted).plan()
    finally:
        execute(world.sessions, "ACL", "DELUSER", "restricted")
    assert "CHECKPOINT_REDIS_URL" not in str(raised.value)


def test_malformed_namespaces_stop_the_plan(world: World) -> None:
    with pytest.raises(TargetError, match="GDPR_STORE_NAMESPACES"):
        world.retention(gdpr_store_namespaces="[]").plan()


def test_a_database_that_several_settings_name_is_looked_at_once(world: World) -> None:
    play(world.sessions, None, when=world.ago(100), seconds=400 * DAY)
    url = world.services.settings.gdpr_session_redis_url
    one = dict.fromkeys(("gdpr_playground_redis_url", "gdpr_store_redis_url"), url)
    retention = world.retention(**one)
    assert [(each.setting, each.has_sessions, each.has_memories) for each in retention.places] == [
        ("GDPR_SESSION_REDIS_URL", True, True)
    ]
    assert len(retention.plan().due) == 1


def test_the_plan_as_json_says_what_would_go_and_why_the_rest_stays(world: World) -> None:
    session = log_in(world.sessions, "user:alice", when=world.ago(100), seconds=400 * DAY)
    log_in(world.sessions, "user:admin", when=world.ago(100), seconds=400 * DAY)
    shown = world.retention(session_exempt_users=("user:admin",)).plan().as_json()
    assert shown["keys"] == [
        {
            "redis": "GDPR_SESSION_REDIS_URL",
            "key": f"session:{session}",
            "kind": "login_session",
            "user": "user:alice",
            "last_used": world.ago(100).isoformat(),
        }
    ]
    assert shown["session_cutoff"] == (world.services.clock() - timedelta(days=90)).isoformat()
    assert len(shown["exempt"]) == 1
    json.dumps(shown)
