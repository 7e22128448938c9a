"""What is due goes, each key only if it is still as it was planned; the record says what went, and survives a kill."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from redis.cluster import RedisCluster
from sqlalchemy import text

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY, RedisEnvironmentError
from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from compliance_pipelines.postgres.agreed_time import ClocksDisagreeError
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.postgres.locks import process_lock
from compliance_pipelines.sessions import record
from compliance_pipelines.sessions.errors import SessionError, SessionPlanTooLargeError
from compliance_pipelines.sessions.places import open_places
from compliance_pipelines.sessions.purge import SessionRetention
from tests.integration.conversations.servers import running_cluster
from tests.integration.erasure.server_writes import log_in, play, remember_in_javascript
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from compliance_pipelines.services import Services
    from tests.integration.sessions.conftest import World

DAY = 86_400
LIFE = 400 * DAY


def fill(world: World) -> None:
    """Two sessions of logins, a session of the playground, a memory, all due; and one of each that is not."""
    for user_id, days in (("user:alice", 100), ("user:bob", 120), ("user:carol", 1)):
        log_in(world.sessions, user_id, when=world.ago(days), seconds=LIFE)
    for user_id, days in (("user:alice", 100), ("user:carol", 1)):
        play(world.playground, user_id, when=world.ago(days), seconds=LIFE)
    for user_id, days in (("user:alice", 400), ("user:carol", 1)):
        remember_in_javascript(world.memories, ("memories", user_id), "tea", when=world.ago(days))


def left(world: World) -> tuple[int, int, int]:
    return len(world.names(world.sessions)), len(world.names(world.memories)), len(world.names(world.playground))


KINDS = {"login_session": 2, "memory": 1, "memory_vector": 1, "playground_session": 2}


def test_what_is_due_goes_and_is_recorded_with_an_audit_entry(world: World) -> None:
    fill(world)
    report = world.retention().purge()
    # Beside carol's there is only her list: alice's and bob's went with their sessions.
    assert left(world) == (2, 2, 2)
    assert report.purged is not None
    assert report.purged.key_counts == KINDS
    assert (report.purged.keys_deleted, report.purged.keys_back, report.purged.keys_moved) == (6, 0, 0)
    assert report.purged.bytes_freed > 0
    assert report.purged.oldest_use == world.ago(400).replace(microsecond=world.ago(400).microsecond // 1000 * 1000)
    with world.services.engine.connect() as connection:
        (entry,) = connection.execute(
            text(
                "SELECT log_entry_id, user_id, result, resource_type, metadata FROM audit_logs WHERE action = :action"
            ),
            {"action": "sessions.purge"},
        )
        assert record.latest_sets(connection, 5) == [report.purged]
        assert connection.execute(text("SELECT count(*) FROM session_purge_work")).scalar_one() == 0
        rows = connection.execute(text("SELECT row_to_json(r)::text FROM session_purged_keys AS r")).scalars().all()
    assert (entry.log_entry_id, entry.result, entry.resource_type) == (
        report.purged.log_entry_id,
        "success",
        "session_set",
    )
    assert entry.metadata["key_counts"] == KINDS
    assert len(rows) == 6
    assert not any(name in row for row in rows for name in ("alice", "bob", "session:"))
    assert {key for key in world.sessions.scan_iter() if b"purge" in key} == set()


def test_nothing_that_is_recorded_can_be_changed(world: World) -> None:
    fill(world)
    world.retention().purge()
    for table in ("session_purges", "session_purged_keys", "session_purged_sets"):
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            with (
                pytest.raises(Exception, match=r"permission denied|append-only"),
                world.services.engine.begin() as each,
            ):
                each.execute(text(statement))


def between(world: World, change: Callable[[], object]) -> SessionRetention:
    """A retention in the middle of which, after the plan is frozen, something happens."""

    def hook(step: PurgeStep, /) -> None:
        if step is PurgeStep.ATTEMPT_NOTED:
            change()

    return world.retention(hook)


def test_a_session_that_somebody_uses_after_the_plan_stays(world: World) -> None:
    login = log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)
    other = log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)
    played = play(world.playground, "user:alice", when=world.ago(100), seconds=LIFE)

    def use() -> None:
        world.sessions.hset(f"session:{login}", "last_accessed", world.services.clock().isoformat())
        value = world.playground.get(f"session:{played}")
        assert isinstance(value, bytes)
        world.playground.set(f"session:{played}", value.replace(b"hello", b"hallo"), ex=LIFE)

    report = between(world, use).purge()
    assert report.purged is not None
    assert (report.purged.keys_deleted, report.purged.keys_moved) == (2, 2)
    assert world.names() == {f"session:{login}".encode(), b"user_sessions:user:alice"}
    assert world.sessions.lrange("user_sessions:user:alice", 0, -1) == [login.encode()]
    assert not world.sessions.exists(f"session:{other}")
    assert world.names(world.playground) == {f"session:{played}".encode()}


def test_a_session_of_another_form_under_the_same_name_stays(world: World) -> None:
    login = log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)

    def replace_it() -> None:
        world.sessions.delete(f"session:{login}")
        world.sessions.set(f"session:{login}", "something else")

    report = between(world, replace_it).purge()
    assert report.purged is not None
    assert (report.purged.keys_deleted, report.purged.keys_moved) == (0, 1)
    assert world.sessions.get(f"session:{login}") == b"something else"


def test_what_expired_meanwhile_is_gone_and_not_counted_as_removed(world: World) -> None:
    login = log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)
    report = between(world, lambda: world.sessions.delete(f"session:{login}")).purge()
    assert report.purged is not None
    assert (report.purged.keys_deleted, report.purged.keys_gone) == (0, 1)


def test_a_memory_that_was_written_anew_stays(world: World) -> None:
    old = remember_in_javascript(world.memories, ("memories", "user:alice"), "tea", when=world.ago(400), vector=False)
    now = int(world.services.clock().timestamp()) * 1_000_000
    report = between(world, lambda: execute(world.memories, "JSON.SET", f"store:{old}", "$.updated_at", now)).purge()
    assert report.purged is not None
    assert (report.purged.keys_deleted, report.purged.keys_moved) == (0, 1)


def test_a_hold_that_comes_after_the_plan_keeps_what_it_covers(world: World) -> None:
    fill(world)

    def hook(step: PurgeStep, /) -> None:
        if step is PurgeStep.FROZEN:
            add_hold(world.services, NewHold(HoldScope.USER, "case 7", "counsel", subject="user:alice"))

    report = world.retention(hook).purge()
    assert report.purged is not None
    assert (report.purged.keys_deleted, report.purged.keys_held) == (1, 5)


def test_what_comes_back_is_counted(world: World) -> None:
    login = log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)

    def hook(step: PurgeStep, /) -> None:
        if step is PurgeStep.OUTCOMES_RECORDED:
            world.sessions.hset(f"session:{login}", "last_accessed", "now")

    report = world.retention(hook).purge()
    assert report.purged is not None
    assert (report.purged.keys_deleted, report.purged.keys_back) == (1, 1)


@pytest.mark.parametrize("kind", ["set", "nothing"])
def test_a_list_of_another_type_or_none_is_in_nobodys_way(world: World, kind: str) -> None:
    log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)
    world.sessions.delete("user_sessions:user:alice")
    if kind == "set":
        world.sessions.sadd("user_sessions:user:alice", "x")
    report = world.retention().purge()
    assert report.purged is not None
    assert report.purged.keys_deleted == 1


def test_a_plan_larger_than_the_limit_removes_nothing_until_a_person_agrees(world: World) -> None:
    fill(world)
    with pytest.raises(SessionPlanTooLargeError, match="--confirm 6") as refused:
        world.retention(session_purge_max_keys=5).purge()
    assert (refused.value.planned, refused.value.seen) == (6, 11)
    with pytest.raises(SessionPlanTooLargeError, match="the 4 that were confirmed"):
        world.retention().purge(confirmed=4)
    assert left(world) == (6, 4, 4)
    report = world.retention(session_purge_max_keys=5).purge(confirmed=6)
    assert report.purged is not None
    assert report.purged.keys_deleted == 6


def test_a_dry_run_removes_nothing(world: World, tmp_path: Path) -> None:
    fill(world)
    policy = tmp_path / "retention_policies.yaml"
    for switch in ("dry_run: true", "enabled: false"):
        policy.write_text(f"global: {{{switch}}}\n")
        report = world.retention(retention_policy_file=policy).purge()
        assert report.purged is None
        assert left(world) == (6, 4, 4)


def test_a_wrong_clock_removes_nothing(world: World) -> None:
    fill(world)
    services = replace(
        world.services,
        settings=world.services.settings.model_copy(update={"compliance_local_stack": False}),
        clock=lambda: world.ago(-400),
    )
    retention = replace(world.retention(), services=services)
    with pytest.raises(ClocksDisagreeError):
        retention.purge()
    with pytest.raises(SessionError, match="future"):
        world.retention().purge(now=world.ago(-1))
    assert left(world) == (6, 4, 4)


def test_a_redis_whose_clock_is_wrong_removes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world)
    monkeypatch.setattr(
        "compliance_pipelines.sessions.places.redis_time",
        lambda _: world.services.clock() + timedelta(days=400),
    )
    with pytest.raises(ClocksDisagreeError, match="the Redis of GDPR_"):
        world.retention().purge()
    assert left(world) == (6, 4, 4)


def test_a_redis_of_another_environment_is_left_alone(world: World) -> None:
    fill(world)
    world.playground.set(ENVIRONMENT_KEY, "another")
    with pytest.raises(RedisEnvironmentError, match="GDPR_PLAYGROUND_REDIS_URL"):
        world.retention().purge()
    assert left(world) == (6, 4, 4)


@pytest.mark.usefixtures("impatient")
def test_two_purges_do_not_work_at_once(world: World) -> None:
    fill(world)
    with (
        world.services.engine.connect() as connection,
        process_lock(connection, "sessions", doing="a test"),
        pytest.raises(LockBusyError),
    ):
        world.retention().purge()
    assert left(world) == (6, 4, 4)


def test_a_server_that_is_away_is_passing_and_nothing_is_removed(world: World) -> None:
    fill(world)
    with pytest.raises(TransientError, match="GDPR_PLAYGROUND_REDIS_URL"):
        world.retention(gdpr_playground_redis_url=SecretStr("redis://127.0.0.1:1/0")).purge()
    assert left(world) == (6, 4, 4)


@pytest.mark.parametrize("command", ["memory|usage", "hincrby", "expire", "lrem", "unlink", "exists", "eval"])
def test_a_missing_right_removes_nothing_and_is_named(world: World, command: str) -> None:
    log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)
    url = world.services.settings.gdpr_session_redis_url
    assert url is not None
    host = url.get_secret_value().rpartition("@")[2]
    client = world.sessions
    execute(client, "ACL", "SETUSER", "restricted", "reset", "on", ">secret", "~*", "+@all", f"-{command}")
    try:
        restricted = SecretStr(f"redis://restricted:secret@{host}")
        with pytest.raises(SessionError, match="GDPR_SESSION_REDIS_URL"):
            world.retention(gdpr_session_redis_url=restricted).purge()
    finally:
        execute(client, "ACL", "DELUSER", "restricted")
    assert len(client.keys("session:*")) == 1
    finished = client.keys("*session*") and world.retention().purge()
    assert finished
    assert finished.purged is not None
    # Nothing is counted that the refused attempt did not remove, and nothing twice.
    assert [each.keys_deleted for each in (*finished.finished, finished.purged)] == [1, 0]
    assert client.keys("*session*") == []


def purge_in_a_process_that_dies(world: World, step: PurgeStep) -> None:
    """Fork, purge there with connections of its own, and die by SIGKILL after a step."""
    child = os.fork()
    if child == 0:
        try:

            def die(done: PurgeStep, /) -> None:
                if done is step:
                    os.kill(os.getpid(), signal.SIGKILL)

            engine = create_engine(world.services.settings.require_database_url(), pool_size=3)
            with open_places(world.services.settings) as places:
                SessionRetention(replace(world.services, engine=engine), places, die).purge()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the child ended with {status} and did not reach {step}"


@pytest.mark.parametrize("step", [step for step in PurgeStep if step is not PurgeStep.SET_ASIDE])
def test_a_purge_killed_after_any_step_is_finished_and_counted_truly(world: World, step: PurgeStep) -> None:
    fill(world)
    purge_in_a_process_that_dies(world, step)
    report = world.retention().purge()
    assert left(world) == (2, 2, 2)
    with world.services.engine.connect() as connection:
        sets = record.latest_sets(connection, 10)
        assert not record.open_purges(connection)
    assert len(sets) == 2
    assert (sets[-1].keys_deleted, sets[-1].keys_gone, sets[-1].key_counts) == (6, 0, KINDS)
    assert sets[-1].bytes_freed > 0
    assert report.finished == (() if step is PurgeStep.RECORDED else (sets[-1],))


def test_a_session_that_is_used_after_a_kill_stays(world: World) -> None:
    login = log_in(world.sessions, "user:alice", when=world.ago(100), seconds=LIFE)
    purge_in_a_process_that_dies(world, PurgeStep.ATTEMPT_NOTED)
    world.sessions.hset(f"session:{login}", "last_accessed", world.services.clock().isoformat())
    (finished,) = world.retention().purge().finished
    assert (finished.keys_deleted, finished.keys_moved) == (0, 1)
    assert world.sessions.exists(f"session:{login}")


def test_a_redis_that_the_settings_do_not_name_any_more_stops_no_purge(world: World) -> None:
    fill(world)
    purge_in_a_process_that_dies(world, PurgeStep.FROZEN)
    (finished,) = world.retention(gdpr_playground_redis_url=None).purge().finished
    assert (finished.keys_deleted, finished.keys_left) == (4, 2)
    report = world.retention().purge()
    assert report.purged is not None
    assert report.purged.key_counts == {"playground_session": 2}


def test_more_keys_than_one_batch_all_go(world: World) -> None:
    pipeline = world.sessions.pipeline(transaction=False)
    used = world.ago(100).isoformat()
    for number in range(1_300):
        pipeline.hset(f"session:{number}", mapping={"user_id": f"u{number % 7}", "last_accessed": used})
    pipeline.execute()
    report = world.retention().purge()
    assert report.purged is not None
    assert report.purged.keys_deleted == 1_300
    assert world.names() == set()


def test_on_a_cluster_the_same_goes(services: Services, world: World, tmp_path: Path) -> None:
    with running_cluster(tmp_path / "cluster") as url, ExitStack() as stack:
        client = RedisCluster.from_url(url.replace("redis+cluster", "redis"), protocol=2)
        for number in range(20):
            log_in(client, f"user:{number}", when=world.ago(100), seconds=LIFE)  # type: ignore[arg-type]
            log_in(client, f"user:{number}", when=world.ago(1), seconds=LIFE)  # type: ignore[arg-type]
        secret = SecretStr(url)
        update = dict.fromkeys(("gdpr_session_redis_url", "gdpr_playground_redis_url", "gdpr_store_redis_url"), secret)
        on_cluster = replace(services, settings=services.settings.model_copy(update=update))
        bind_redis(on_cluster)
        places = stack.enter_context(open_places(on_cluster.settings))
        report = SessionRetention(on_cluster, places).purge()
        assert report.purged is not None
        assert report.purged.keys_deleted == 20
        assert len(list(client.scan_iter(match="session:*"))) == 20
        assert all(client.llen(f"user_sessions:user:{number}") == 1 for number in range(20))
