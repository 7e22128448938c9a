"""Conversations in Redis, as many as wanted and of any age, with the layout of the real saver.

Here: a few conversations that the saver wrote, copied under other ids, document by document. Not here: measuring.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.conversations.documents import microseconds, ticks_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

CHECKPOINTS: Final = 10
TEMPLATES: Final = 20
PERIOD: Final = timedelta(days=90)
_THREADS_PER_PIPELINE: Final = 50
_ID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-6[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_TS: Final = re.compile(rb'"ts": "[^"]*"')


def thread_id(number: int) -> str:
    """The id of a conversation."""
    return f"thread-{number:08d}"


def all_due(_number: int) -> timedelta:
    """The age of a conversation, in a Redis where everything is due."""
    return PERIOD + timedelta(days=30)


def steady_state(threads: int) -> Callable[[int], timedelta]:
    """The ages of so many conversations where as many fall due each day: one in a hundred is due."""
    span = PERIOD / 0.99
    return lambda number: span * (number * 37 % threads) / threads


@dataclass(frozen=True)
class _Template:
    """What the saver wrote of one conversation."""

    name: bytes
    documents: dict[bytes, bytes]
    strings: dict[bytes, bytes]
    sets: dict[bytes, list[tuple[bytes, float]]]
    ids: list[bytes]


def fill(client: Redis, threads: int, age: Callable[[int], timedelta] = all_due) -> int:
    """Empty Redis, write conversations, and return the number of their keys.

    Args:
        client: the Redis.
        threads: how many conversations.
        age: for how long each was idle; ids and `ts` of its checkpoints say so.
    """
    command: Any = client.execute_command
    for index in command("FT._LIST"):
        command("FT.DROPINDEX", index)
    client.flushall()
    _write_templates(client)
    templates = _read_templates(client)
    for template in templates:
        client.unlink(*template.documents, *template.strings, *template.sets)
    now = datetime.now(UTC)
    pipeline: Any = client.pipeline(transaction=False)
    for number in range(threads):
        _copy(pipeline, templates[number % TEMPLATES], number, now - age(number))
        if number % _THREADS_PER_PIPELINE == _THREADS_PER_PIPELINE - 1:
            pipeline.execute()
    pipeline.execute()
    return int(client.dbsize())


def _write_templates(client: Redis) -> None:
    """A few conversations by the real saver, of about ten checkpoints with two writes each."""
    # Imported here: the process whose memory is measured must not load what production does not need.
    from langgraph.checkpoint.base import empty_checkpoint  # noqa: PLC0415
    from langgraph.checkpoint.redis import RedisSaver  # noqa: PLC0415

    saver = RedisSaver(redis_client=client)
    saver.setup()
    for number in range(TEMPLATES):
        config: Any = {"configurable": {"thread_id": thread_id(number), "checkpoint_ns": ""}}
        for step in range(CHECKPOINTS):
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {
                "user_id": f"user:{number}",
                "messages": [{"role": "user", "content": "lorem ipsum " * 15}] * (step // 3 + 1),
            }
            config = saver.put(config, checkpoint, {"source": "loop", "step": step, "parents": {}}, {})
            writes = [("messages", [{"role": "assistant", "content": "dolor sit " * 10}]), ("branch:to:answer", None)]
            saver.put_writes(config, writes, str(uuid.uuid4()))


def _read_templates(client: Redis) -> list[_Template]:
    documents = {key: json.dumps(client.json().get(key)).encode() for key in client.scan_iter(_type="ReJSON-RL")}
    strings: dict[bytes, Any] = {key: client.get(key) for key in client.scan_iter(_type="string")}
    sets: dict[bytes, Any] = {key: client.zrange(key, 0, -1, withscores=True) for key in client.scan_iter(_type="zset")}
    templates = []
    for number in range(TEMPLATES):
        name = thread_id(number).encode()
        of_thread = {key: text for key, text in documents.items() if name in key}
        templates.append(
            _Template(
                name,
                of_thread,
                {key: value for key, value in strings.items() if name in key},
                {key: members for key, members in sets.items() if name in key},
                sorted({each for key in of_thread for each in _ID.findall(key)}),
            )
        )
    return templates


def _copy(pipeline: Any, template: _Template, number: int, moment: datetime) -> None:  # noqa: ANN401 - of any client
    """One more conversation, of which the last checkpoint was written at a moment and the others before it."""
    new_name = thread_id(number).encode()
    last = len(template.ids) - 1
    ids = {
        old: _id_of(moment - timedelta(minutes=last - position), number) for position, old in enumerate(template.ids)
    }
    ts = b'"ts": "%b"' % moment.isoformat().encode()

    def renamed(text: bytes) -> bytes:
        return _ID.sub(lambda found: ids.get(found.group(), found.group()), text.replace(template.name, new_name))

    for key, text in template.documents.items():
        pipeline.execute_command("JSON.SET", renamed(key), "$", _TS.sub(ts, renamed(text)))
    for key, value in template.strings.items():
        pipeline.set(renamed(key), renamed(value))
    for key, members in template.sets.items():
        pipeline.zadd(renamed(key), {renamed(member): score for member, score in members})


def _id_of(moment: datetime, number: int) -> bytes:
    ticks = ticks_of(microseconds(moment))
    return b"%08x-%04x-6%03x-8000-%012x" % (ticks >> 28, ticks >> 12 & 0xFFFF, ticks & 0xFFF, number)
