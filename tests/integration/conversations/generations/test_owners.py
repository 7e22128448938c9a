"""Whose a conversation is where the application gave its user in `configurable` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr

from compliance_pipelines.conversations.threads import Ownership
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.erasure.runner import run_request
from compliance_pipelines.erasure.threads import ThreadTarget
from tests.integration.conversations.generations.conftest import Layout, each_layout

if TYPE_CHECKING:
    from tests.integration.conversations.conftest import World
    from tests.savers.client import SaverProcess

# LangGraph, or the saver, writes what is in `configurable` into a checkpoint's metadata, or it does not.
_STORES: dict[str, bool] = {
    "0.0.1-async_full": True, "0.0.1-async_shallow": True, "0.1.3-full": True, "0.1.3-async_shallow": True,
    "0.0.8-full": False, "0.2.1-full": False, "0.3.9-shallow": False, "0.5.2-async_full": False, "0.5.2-shallow": False,
}  # fmt: skip


@each_layout(lambda layout: str(layout) in _STORES)
def test_a_user_in_configurable_is_found_where_it_is_stored_and_makes_an_erasure_partial_elsewhere(
    world: World, saver: SaverProcess, layout: Layout
) -> None:
    saver.call("say", graph="chat", thread="thread", at=None, user_id=None, configurable={"user_id": "user:alice"})
    retention = layout.retention(world)
    thread = retention.survey().threads["thread"]
    is_stored = _STORES[str(layout)]
    assert retention.owner_rule.owners(thread) == ({"user:alice"} if is_stored else set())
    assert retention.owner_rule.ownership(thread) is (Ownership.OWNED if is_stored else Ownership.UNOWNED)

    case, _ = record_request(world.services, NewRequest("user:alice", "gdpr_article_17_user_request", "support"))
    settings = world.services.settings.model_copy(update={"checkpoint_redis_url": SecretStr(world.url)})
    case = run_request(world.services, [ThreadTarget(settings)], case.request.id)

    assert case.closure is not None
    assert case.closure.result == ("success" if is_stored else "partial")
    assert bool(world.names()) is not is_stored
