from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from compliance_pipelines.local_stack.redis import EmbeddedRedis
from tests.unit.local_stack.helpers import stopped_at_the_end, stranger

if TYPE_CHECKING:
    from pathlib import Path


def test_it_holds_json_and_searches_it(redis_of_test: EmbeddedRedis) -> None:
    redis_of_test.start()
    with redis.Redis.from_url(redis_of_test.url(), decode_responses=True) as client:
        # Before the document: what is there already is indexed in the background, at some time.
        schema = ("$.user", "AS", "user", "TAG", "$.step", "AS", "step", "NUMERIC")
        client.execute_command("FT.CREATE", "threads", "ON", "JSON", "PREFIX", "1", "thread:", "SCHEMA", *schema)
        client.json().set("thread:1", "$", {"user": "alice", "step": 3})
        assert client.json().get("thread:1", "$.step") == [3]
        found = client.ft("threads").search("@user:{alice} @step:[3 3]")
    assert "thread:1" in str(found)


def test_it_refuses_a_client_without_the_password(redis_of_test: EmbeddedRedis) -> None:
    redis_of_test.start()
    with (
        redis.Redis(host="127.0.0.1", port=redis_of_test.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_it_keeps_what_it_acknowledged_when_it_is_killed(redis_of_test: EmbeddedRedis) -> None:
    redis_of_test.start()
    with redis.Redis.from_url(redis_of_test.url()) as client:
        client.set("kept", "yes")
    pid = redis_of_test.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    redis_of_test.start()
    assert redis_of_test.pid != pid
    with redis.Redis.from_url(redis_of_test.url()) as client:
        assert client.get("kept") == b"yes"


def test_it_is_found_by_everyone_who_starts_it_and_stopped_by_anyone(redis_of_test: EmbeddedRedis) -> None:
    redis_of_test.start()
    other = EmbeddedRedis(redis_of_test.state_dir)
    other.start()
    assert other.pid == redis_of_test.pid
    other.stop()
    assert not redis_of_test.running


def test_a_pid_file_that_names_a_stranger_neither_bars_the_start_nor_harms_the_stranger(
    redis_of_test: EmbeddedRedis,
) -> None:
    redis_of_test.start()
    redis_of_test.stop()
    with stranger(redis_of_test) as process:
        (redis_of_test.state_dir / "redis.pid").write_text(f"{process.pid}\n")
        assert redis_of_test.pid is None
        redis_of_test.stop()
        redis_of_test.start()
        assert redis_of_test.running
        assert process.poll() is None


def test_any_path_will_do(fast_path: Path) -> None:
    with stopped_at_the_end(EmbeddedRedis(fast_path / 'it\'s "odd", 100% \\ é')) as server:
        server.start()
        assert server.running
