"""A survey finds every conversation that LangGraph's savers wrote, and whose each key is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from compliance_pipelines.conversations.documents import microseconds
from compliance_pipelines.conversations.keys import KeyKind
from compliance_pipelines.conversations.threads import Ownership
from tests.integration.conversations.savers import KINDS, config_of

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World
    from tests.integration.conversations.savers import OwnedMetadata


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_every_saver_is_known_to_be_its_threads(world: World, kind: str) -> None:
    writer = world.writer(kind)
    writer.ask("thread-with-a-subgraph", at=world.ago(100))
    writer.say("thread-of-a-chat", at=world.ago(5), user_id="user:2", count=2)

    survey = world.retention().survey()

    assert set(survey.threads) == {"thread-with-a-subgraph", "thread-of-a-chat"}
    for thread_id, thread in survey.threads.items():
        assert set(thread.keys(survey.layout)) == world.names_of(thread_id)
    assert not survey.orphans
    assert survey.unreadable == 0
    assert survey.threads["thread-with-a-subgraph"].newest == microseconds(world.ago(100))
    assert survey.threads["thread-of-a-chat"].users == {"user:2"}
    assert len(survey.threads["thread-with-a-subgraph"].heads) > 1
    assert KeyKind.WRITE in survey.threads["thread-with-a-subgraph"].keys(survey.layout).values()


@pytest.mark.parametrize("kind", ["full", "shallow"])
def test_the_owner_is_told_by_metadata_then_channel_then_note_then_id(world: World, kind: str) -> None:
    writer = world.writer(kind)
    saver = writer.saver()
    checkpoint = empty_checkpoint()
    cases: tuple[tuple[str, OwnedMetadata, dict[str, Any]], ...] = (
        ("by-metadata", {"user_id": "of-metadata"}, {"user_id": "of-channel"}),
        ("by-channel", {}, {"user_id": "of-channel"}),
        ("by-input", {}, {"__start__": {"user_id": "of-input"}}),
        ("by-note", {}, {}),
        ("of-pattern_1", {}, {}),
        ("nobodys", {}, {}),
    )
    for thread_id, metadata, values in cases:
        found = checkpoint | {"channel_values": values}
        told: OwnedMetadata = {"source": "loop", "step": 1, **metadata}
        saver.put(config_of(thread_id), found, told, {})
    for thread_id in ("by-note", "by-channel"):
        world.client.set(f"conversation:metadata:{thread_id}", json.dumps({"user_id": "of-note"}))
    retention = world.retention(conversation_owner_pattern="(?P<user>[^_]+)_.*")

    threads = retention.survey().threads

    owners = {thread_id: set(retention.owner_rule.owners(thread)) for thread_id, thread in threads.items()}
    assert owners == {
        "by-metadata": {"of-metadata"},
        "by-channel": {"of-channel"},
        "by-input": {"of-input"},
        "by-note": {"of-note"},
        "of-pattern_1": {"of-pattern"},
        "nobodys": set(),
    }
    assert retention.owner_rule.ownership(threads["nobodys"]) is Ownership.UNOWNED
    assert retention.owner_rule.ownership(threads["by-input"]) is Ownership.OWNED


def test_a_thread_is_shared_when_any_of_its_checkpoints_names_another_user(world: World) -> None:
    writer = world.writer()
    for user_id in ("user:1", "user:2", "user:1"):
        writer.say("default", at=world.ago(1), user_id=user_id)
    retention = world.retention()
    thread = retention.survey().threads["default"]
    assert thread.users == {"user:1", "user:2"}
    assert retention.owner_rule.ownership(thread) is Ownership.SHARED


def test_threads_whose_keys_have_the_same_names_are_entangled_and_left_alone(world: World) -> None:
    """Thread `a` with namespace `b:c` and thread `a:b` with namespace `c` share the name of their pointer."""
    saver = world.writer().saver()
    for thread_id, namespace in (("a", "b:c"), ("a:b", "c")):
        checkpoint = empty_checkpoint()
        checkpoint["ts"] = world.ago(100).isoformat()
        saver.put(config_of(thread_id, namespace), checkpoint, {"source": "loop", "step": 1}, {})
    before = world.names()

    report = world.retention().purge()

    assert {thread.thread_id for thread in report.plan.entangled} == {"a", "a:b"}
    assert world.names() == before
