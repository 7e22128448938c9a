"""On a cluster every key of the person goes from every node, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from langgraph.store.redis.base import _namespace_to_text
from pydantic import SecretStr
from redis.cluster import RedisCluster

from compliance_pipelines.erasure.memories import MemoryTarget
from compliance_pipelines.erasure.sessions import SessionTarget
from compliance_pipelines.erasure.threads import ThreadTarget
from tests.integration.conversations.servers import running_cluster
from tests.integration.erasure.application import Application
from tests.support.redis_commands import execute, node_of

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.settings import Settings


def test_everything_of_the_person_goes_from_every_node(
    settings: Settings, application_engine: sqlalchemy.Engine, tmp_path: Path
) -> None:
    with running_cluster(tmp_path / "cluster") as url:
        # The savers cannot read RediSearch's answers from a cluster in the newer protocol.
        client = RedisCluster.from_url(url.replace("redis+cluster", "redis"), protocol=2)
        application = Application(client, application_engine)  # type: ignore[arg-type]
        for user_id in ("alice", "bob"):
            for number in range(20):
                application.log_in(user_id)
                application.converse(f"{user_id} {number}", user_id, turns=1)
                document = {"prefix": _namespace_to_text(("memories", user_id)), "key": str(number)}
                execute(client, "JSON.SET", f"store:{user_id}{number}", "$", json.dumps(document))
        everything = application.keys()
        secret = SecretStr(url)
        names = ("gdpr_session_redis_url", "gdpr_store_redis_url", "checkpoint_redis_url")
        configured = settings.model_copy(update=dict.fromkeys(names, secret))
        targets = [target.from_settings(configured) for target in (SessionTarget, ThreadTarget, MemoryTarget)]
        counts: dict[str, int] = {}
        for target in targets:
            assert target is not None
            counts |= target.delete("alice", target.find("alice").items)
            assert target.rescan("alice").items == ()
        assert counts == {"sessions": 20, "session_lists": 1, "conversations": 20, "memories": 20}
        left = application.keys()
        assert not any(b"alice" in key for key in left)
        assert sum(key.startswith(b"session:") for key in left) == 20
        assert sum(key.startswith(b"store:") for key in left) == 20
        assert sum(key.startswith(b"checkpoint:") for key in left) == 20
        assert len({node_of(client, key).port for key in everything - left}) == 3
