"""The key layout, against the names that the savers' own code builds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.redis.base import BaseRedisSaver
from langgraph.checkpoint.redis.key_registry import CheckpointKeyRegistry

from compliance_pipelines.conversations.keys import (
    EMPTY_ID,
    EMPTY_NAMESPACE,
    KeyKind,
    KeyLayout,
    encode,
    stored_id,
    stored_namespace,
)
from compliance_pipelines.settings import ConfigurationError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


class Names(BaseRedisSaver):  # type: ignore[type-arg]
    """The savers' names without a connection."""

    def __init__(self, prefix: str, write_prefix: str) -> None:
        self._checkpoint_prefix, self._checkpoint_write_prefix = prefix, write_prefix

    def create_indexes(self) -> None: ...

    def configure_client(self, *_: object, **__: object) -> None: ...


@given(
    thread=TEXTS, namespace=TEXTS, identity=TEXTS, prefix=st.sampled_from(["checkpoint", "a:b", "checkpoint_write2"])
)
def test_names_are_those_that_the_savers_build(thread: str, namespace: str, identity: str, prefix: str) -> None:
    names = Names(prefix, "writes")
    layout = KeyLayout(prefix, "writes")
    head = encode(f"{stored_id(thread)}:{stored_namespace(namespace)}")
    tail = encode(stored_id(identity))
    saver_names = {
        KeyKind.CHECKPOINT: names._make_redis_checkpoint_key(thread, namespace, identity),
        KeyKind.LATEST_POINTER: names._make_redis_checkpoint_latest_key(thread, namespace),
        KeyKind.WRITE: names._make_redis_checkpoint_writes_key(thread, namespace, identity, "task", 0),
        KeyKind.WRITE_REGISTRY: CheckpointKeyRegistry.make_write_keys_zset_key(thread, namespace, identity),
    }
    ours = {
        KeyKind.CHECKPOINT: layout.checkpoint(head, tail),
        KeyKind.LATEST_POINTER: layout.latest_pointer(head),
        KeyKind.WRITE: layout.write(head, tail + b":task:0"),
        KeyKind.WRITE_REGISTRY: layout.registry(head, tail),
    }
    assert ours == {kind: name.encode() for kind, name in saver_names.items()}
    for kind, name in ours.items():
        found = layout.classify(name)
        assert found is not None
        assert found[0] is kind


def test_the_longest_prefix_decides() -> None:
    layout = KeyLayout("agents", "agents:pending")
    assert layout.classify(b"agents:pending:x") == (KeyKind.WRITE, b"x")
    assert layout.classify(b"agents:pend:x") == (KeyKind.CHECKPOINT, b"pend:x")
    assert layout.classify(b"agents_latest:x") == (KeyKind.LATEST_POINTER, b"x")


@pytest.mark.parametrize(
    "key", [b"session:1", b"checkpoint", b"checkpoints:x", b"CHECKPOINT:x", b"store:x", b"xcheckpoint:x"]
)
def test_other_keys_are_nobodys(key: bytes) -> None:
    assert KeyLayout().classify(key) is None


def test_empty_ids_are_stored_as_the_savers_store_them() -> None:
    assert stored_id("") == EMPTY_ID
    assert stored_namespace("") == EMPTY_NAMESPACE


@pytest.mark.parametrize(("checkpoint", "write"), [("", "a"), ("a", ""), ("a", "a")])
def test_prefixes_that_cannot_be_told_apart_are_refused(checkpoint: str, write: str) -> None:
    with pytest.raises(ConfigurationError):
        KeyLayout(checkpoint, write)
