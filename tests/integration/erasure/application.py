"""The application whose data is erased: sessions, memories and tables as an agent server keeps them."""

from __future__ import annotations

import json
import logging
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.redis import RedisSaver
from langgraph.store.redis import RedisStore
from sqlalchemy import text

from compliance_pipelines.erasure.table_rules import rules_from_json
from compliance_pipelines.erasure.tables import TableTarget
from tests.support.logins import url_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy
    from langchain_core.runnables import RunnableConfig
    from redis import Redis

    from tests.integration.conversations.savers import OwnedMetadata

# As mcp-server-langgraph's first migration has them, without what does not matter here.
_TABLES: Final = """
CREATE TABLE user_profiles (
    user_id TEXT PRIMARY KEY, username TEXT NOT NULL, email TEXT,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(), last_updated TIMESTAMPTZ NOT NULL DEFAULT now());
CREATE TABLE user_preferences (
    user_id TEXT PRIMARY KEY REFERENCES user_profiles (user_id) ON DELETE CASCADE,
    preferences JSONB NOT NULL DEFAULT '{}', updated_at TIMESTAMPTZ NOT NULL DEFAULT now());
CREATE TABLE consent_records (
    consent_id TEXT PRIMARY KEY, user_id TEXT NOT NULL, consent_type TEXT NOT NULL, granted BOOLEAN NOT NULL,
    "timestamp" TIMESTAMPTZ NOT NULL DEFAULT now(), ip_address TEXT, user_agent TEXT, metadata JSONB DEFAULT '{}');
CREATE TABLE conversations (
    conversation_id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES user_profiles (user_id) ON DELETE CASCADE,
    messages JSONB NOT NULL DEFAULT '[]', created_at TIMESTAMPTZ NOT NULL DEFAULT now());
"""


def _vectors(texts: Sequence[str]) -> list[list[float]]:
    return [[float(len(each)), 1.0, 0.0] for each in texts]


@dataclass(frozen=True)
class Application:
    """Where the application keeps its data, and what it writes there."""

    redis: Redis
    engine: sqlalchemy.Engine

    def create_tables(self) -> None:
        """Make the tables."""
        self.execute(_TABLES)

    def execute(self, statements: str, **values: object) -> None:
        """Run statements."""
        with self.engine.begin() as connection:
            connection.execute(text(statements), values)

    def rows(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Read rows."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def log_in(self, user_id: str, *, when: datetime | None = None) -> str:
        """Make a session as the application's session store does."""
        moment = when or datetime.now(UTC)
        session_id = uuid.uuid4().hex
        self.redis.hset(
            f"session:{session_id}",
            mapping={
                "session_id": session_id,
                "user_id": user_id,
                "username": user_id,
                "created_at": moment.isoformat(),
                "last_accessed": moment.isoformat(),
                "expires_at": (moment + timedelta(days=1)).isoformat(),
                "metadata": "{}",
            },
        )
        self.redis.expire(f"session:{session_id}", 86_400)
        self.redis.rpush(f"user_sessions:{user_id}", session_id)
        return session_id

    def store(self, store_prefix: str = "store", vector_prefix: str = "store_vectors") -> RedisStore:
        """LangGraph's own store, with vectors."""
        logging.getLogger("redisvl").setLevel(logging.ERROR)
        store = RedisStore(
            self.redis,
            index={"embed": _vectors, "dims": 3, "fields": ["text"]},
            store_prefix=store_prefix,
            vector_prefix=vector_prefix,
        )
        store.setup()
        return store

    def remember(self, namespace: tuple[str, ...], key: str, words: str = "likes tea") -> None:
        """Put a memory with its vector."""
        self.store().put(namespace, key, {"text": words})

    def converse(
        self,
        thread_id: str,
        user_id: str | None,
        *,
        saver: type[BaseCheckpointSaver[str]] = RedisSaver,
        namespace: str = "",
        turns: int = 2,
        when: datetime | None = None,
    ) -> None:
        """Write checkpoints with pending writes as LangGraph's own saver does."""
        made = saver(redis_client=self.redis)  # type: ignore[call-arg]
        made.setup()  # type: ignore[attr-defined]
        config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace}}
        for turn in range(turns):
            checkpoint = empty_checkpoint()
            moment = (when or datetime.now(UTC)) + timedelta(seconds=turn)
            checkpoint["ts"] = moment.isoformat()
            checkpoint["channel_values"] = {"messages": [f"turn {turn}"]}
            metadata: OwnedMetadata = {"source": "loop", "step": turn, "parents": {}}
            if user_id is not None:
                metadata["user_id"] = user_id
            config = made.put(config, checkpoint, metadata, {"messages": turn})
            made.put_writes(config, [("messages", "pending")], f"task-{turn}")

    def register(self, user_id: str) -> None:
        """Make a profile, preferences, two consents and a conversation."""
        self.execute(
            "INSERT INTO user_profiles (user_id, username, email) VALUES (:user, :user, 'a@example.com')", user=user_id
        )
        self.execute("INSERT INTO user_preferences (user_id) VALUES (:user)", user=user_id)
        for consent in ("marketing", "analytics"):
            self.execute(
                "INSERT INTO consent_records (consent_id, user_id, consent_type, granted, ip_address, user_agent)"
                " VALUES (:id, :user, :type, true, '192.0.2.1', 'browser')",
                id=f"{user_id}-{consent}",
                user=user_id,
                type=consent,
            )
        self.execute(
            "INSERT INTO conversations (conversation_id, user_id) VALUES (:id, :user)", id=f"c-{user_id}", user=user_id
        )

    def meet(self, user_id: str) -> None:
        """Everything of a person: two sessions, two memories with vectors, a conversation, rows in four tables."""
        self.register(user_id)
        self.log_in(user_id)
        self.log_in(user_id)
        self.remember(("memories", user_id), "tea")
        self.remember((user_id, "facts"), "home", "lives by the sea")
        self.converse(f"conversation of {user_id}", user_id)

    def keys(self, pattern: str = "*") -> set[bytes]:
        """The keys in Redis."""
        return set(self.redis.scan_iter(match=pattern, count=1000))

    def has_anything_of(self, user_id: str) -> bool:
        """Whether any row or key still names the person, looked for without the project's code."""
        tables = ("user_profiles", "user_preferences", "conversations")
        if any(self.rows(f"SELECT 1 FROM {table} WHERE user_id = :user", user=user_id) for table in tables):
            return True
        if self.rows("SELECT 1 FROM consent_records WHERE user_id = :user AND ip_address IS NOT NULL", user=user_id):
            return True
        if self.redis.exists(f"user_sessions:{user_id}"):
            return True
        if any(self.redis.hget(key, "user_id") == user_id.encode() for key in self.keys("session:*")):
            return True
        return any(
            user_id in str(self.redis.json().get(key.decode()))
            for pattern in ("store:*", "store_vectors:*", "checkpoint:*", "checkpoint_write:*")
            for key in self.keys(pattern)
        )


EVERYTHING: Final = {
    "sessions": 2,
    "session_lists": 1,
    "conversations": 1,
    "memories": 2,
    "memory_vectors": 2,
    "user_preferences": 1,
    "consent_records": 2,
    "conversation_rows": 1,
    "user_profiles": 1,
}
"""What is deleted of a person whom the application met."""


def table_target(application: Application, **rule: object) -> TableTarget:
    """The target of one table of the application, by default `people`, of which the rows are deleted."""
    values = {
        "database_url": url_of(application.engine),
        "table": "people",
        "user_column": "user_id",
        "action": "delete",
        **rule,
    }
    return TableTarget.from_rule(rules_from_json(json.dumps([values]))[0])
