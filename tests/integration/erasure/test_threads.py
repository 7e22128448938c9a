"""Conversations that LangGraph's own savers wrote go if they are one person's alone, and are reported otherwise."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from langgraph.checkpoint.redis import RedisSaver, ShallowRedisSaver
from pydantic import SecretStr

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.conversations.keys import ASIDE
from compliance_pipelines.conversations.setting_aside import Aside
from compliance_pipelines.conversations.survey import take_survey
from compliance_pipelines.erasure import threads
from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.threads import ThreadTarget

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings
    from tests.integration.erasure.application import Application


@pytest.fixture
def target(settings: Settings) -> ThreadTarget:
    return ThreadTarget(settings)


def erase(target: ThreadTarget, user_id: str) -> int:
    items = target.find(user_id).items
    deleted = target.delete(user_id, items) if items else {"conversations": 0}
    assert target.rescan(user_id).items == ()
    return deleted["conversations"]


def of_thread(application: Application, thread_id: str) -> set[bytes]:
    return {key for key in application.keys("*") if thread_id.encode() in key}


NASTY = ["a:b", "a,b", "a*b", "[ab]", "a b", "ä 漢 😀", "ALICE", "alice", "a|b", "checkpoint:alice:x"]


@pytest.mark.parametrize("saver", [RedisSaver, ShallowRedisSaver])
def test_every_key_of_the_persons_threads_goes_whatever_their_ids_look_like(
    application: Application, target: ThreadTarget, saver: type[RedisSaver]
) -> None:
    for thread_id in NASTY:
        application.converse(thread_id, "alice", saver=saver)
        application.converse(thread_id, "alice", saver=saver, namespace="inner:1|2")
    application.converse("another", "bob", saver=saver)
    theirs = of_thread(application, "another")
    assert theirs
    assert erase(target, "alice") == len(NASTY)
    assert application.keys() == theirs


def test_the_owner_is_compared_as_it_is(application: Application, target: ThreadTarget) -> None:
    for number, user_id in enumerate(("alice", "Alice", "alice2", "user:alice")):
        application.converse(f"t{number}", user_id)
    assert erase(target, "alice") == 1
    assert of_thread(application, "t0") == set()
    assert all(of_thread(application, f"t{number}") for number in (1, 2, 3))


def test_a_thread_that_several_people_share_is_reported_and_left(
    application: Application, target: ThreadTarget
) -> None:
    application.converse("shared", "alice", turns=1)
    application.converse("shared", "bob", turns=1)
    before = application.keys()
    found = target.find("alice")
    assert found.items == ()
    assert [(each.reference, each.why, each.is_theirs) for each in found.reported] == [
        ("shared", "several people share it", True)
    ]
    assert erase(target, "alice") == 0
    assert application.keys() == before


def test_a_thread_that_nobody_owns_is_reported_and_left(application: Application, target: ThreadTarget) -> None:
    application.converse("nobody's", None)
    (reported,) = target.find("alice").reported
    assert (reported.reference, reported.is_theirs) == ("nobody's", False)
    assert erase(target, "alice") == 0
    assert of_thread(application, "nobody's")


def test_the_thread_default_is_never_deleted_for_one_person(application: Application, target: ThreadTarget) -> None:
    application.converse("default", "alice")
    (reported,) = target.find("alice").reported
    assert (reported.reference, reported.is_theirs) == ("default", True)
    assert erase(target, "alice") == 0
    assert of_thread(application, "default")


def test_the_note_of_the_server_names_the_owner_and_goes_too(application: Application, target: ThreadTarget) -> None:
    application.converse("t1", None)
    application.redis.set("conversation:metadata:t1", json.dumps({"user_id": "alice"}))
    assert erase(target, "alice") == 1
    assert of_thread(application, "t1") == set()


def test_the_owner_may_be_read_off_the_thread_id(application: Application, settings: Settings) -> None:
    application.converse("chat/alice/7", None)
    pattern = settings.model_copy(update={"conversation_owner_pattern": r"chat/(?P<user>[^/]+)/\d+"})
    assert erase(ThreadTarget(pattern), "alice") == 1
    with pytest.raises(TargetError, match="CONVERSATION_OWNER_PATTERN"):
        ThreadTarget(settings.model_copy(update={"conversation_owner_pattern": "("}))


def test_a_thread_that_somebody_joined_after_the_look_is_left(application: Application, target: ThreadTarget) -> None:
    application.converse("t1", "alice")
    items = target.find("alice").items
    application.converse("t1", "bob")
    assert target.delete("alice", items) == {"conversations": 0}
    assert of_thread(application, "t1")


def test_a_thread_that_went_on_after_the_look_goes_with_what_is_new(
    application: Application, target: ThreadTarget
) -> None:
    application.converse("t1", "alice")
    items = target.find("alice").items
    application.converse("t1", "alice")
    assert target.delete("alice", items) == {"conversations": 1}
    assert application.keys() == set()


def test_a_thread_carries_the_days_of_its_activity(application: Application, target: ThreadTarget) -> None:
    application.converse("t1", "alice", turns=1, when=datetime(2026, 3, 1, 12, tzinfo=UTC))
    application.converse("t1", "alice", turns=1, when=datetime(2026, 3, 9, 12, tzinfo=UTC))
    (item,) = target.find("alice").items
    assert (item.first_day, item.last_day) == (date(2026, 3, 1), date(2026, 3, 9))


@pytest.mark.parametrize("saver", [RedisSaver, ShallowRedisSaver])
def test_what_an_interrupted_deletion_had_set_aside_is_found_again(
    application: Application, target: ThreadTarget, monkeypatch: pytest.MonkeyPatch, saver: type[RedisSaver]
) -> None:
    application.converse("t1", "alice", saver=saver)
    application.converse("t2", "bob", saver=saver)
    theirs = of_thread(application, "t2")
    application.redis.set("conversation:metadata:t1", json.dumps({"user_id": "alice"}))
    items = target.find("alice").items

    def dies(*_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(Aside, "end", dies)
        with pytest.raises(ConnectionResetError):
            target.delete("alice", items)
    assert all(key.startswith(ASIDE) for key in of_thread(application, "t1"))

    assert erase(target, "alice") == 1
    assert application.keys("*") == theirs


def test_redis_is_surveyed_twice(
    application: Application, target: ThreadTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    application.converse("t1", "alice")
    application.converse("t2", "alice")
    counted = Mock(side_effect=take_survey)
    monkeypatch.setattr(threads, "take_survey", counted)
    assert erase(target, "alice") == 2
    assert counted.call_count == 2


@pytest.mark.parametrize(
    "key", ["checkpoint:{t1}:__empty__:1f0", "checkpoint:t1:of-somebody", "checkpoint_write:x:alice"]
)
def test_what_is_named_like_the_persons_and_cannot_be_read_makes_the_result_partial(
    application: Application, target: ThreadTarget, key: str
) -> None:
    application.converse("t1", "alice")
    application.redis.hset(key, "field", "value")
    (reported,) = target.find("alice").reported
    assert (reported.is_theirs, reported.reference) == (True, key)


def test_what_may_be_anybodys_and_cannot_be_read_keeps_the_request_open(
    application: Application, target: ThreadTarget, settings: Settings
) -> None:
    application.redis.set("checkpoint:lock:of:somebody", "1")
    assert [each.is_theirs for each in target.find("alice").reported] == [False]
    with pytest.raises(TargetError, match="checkpoint:lock:of:somebody"):
        target.rescan("alice")
    told = ThreadTarget(settings.model_copy(update={"gdpr_foreign_keys": ("checkpoint:lock:",)}))
    assert told.rescan("alice").reported == ()


def test_other_prefixes_are_another_store(application: Application, settings: Settings) -> None:
    application.converse("t1", "alice")
    other = settings.model_copy(update={"checkpoint_redis_prefix": "cp", "checkpoint_redis_write_prefix": "cpw"})
    assert erase(ThreadTarget(other), "alice") == 0
    assert of_thread(application, "t1")


def test_a_redis_that_does_not_answer_is_an_error_and_not_an_empty_store(settings: Settings) -> None:
    away = settings.model_copy(update={"checkpoint_redis_url": SecretStr("redis://127.0.0.1:1")})
    with pytest.raises(TransientError, match="Redis did not answer"):
        ThreadTarget(away).find("alice")
