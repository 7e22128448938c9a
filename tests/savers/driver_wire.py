"""How driver.py talks with the tests, and what it sees of the packets that are sent to Redis.

Here: lines in and out, pausing before a packet. Not here: what a request does. As driver.py it knows nothing of this
project. Its import takes standard output away from everybody else: it is for that process alone.
"""

from __future__ import annotations

import inspect
import json
import os
import select
import threading
import typing
from typing import Any

import redis
import redis.asyncio

_CHANGES = b"JSON.SET JSON.MERGE JSON.DEL SET ZADD ZREM DEL UNLINK HSET EXPIRE PERSIST".split()


class Stopped(BaseException):
    """The writer died here."""


class Lines:
    """Lines from standard input, with a look whether one is there; none after the end."""

    def __init__(self) -> None:
        self._buffer = b""

    def is_there(self) -> bool:
        return b"\n" in self._buffer or bool(select.select([0], [], [], 0)[0])

    def next(self) -> str | None:
        while b"\n" not in self._buffer:
            read = os.read(0, 65536)
            if not read:
                return None
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


LINES = Lines()
ANSWERS = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # whatever else is printed is no answer


def answer(**what: Any) -> None:
    ANSWERS.write(json.dumps(what) + "\n")
    ANSWERS.flush()


# What is sent to Redis


class Wire:
    """Sees every packet before it is sent, notes the commands that change something, and can pause before one."""

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.pause_at = 0
        self._lock = threading.Lock()  # while one thread stands still, the others do

    def begin(self, pause_at: int) -> None:
        self.sent, self.pause_at = [], pause_at

    def see(self, packet: Any) -> None:
        data = packet if isinstance(packet, bytes) else b"".join(bytes(part) for part in packet)
        changes = [" ".join(command) for command in commands(data) if command[0].encode() in _CHANGES]
        if not changes:
            return
        with self._lock:
            if self.pause_at == len(self.sent) + 1:
                answer(paused=self.pause_at, sent=self.sent, next=changes)
                self.pause_at = 0 if LINES.next() == "continue" else -1
            if self.pause_at < 0:
                raise Stopped
            self.sent.append(changes)


def commands(data: bytes) -> typing.Iterator[list[str]]:
    """Name and, for the known commands, key and path of each command in a packet of the Redis protocol."""
    at = 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        count = int(data[at + 1 : end])
        at = end + 2
        parts: list[bytes] = []
        for _ in range(count):
            end = data.index(b"\r\n", at)
            size = int(data[at + 1 : end])
            parts.append(data[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        name = parts[0].upper()
        shown = 3 if name in (b"JSON.SET", b"JSON.MERGE") else 2
        yield [name.decode(), *(part.decode("utf-8", "replace") for part in parts[1:shown])]


WIRE = Wire()


def watch_the_wire() -> None:
    for module in (redis.connection, redis.asyncio.connection):
        kind: Any
        for _, kind in inspect.getmembers(module, inspect.isclass):
            original = kind.__dict__.get("send_packed_command")
            if original is None:
                continue
            if inspect.iscoroutinefunction(original):

                async def asend(self: Any, command: Any, *args: Any, _original: Any = original, **kwargs: Any) -> Any:
                    command = command if isinstance(command, bytes) else list(command)
                    WIRE.see(command)
                    return await _original(self, command, *args, **kwargs)

                kind.send_packed_command = asend
            else:

                def send(self: Any, command: Any, *args: Any, _original: Any = original, **kwargs: Any) -> Any:
                    command = command if isinstance(command, bytes) else list(command)
                    WIRE.see(command)
                    return _original(self, command, *args, **kwargs)

                kind.send_packed_command = send
