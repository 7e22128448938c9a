"""What mcp-server-langgraph and LangGraph's JavaScript store write into Redis, byte for byte as they do.

Sources, looked up on 2026-11-28: mcp-server-langgraph (commit 0973b51) `auth/session.py`,
`playground/session/manager.py`, `core/storage/conversation_store.py`; langgraphjs `libs/checkpoint-redis/src/store.ts`.
Keys, members, forms of time and times to live are theirs.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from redis import Redis


def pydantic_time(moment: datetime) -> str:
    """A moment as pydantic writes it into JSON."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def log_in(
    redis: Redis, user_id: str, *, when: datetime | None = None, used: datetime | None = None, seconds: int = 86_400
) -> str:
    """A session of the server's login: a hash, and its id in the list of the user."""
    made = when or datetime.now(UTC)
    session_id = uuid.uuid4().hex
    redis.hset(
        f"session:{session_id}",
        mapping={
            "session_id": session_id,
            "user_id": user_id,
            "username": user_id.removeprefix("user:"),
            "roles": "user,premium",
            "metadata": "{}",
            "created_at": made.isoformat(),
            "last_accessed": (used or made).isoformat(),
            "expires_at": (made + timedelta(seconds=seconds)).isoformat(),
        },
    )
    redis.expire(f"session:{session_id}", seconds)
    redis.rpush(f"user_sessions:{user_id}", session_id)
    redis.expire(f"user_sessions:{user_id}", seconds + 3_600)
    return session_id


def play(
    redis: Redis,
    user_id: str | None,
    *,
    when: datetime | None = None,
    used: datetime | None = None,
    seconds: int = 3_600,
    says: str = "hello",
) -> str:
    """A session of the playground: JSON in a string, and once more under the user's name where there is a user."""
    made = when or datetime.now(UTC)
    session_id = str(uuid.uuid4())
    content = {
        "session_id": session_id,
        "name": "My Session",
        "created_at": pydantic_time(made),
        "updated_at": pydantic_time(used or made),
        "messages": [
            {
                "message_id": str(uuid.uuid4()),
                "role": "user",
                "content": says,
                "timestamp": pydantic_time(made),
                "metadata": {},
            }
        ],
        "config": {"model": "gpt-4o-mini", "temperature": 0.7, "max_tokens": 1000},
        "user_id": user_id,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    redis.set(f"session:{session_id}", text, ex=seconds)
    if user_id:
        redis.set(f"session:user:{user_id}:{session_id}", text, ex=seconds)
    return session_id


def note(redis: Redis, thread_id: str, user_id: str, *, when: datetime | None = None, **more: object) -> bytes:
    """A note on a conversation."""
    moment = (when or datetime.now(UTC)).timestamp()
    content = {
        "thread_id": thread_id,
        "user_id": user_id,
        "created_at": moment,
        "last_activity": moment,
        "message_count": 2,
        "title": "What is the weather like in Oslo...",
        "tags": [],
        **more,
    }
    key = f"conversation:metadata:{thread_id}"
    redis.set(key, json.dumps(content), ex=604_800)
    return key.encode()


def remember_in_javascript(
    redis: Redis, namespace: tuple[str, ...], key: str, *, when: datetime | None = None, vector: bool = True
) -> str:
    """A memory as the JavaScript store writes it: labels joined as they are, times in nanoseconds."""
    moment = int((when or datetime.now(UTC)).timestamp() * 1_000) * 1_000_000
    document_id = str(uuid.uuid4())
    base = {"prefix": ".".join(namespace), "key": key, "created_at": moment, "updated_at": moment}
    execute(redis, "JSON.SET", f"store:{document_id}", "$", json.dumps({**base, "value": {"text": "tea"}}))
    if vector:
        embedding = {**base, "field_name": "text", "embedding": [1.0, 0.0]}
        execute(redis, "JSON.SET", f"store_vectors:{document_id}", "$", json.dumps(embedding))
    return document_id
