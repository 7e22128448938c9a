"""Memories that LangGraph's own store wrote are found by their exact namespace, and leave nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langgraph.store.redis.base import _namespace_to_text
from pydantic import SecretStr
from redis import Redis

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.memories import MemoryTarget, NamespaceRules, namespace_of
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from tests.integration.erasure.application import Application

DEFAULT = NamespaceRules.from_json('[["memories", "{user_id}", "**"], ["{user_id}", "**"]]')


def target(redis: Redis, rules: NamespaceRules = DEFAULT, **options: tuple[str, str]) -> MemoryTarget:
    # A client that was used for JSON parses the answers of every later command, and production's never is.
    return MemoryTarget(Redis(connection_pool=redis.connection_pool), "redis://test", rules, **options)


def erase(redis: Redis, user_id: str, **options: tuple[str, str]) -> dict[str, int]:
    memories = target(redis, **options)
    deleted = memories.delete(user_id, memories.find(user_id).items)
    assert memories.rescan(user_id).items == ()
    return dict(deleted)


def left(application: Application) -> set[tuple[str, ...]]:
    return {
        namespace_of(application.redis.json().get(key.decode(), "$.prefix")[0]) for key in application.keys("store:*")
    }


NASTY = [
    # First, because the store itself deletes alice's memories when it writes one of this user.
    "alice|bob",
    "alice",
    "Alice",
    "user:alice",
    "alice,bob",
    "alice bob",
    "al*ce",
    "al[i]ce",
    "alice@",
    "-alice",
    "ålice",
    "ALICE",
    "alice\\",
    'al"ice',
    "alice\n",
    "{alice}",
]


def test_only_the_exact_namespace_goes_whatever_the_user_id_looks_like(application: Application) -> None:
    for number, user_id in enumerate(NASTY):
        # Keys of their own, because the store itself takes "alice" and "ALICE" for the same when it overwrites.
        application.remember(("memories", user_id), f"tea{number:02}")
    assert left(application) == {("memories", user_id) for user_id in NASTY}
    for number, user_id in enumerate(NASTY):
        assert erase(application.redis, user_id) == {"memories": 1, "memory_vectors": 1}
        assert left(application) == {("memories", other) for other in NASTY[number + 1 :]}
    assert application.keys("store_vectors:*") == set()


def test_namespaces_below_the_persons_go_too(application: Application) -> None:
    for namespace in (
        ("memories", "alice", "work"),
        ("alice",),
        ("alice", "memories"),
        ("bob", "alice"),
        ("memories",),
    ):
        application.remember(namespace, "tea")
    erase(application.redis, "alice")
    assert left(application) == {("bob", "alice"), ("memories",)}


def test_a_namespace_that_merely_names_the_person_is_reported_and_not_deleted(application: Application) -> None:
    application.remember(("teams", "alice"), "tea")
    (key,) = application.keys("store:*")
    rules = NamespaceRules.from_json('[["memories", "{user_id}"]]')
    found = target(application.redis, rules).find("alice")
    assert found.items == ()
    assert {each.data_type for each in found.reported} == {"memories", "memory_vectors"}
    assert all(each.is_theirs for each in found.reported)
    assert any(key.decode() in each.reference and "teams.alice" in each.reference for each in found.reported)


def test_the_first_rule_that_fits_decides_so_that_a_user_called_memories_does_not_own_everything(
    application: Application,
) -> None:
    application.remember(("memories", "alice"), "tea")
    application.remember(("memories",), "tea")
    erase(application.redis, "memories")
    assert left(application) == {("memories", "alice")}


def test_a_vector_that_the_store_left_behind_goes_too(application: Application) -> None:
    application.remember(("memories", "alice"), "tea")
    (key,) = application.keys("store:*")
    application.redis.delete(key)
    assert erase(application.redis, "alice") == {"memory_vectors": 1}


def test_vectors_that_are_hashes_are_found(application: Application) -> None:
    store = application.store()
    store.index_config = {**store.index_config, "vector_storage_type": "hash"}
    application.redis.hset(
        "store_vectors:01J",
        mapping={"prefix": _namespace_to_text(("memories", "alice")), "key": "tea", "created_at": "1772712000.5"},
    )
    (item,) = target(application.redis).find("alice").items
    assert item.first_day == datetime.fromtimestamp(1772712000.5, UTC).date()
    assert erase(application.redis, "alice") == {"memory_vectors": 1}


def test_another_prefix_is_another_store(application: Application) -> None:
    application.remember(("memories", "alice"), "tea")
    application.store(store_prefix="mine[1]", vector_prefix="mine[1]_vectors").put(
        ("memories", "alice"), "tea", {"text": "x"}
    )
    assert erase(application.redis, "alice", prefixes=("mine[1]", "mine[1]_vectors")) == {
        "memories": 1,
        "memory_vectors": 1,
    }
    assert len(application.keys("store:*")) == len(application.keys("store_vectors:*")) == 1
    assert application.keys("mine*") == set()


def test_more_memories_than_a_search_returns_all_go(application: Application) -> None:
    pipeline = application.redis.pipeline(transaction=False)
    prefix = _namespace_to_text(("memories", "alice"))
    for number in range(12_000):
        pipeline.execute_command(
            "JSON.SET", f"store:{number:026}", "$", json.dumps({"prefix": prefix, "key": str(number), "value": {}})
        )
    pipeline.execute()
    assert erase(application.redis, "alice") == {"memories": 12_000}


def test_memories_carry_the_days_of_their_last_change(application: Application) -> None:
    application.remember(("memories", "alice"), "tea")
    today = datetime.now(UTC).date()
    assert {(item.first_day, item.last_day) for item in target(application.redis).find("alice").items} == {
        (today, today)
    }


def test_the_store_is_that_of_the_checkpoints_unless_it_has_a_url_of_its_own() -> None:
    checkpoints, own = SecretStr("redis://localhost:1/0"), SecretStr("redis://localhost:2/0")
    found = [
        MemoryTarget.from_settings(Settings(_env_file=None, checkpoint_redis_url=one, gdpr_store_redis_url=other))
        for one, other in ((None, None), (checkpoints, None), (checkpoints, own))
    ]
    assert [target and target.location for target in found] == [None, "redis://localhost:1/0", "redis://localhost:2/0"]


def test_keys_that_only_look_like_memories_are_reported_and_left(application: Application) -> None:
    application.redis.set("store:note", "alice")
    application.redis.json().set("store:other", "$", {"value": "alice"})
    found = target(application.redis).find("alice")
    assert found.items == ()
    assert {each.reference for each in found.reported} == {"store:note", "store:other"}
    assert not any(each.is_theirs for each in found.reported)


label = st.text(st.characters(exclude_characters=".", exclude_categories=("Cs",)), min_size=1, max_size=8)


@given(st.lists(label, min_size=1, max_size=4).map(tuple))
@hypothesis_settings(max_examples=300)
def test_a_namespace_is_read_back_as_langgraph_wrote_it(namespace: tuple[str, ...]) -> None:
    assert namespace_of(_namespace_to_text(namespace)) == namespace


@pytest.mark.parametrize(
    ("rule", "namespace", "owner"),
    [
        (["memories", "{user_id}"], ("memories", "alice"), "alice"),
        (["memories", "{user_id}"], ("memories", "alice", "x"), None),
        (["memories", "{user_id}"], ("Memories", "alice"), None),
        (["memories", "{user_id}", "**"], ("memories", "alice", "x", "y"), "alice"),
        (["*", "{user_id}"], ("anything", "alice"), "alice"),
        (["{user_id}", "*"], ("alice",), None),
    ],
)
def test_rules_name_the_owner(rule: list[str], namespace: tuple[str, ...], owner: str | None) -> None:
    assert NamespaceRules.from_json(json.dumps([rule])).owner(namespace) == owner


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"a": 1}',
        '[["memories"]]',
        '[["{user_id}", "{user_id}"]]',
        '[["**", "{user_id}"]]',
        '["x"]',
        '[[""]]',
        "[[1]]",
    ],
)
def test_malformed_rules_are_refused_by_name(text: str) -> None:
    with pytest.raises(TargetError, match="GDPR_STORE_NAMESPACES"):
        NamespaceRules.from_json(text)
