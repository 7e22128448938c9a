"""What a login may not look at is an error that names the right, and never a conversation that is not there."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from pydantic import SecretStr

from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.errors import ConversationError
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.conversations.store import CheckpointStore
from compliance_pipelines.erasure.threads import ThreadTarget
from compliance_pipelines.settings import Settings
from tests.integration.conversations.test_purge import at_step
from tests.support.redis_commands import dump, execute

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conversations.conftest import World

_LOGIN: Final = "restricted"
# As docs/conversations.md gives them.
_PATTERNS: Final = (
    "checkpoint:*",
    "checkpoint_latest:*",
    "checkpoint_write:*",
    "checkpoint_blob:*",
    "write_keys_zset:*",
    "write_registry:*",
    "current_checkpoint:*",
    "conversation:metadata:*",
    "compliance_pipelines:*",
)
_THREADS: Final = ("chats-full", "asks-full", "chats-shallow", "asks-shallow")
_COMMANDS: Final = (
    "json.get",
    "json.set",
    "get",
    "scan",
    "exists",
    "type",
    "zrange",
    "zadd",
    "eval",
    "evalsha",
    "memory",
    "rename",
    "unlink",
    "hmget",
    "hincrby",
    "expire",
)


@contextmanager
def restricted_url(world: World, *rules: str) -> Iterator[str]:
    """The URL of a login with these rights."""
    execute(world.client, "ACL", "SETUSER", _LOGIN, "reset", "on", ">secret", *rules)
    try:
        yield f"redis://{_LOGIN}:secret@{world.url.rpartition('@')[2]}"
    finally:
        execute(world.client, "ACL", "DELUSER", _LOGIN)


@contextmanager
def retention_of(world: World, *rules: str) -> Iterator[Retention]:
    with restricted_url(world, *rules) as url:
        store = CheckpointStore(connect_url(url))
        try:
            yield Retention(world.services, store)
        finally:
            store.close()


def fill(world: World) -> dict[bytes, bytes]:
    """Conversations that are due, in the form of every saver; what the Redis then holds."""
    for kind in ("full", "shallow"):
        world.writer(kind).say(f"chats-{kind}", at=world.ago(100))
        world.writer(kind).ask(f"asks-{kind}", at=world.ago(100))
    world.client.set("conversation:metadata:chats-full", '{"user_id": "user:1"}')
    return {key: dump(world.client, key) for key in world.names()}


def assert_untouched(world: World, before: dict[bytes, bytes]) -> None:
    assert {key: dump(world.client, key) for key in world.names()} == before


def test_the_documented_rights_suffice(world: World) -> None:
    fill(world)
    with retention_of(world, "+@all", "-@dangerous", *(f"~{pattern}" for pattern in _PATTERNS)) as retention:
        report = retention.purge()
    assert report.purged is not None
    assert report.purged.threads_deleted == 4
    assert world.names() == set()


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_refused_command_stops_the_purge_before_anything_is_touched(world: World, command: str) -> None:
    before = fill(world)
    refused = pytest.raises(ConversationError, match=rf"(?i)refused the login or a command: .*\b{command}\b")
    with retention_of(world, "~*", "+@all", f"-{command}") as retention, refused:
        retention.purge()
    assert_untouched(world, before)


@pytest.mark.parametrize("missing", _PATTERNS[:3] + _PATTERNS[4:5] + _PATTERNS[7:])
def test_refused_keys_stop_the_purge_before_anything_is_touched(world: World, missing: str) -> None:
    before = fill(world)
    rules = [f"~{pattern}" for pattern in _PATTERNS if pattern != missing]
    with retention_of(world, "+@all", *rules) as retention, pytest.raises(ConversationError, match="refused the login"):
        retention.purge()
    assert_untouched(world, before)


@pytest.mark.parametrize("missing", _PATTERNS[:3] + _PATTERNS[4:5] + _PATTERNS[7:8])
def test_keys_that_may_only_be_read_stop_the_purge_before_anything_is_touched(world: World, missing: str) -> None:
    before = fill(world)
    rules = [f"~{pattern}" for pattern in _PATTERNS if pattern != missing]
    refused = pytest.raises(
        ConversationError, match=r"refused the login or a command: .*RENAME.*on " + re.escape(missing)
    )
    with retention_of(world, "+@all", f"%R~{missing}", *rules) as retention, refused:
        retention.purge()
    assert_untouched(world, before)


@pytest.mark.parametrize("missing", _PATTERNS[:3] + _PATTERNS[4:5] + _PATTERNS[7:8])
def test_a_right_that_is_lost_in_the_middle_leaves_every_conversation_whole(world: World, missing: str) -> None:
    before = fill(world)
    rules = [f"~{pattern}" for pattern in _PATTERNS if pattern != missing]

    def take_the_right_away() -> None:
        execute(world.client, "ACL", "SETUSER", _LOGIN, "resetkeys", f"%R~{missing}", *rules)

    refused = pytest.raises(ConversationError, match=rf"of {missing.partition(':')[0]}:\* was refused")
    with retention_of(world, "+@all", "~*") as retention, refused:
        replace(retention, hook=at_step(PurgeStep.FROZEN, take_the_right_away)).purge()
    for thread_id in _THREADS:
        keys = {key for key in before if thread_id.encode() in key}
        assert keys & world.names() in (keys, set()), thread_id

    world.retention().purge()
    assert not world.names()


@pytest.mark.parametrize(
    "rules",
    [("~*", "+@all", "-json.get"), ("~*", "+@all", "-scan"), ("+@all", "~checkpoint_latest:*", "~write_keys_zset:*")],
)
def test_an_erasure_that_could_not_look_is_an_error_and_not_an_empty_answer(
    world: World, rules: tuple[str, ...]
) -> None:
    fill(world)
    with restricted_url(world, *rules) as url:
        target = ThreadTarget(Settings(_env_file=None, checkpoint_redis_url=SecretStr(url)))
        with pytest.raises(ConversationError, match="refused the login or a command"):
            target.find("alice")


def test_options_of_an_application_in_the_url_change_nothing(world: World) -> None:
    fill(world)
    expected = set(world.retention().survey().threads)
    options = "decode_responses=True&protocol=3&encoding=latin-1&retry_on_timeout=1&encoding_errors=ignore"
    store = CheckpointStore(connect_url(f"{world.url}?{options}"))
    try:
        retention = Retention(world.services, store)
        assert set(retention.survey().threads) == expected
        assert retention.purge().purged is not None
    finally:
        store.close()
    assert world.names() == set()


def test_a_key_of_another_type_is_no_conversation_and_no_error(world: World) -> None:
    fill(world)
    expected = set(world.retention().survey().threads)
    world.client.set("checkpoint:of:something:else", "text")
    world.client.hset("checkpoint_latest:of:something", "a", "b")
    world.client.json().set("checkpoint_write:1", "$", {"other": 1})
    survey = world.retention().survey()
    assert set(survey.threads) == expected
    assert survey.unreadable == 3
