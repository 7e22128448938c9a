"""Memories that LangGraph's own store wrote are found by their exact namespace, and leave nothing."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langgraph.store.redis import AsyncRedisStore, RedisStore
from langgraph.store.redis.base import _namespace_to_text
from pydantic import SecretStr
from redis import Redis
from redisvl.index import AsyncSearchIndex

from compliance_pipelines.erasure.errors import TargetError
from compliance_pipelines.erasure.memories import MemoryTarget, NamespaceRules, namespace_of
from compliance_pipelines.settings import Settings
from tests.integration.erasure.server_writes import remember_in_javascript
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from tests.integration.erasure.application import Application

DEFAULT = NamespaceRules.from_json('[["memories", "{user_id}", "**"], ["{user_id}", "**"]]')


PREFIXES = ("store", "store_vectors")


def target(redis: Redis, rules: NamespaceRules = DEFAULT, prefixes: tuple[str, str] = PREFIXES) -> MemoryTarget:
    # A client that was used for JSON parses the answers of every later command, and production's never is.
    return MemoryTarget(Redis(connection_pool=redis.connection_pool), "redis://test", rules, prefixes)


def erase(redis: Redis, user_id: str, prefixes: tuple[str, str] = PREFIXES) -> dict[str, int]:
    memories = target(redis, prefixes=prefixes)
    deleted = memories.delete(user_id, memories.find(user_id).items)
    assert memories.rescan(user_id).items == ()
    return dict(deleted)


def left(application: Application) -> set[tuple[str, ...]]:
    return {namespace_at(application.redis, key) for key in application.keys("store:*")}


def namespace_at(redis: Redis, key: bytes) -> tuple[str, ...]:
    found = redis.json().get(key.decode(), "$.prefix")
    assert isinstance(found, list)
    (prefix,) = found
    assert isinstance(prefix, str)
    return namespace_of(prefix)


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
    index: Any = store.index_config  # its type does not know of hashes, the store does
    index["vector_storage_type"] = "hash"
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
        execute(
            pipeline,
            "JSON.SET",
            f"store:{number:026}",
            "$",
            json.dumps({"prefix": prefix, "key": str(number), "value": {}}),
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


def reported(redis: Redis, user_id: str, rules: NamespaceRules = DEFAULT) -> dict[str, bool]:
    return {each.reference.split(",")[0]: each.is_theirs for each in target(redis, rules).find(user_id).reported}


@pytest.mark.parametrize("kind", ["text", "list", "no namespace", "a list as namespace", "a number", "null", "array"])
def test_what_cannot_be_told_is_reported_and_nobody_says_that_nothing_is_left(
    application: Application, kind: str
) -> None:
    redis = application.redis
    match kind:
        case "text":
            redis.set("store:odd", "alice")
        case "list":
            redis.rpush("store:odd", "alice")
        case _:
            documents: dict[str, Any] = {
                "no namespace": {"key": "tea", "value": {}},
                "a list as namespace": {"prefix": ["memories", "bob"]},
                "a number": {"prefix": 42},
                "null": {"prefix": None},
                "array": ["memories", "bob"],
            }
            redis.json().set("store:odd", "$", documents[kind])
    assert target(redis).find("alice").items == ()
    assert reported(redis, "alice") == {"store:odd": False}
    with pytest.raises(TargetError, match=r"1 keys could not be read.*store:odd: unreadable"):
        target(redis).rescan("alice")


@pytest.mark.parametrize(
    "document",
    [
        {"value": "alice"},
        {"value": {"user_id": "alice"}},
        {"prefix": ["memories", "alice"]},
        {"prefix": {"user": "alice"}},
        {"namespace": ["memories", "alice"]},
    ],
)
def test_a_memory_without_a_namespace_that_names_the_person_is_reported_as_theirs(
    application: Application, document: dict[str, Any]
) -> None:
    application.redis.json().set("store:odd", "$", document)
    assert reported(application.redis, "alice") == {"store:odd": True}
    assert target(application.redis).rescan("alice").items == ()
    assert reported(application.redis, "carol") == {"store:odd": False}


def test_what_cannot_be_read_under_a_persons_name_is_theirs(application: Application) -> None:
    application.redis.set("store:alice", "x")
    application.redis.rpush("store_vectors:memories:alice:1", "x")
    assert reported(application.redis, "alice") == {"store:alice": True, "store_vectors:memories:alice:1": True}


def test_a_vector_in_a_hash_without_a_namespace_is_not_passed_over(application: Application) -> None:
    application.redis.hset("store_vectors:1", mapping={"key": "alice"})
    application.redis.hset("store_vectors:2", mapping={"embedding": b"\x00"})
    assert reported(application.redis, "alice") == {"store_vectors:1": True, "store_vectors:2": False}


def test_a_memory_whose_key_is_the_person_is_reported_unless_a_rule_says_that_it_is_theirs(
    application: Application,
) -> None:
    # As LangGraph's own manual keeps a user's profile.
    for user_id in ("alice", "bob"):
        application.remember(("users",), user_id)
    (theirs,) = (
        key.decode()
        for key in application.keys("store:*")
        if application.redis.json().get(key.decode(), "$.key") == ["alice"]
    )
    by_namespace = NamespaceRules.from_json('[["memories", "{user_id}"]]')
    assert reported(application.redis, "alice", by_namespace) == {
        theirs: True,
        theirs.replace("store:", "store_vectors:"): True,
    }
    by_key = NamespaceRules.from_json('[{"namespace": ["users"], "key": "{user_id}"}]')
    memories = target(application.redis, by_key)
    assert memories.delete("alice", memories.find("alice").items) == {"memories": 1, "memory_vectors": 1}
    assert memories.find("bob").reported == ()
    assert len(memories.find("bob").items) == 2


@pytest.mark.parametrize("user_id", ["alice", "al\\ice", "al\\-ice", "user:alice", "alice@example", "al ice"])
def test_memories_of_the_javascript_store_go_by_their_exact_namespace(application: Application, user_id: str) -> None:
    users = ("alice", "al\\ice", "al\\-ice", "user:alice", "alice@example", "al ice")
    for each in users:
        remember_in_javascript(application.redis, ("memories", each), "tea")
        application.remember(("memories", f"python {each}"), "tea")
    assert erase(application.redis, user_id) == {"memories": 1, "memory_vectors": 1}
    assert left(application) == {
        *(("memories", each) for each in users if each != user_id),
        *(("memories", f"python {each}") for each in users),
    }


def test_memories_of_the_javascript_store_carry_the_days_of_their_last_change(application: Application) -> None:
    remember_in_javascript(application.redis, ("alice",), "tea", when=datetime(2026, 3, 1, tzinfo=UTC))
    days = {(item.first_day, item.last_day) for item in target(application.redis).find("alice").items}
    assert days == {(date(2026, 3, 1), date(2026, 3, 1))}


async def test_memories_of_the_asynchronous_store_go_with_vectors_and_with_a_time_to_live(
    application: Application, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The store's base class makes an index that the store then replaces; this redisvl refuses it the client.
    monkeypatch.setattr("langgraph.store.redis.base.SearchIndex", AsyncSearchIndex)
    index: Any = {"embed": lambda texts: [[1.0, 0.0, 0.0] for _ in texts], "dims": 3, "fields": ["text", "$"]}
    async with AsyncRedisStore.from_conn_string(redis_server.url(), index=index) as store:
        await store.setup()
        for user_id in ("user:alice", "user:bob"):
            await store.aput(("memories", user_id), "tea", {"text": "likes tea"}, ttl=5)
            await store.aput(("memories", user_id), "home", {"text": "by the sea"}, index=False)
    assert erase(application.redis, "user:alice") == {"memories": 2, "memory_vectors": 1}
    assert left(application) == {("memories", "user:bob")}


@pytest.mark.parametrize("options", [{}, {"vectors": False}, {"ttl": 5.0}, {"storage": "hash"}])
def test_memories_go_without_vectors_with_a_time_to_live_and_with_vectors_in_hashes(
    application: Application, options: dict[str, Any]
) -> None:
    index: Any = {"embed": lambda texts: [[1.0, 0.0, 0.0] for _ in texts], "dims": 3, "fields": ["text"]}
    index["vector_storage_type"] = options.get("storage", "json")
    store = RedisStore(application.redis, index=index if options.get("vectors", True) else None)
    store.setup()
    for number, user_id in enumerate(("alice", "Alice")):
        # Keys of their own: the store itself would overwrite the memory of a user whose id differs in case alone.
        store.put(("memories", user_id), f"tea{number}", {"text": "likes tea"}, ttl=options.get("ttl"))
    expected = {"memories": 1} | ({"memory_vectors": 1} if options.get("vectors", True) else {})
    assert erase(application.redis, "alice") == expected
    assert left(application) == {("memories", "Alice")}


def test_documents_of_the_first_versions_go(application: Application) -> None:
    # What 0.0.1 writes, as 0.5.2 still does. On 2026-11-28 the stores of 0.0.1 to 0.0.4, 0.0.8, 0.1.1, 0.2.1, 0.3.5 and
    # 0.4.1 themselves were run, and this target found and deleted what they had written.
    document: dict[str, Any] = {
        "prefix": _namespace_to_text(("memories", "alice")),
        "key": "tea",
        "value": {"text": "tea"},
        "created_at": 1_772_712_000_000_000,
        "updated_at": 1_772_712_000_000_000,
    }
    application.redis.json().set("store:01JNK1", "$", document)
    application.redis.json().set("store_vectors:01JNK1", "$", {**document, "created_at": 1_772_712_000.5})
    assert erase(application.redis, "alice") == {"memories": 1, "memory_vectors": 1}


@pytest.mark.parametrize(
    ("stored", "namespace"),
    [
        ("memories\\.alice", ("memories", "alice")),
        ("memories.alice", ("memories", "alice")),
        ("memories.al\\ice", ("memories", "al\\ice")),
        ("al\\ice", ("al\\ice",)),
        ("user\\:alice", ("user:alice",)),
        ("memories\\.al\\\\ice", ("memories", "al\\ice")),
        ("memories.user:alice", ("memories", "user:alice")),
    ],
)
def test_a_namespace_is_read_as_the_store_that_wrote_it_means_it(stored: str, namespace: tuple[str, ...]) -> None:
    assert namespace_of(stored) == namespace


label = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), min_size=1, max_size=8)


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
        '[["**"]]',
        '[{"namespace": ["users"]}]',
        '[{"namespace": ["users"], "key": "alice"}]',
        '[{"namespace": ["{user_id}"], "key": "{user_id}"}]',
        '[{"namespace": ["**"], "key": "{user_id}"}]',
    ],
)
def test_malformed_rules_are_refused_by_name(text: str) -> None:
    with pytest.raises(TargetError, match="GDPR_STORE_NAMESPACES"):
        NamespaceRules.from_json(text)
