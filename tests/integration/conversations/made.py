"""Keys and documents as the savers write them, of any time and with any ids, without the savers: many and quickly.

`test_sifting.py` compares what two surveys say of them, so that they may also be wrong in ways that no saver's are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.documents import microseconds, ticks_of
from compliance_pipelines.conversations.keys import KeyLayout, encode
from tests.support.redis_commands import execute

if TYPE_CHECKING:
    from redis import Redis


_LAYOUT: Final = KeyLayout()


def id_of(moment: datetime, number: int = 0) -> str:
    """A UUIDv6 of a moment."""
    ticks = ticks_of(microseconds(moment))
    return f"{ticks >> 28:08x}-{ticks >> 12 & 0xFFFF:04x}-6{ticks & 0xFFF:03x}-8000-{number:012x}"


@dataclass
class Maker:
    """Writes what one saver would."""

    client: Redis
    layout: KeyLayout = _LAYOUT

    def checkpoint(
        self,
        thread_id: str,
        namespace: str,
        checkpoint_id: str,
        *,
        ts: datetime | None,
        written: datetime | None = None,
        user_id: str | None = None,
        name: bytes | None = None,
    ) -> bytes:
        """A checkpoint's document; `name` where it is not where it belongs. Returns the name."""
        document: dict[str, Any] = {
            "thread_id": thread_id,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
            "checkpoint": {"channel_values": {}},
            "metadata": json.dumps({"user_id": user_id} if user_id else {}),
        }
        if written is not None:
            document["checkpoint_ts"] = written.timestamp() * 1000
        if ts is not None:
            document["checkpoint"]["ts"] = ts.isoformat()
        full = self.layout.checkpoint(encode(f"{thread_id}:{namespace}"), encode(checkpoint_id))
        return self._set(name or full, document)

    def shallow(self, thread_id: str, namespace: str, checkpoint_id: str, *, ts: datetime | None) -> bytes:
        """The one checkpoint of a shallow saver."""
        name = self.layout.shallow_checkpoint(encode(thread_id), encode(namespace))
        return self.checkpoint(thread_id, namespace, checkpoint_id, ts=ts, name=name)

    def write(self, thread_id: str, namespace: str, checkpoint_id: str, *, tail: str = "task:0") -> bytes:
        """A write, and the registry that names it."""
        head = encode(f"{thread_id}:{namespace}")
        document = {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
        name = self._set(self.layout.write(head, encode(f"{checkpoint_id}:{tail}")), document)
        self.client.zadd(self.layout.registry(head, encode(checkpoint_id)), {name: 0})
        return name

    def pointer(self, thread_id: str, namespace: str, checkpoint_id: str) -> None:
        """The pointer to the latest checkpoint."""
        head = encode(f"{thread_id}:{namespace}")
        self.client.set(self.layout.latest_pointer(head), self.layout.checkpoint(head, encode(checkpoint_id)))

    def blob(self, thread_id: str, namespace: str, channel: str) -> None:
        """A blob of an old saver."""
        name = encode(f"{self.layout.checkpoint_prefix}_blob:{thread_id}:{namespace}:{channel}:1")
        self._set(name, {"thread_id": thread_id, "checkpoint_ns": namespace})

    def note(self, thread_id: str, **content: object) -> None:
        """What mcp-server-langgraph notes."""
        self.client.set(self.layout.metadata(encode(thread_id)), json.dumps(content))

    def _set(self, name: bytes, document: dict[str, Any]) -> bytes:
        execute(self.client, "JSON.SET", name, "$", json.dumps(document))
        return name


def days_before(now: datetime, days: float) -> datetime:
    """A moment so many days before another one; none before 1970."""
    return max(now - timedelta(days=days), datetime(1970, 1, 2, tzinfo=UTC))
