"""A process that runs LangGraph's Redis savers of one generation and does as it is told, a line at a time.

`python -P -m tests.savers.driver` with the generation's packages in PYTHONPATH. Here: savers, and what a request does
with them. Not here: the graphs (driver_graphs.py), lines and packets (driver_wire.py), or anything of this project or
of its other tests, so that the packages are those of the generation and nothing else.

A request is a line of JSON on standard input, `{"op": NAME, ...}`. The answer is a line of JSON: `{"ok": ...}`,
`{"error": TEXT}`, or, where the request has `"pause_at": N`, `{"paused": N, "sent": [...]}` before the Nth packet that
changes something is sent to Redis; then the line `continue` sends it, `stop` never does. In the mode `resume`, answers
`{"ack": ...}` come unasked until a line comes. The end of standard input ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import inspect
import json
import random
import sys
import time
import traceback
import types
import typing
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import langgraph.checkpoint.base as checkpoint_base
import langgraph.checkpoint.base.id as checkpoint_id_module
from langgraph.checkpoint.redis import RedisSaver
from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from langgraph.checkpoint.redis.shallow import ShallowRedisSaver
from langgraph.types import Command

from tests.savers.driver_graphs import GRAPHS, SEEN
from tests.savers.driver_wire import LINES, WIRE, Stopped, answer, watch_the_wire

_WRITERS = ("say", "consent", "put", "put_writes")


# The clock


@contextlib.contextmanager
def clock(moment: str | None) -> typing.Iterator[None]:
    """Let LangGraph date its checkpoints at a moment."""
    if moment is None:
        yield
        return
    fixed = datetime.fromisoformat(moment).astimezone(UTC)

    class Standing(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(fixed.timestamp(), tz or UTC)

    standing_time = types.SimpleNamespace(time_ns=lambda: int(fixed.timestamp() * 1_000_000) * 1000)
    # The module that dates a checkpoint; some import what they need when they need it.
    modules = [checkpoint_base] if hasattr(checkpoint_base, "datetime") else [sys.modules["datetime"]]
    with contextlib.suppress(ImportError):
        modules = [importlib.import_module("langgraph.pregel._checkpoint")]
    with contextlib.ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "datetime", Standing))
        stack.enter_context(mock.patch.object(checkpoint_id_module, "time", standing_time))
        stack.enter_context(mock.patch.object(checkpoint_id_module, "_last_v6_timestamp", None))
        yield


# The savers


class Session:
    """One saver that is open, and what can be done with it."""

    def __init__(self) -> None:
        self.saver: Any = None
        self.is_async = False
        self._context: Any = None
        self._runner = asyncio.new_event_loop()

    def wait(self, awaitable: Any) -> Any:
        """The result of what a synchronous saver returned, or an asynchronous one promised."""
        return self._runner.run_until_complete(awaitable) if inspect.isawaitable(awaitable) else awaitable

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        method = getattr(self.saver, "a" + name if self.is_async else name)
        result = method(*args, **kwargs)
        if hasattr(result, "__aiter__"):

            async def collect(items: Any) -> list[Any]:
                return [item async for item in items]

            return self.wait(collect(result))
        return self.wait(result)

    def open(self, url: str, *, shallow: bool, is_async: bool, prefixes: dict[str, str]) -> str:
        self.close()
        kinds: dict[tuple[bool, bool], Any] = {
            (False, False): RedisSaver,
            (True, False): ShallowRedisSaver,
            (False, True): AsyncRedisSaver,
            (True, True): AsyncShallowRedisSaver,
        }
        self.is_async = is_async
        self._context = kinds[shallow, is_async].from_conn_string(url, **prefixes)
        if is_async:
            self.saver = self.wait(self._context.__aenter__())
            setup = getattr(self.saver, "asetup", None) or self.saver.setup
            self.wait(setup())
        else:
            self.saver = self._context.__enter__()
            self.saver.setup()
        return importlib.metadata.version("langgraph-checkpoint-redis")

    def close(self) -> None:
        context, self._context, self.saver = self._context, None, None
        if context is not None:
            with contextlib.suppress(Exception):
                self.wait((context.__aexit__ if self.is_async else context.__exit__)(None, None, None))

    # Graphs

    def run(
        self,
        graph: str,
        thread: str,
        value: Any,
        at: str | None,
        *,
        durability: str | None = "sync",
        configurable: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One turn; "sync" writes each step before the next begins, None leaves that to LangGraph."""
        SEEN.clear()
        built = GRAPHS[graph](self.saver)
        config = {"configurable": {"thread_id": thread, **(configurable or {})}}
        options = {"durability": durability} if durability and can_be_durable(built.invoke) else {}
        with clock(at):
            self.wait((built.ainvoke if self.is_async else built.invoke)(value, config, **options))
        return {"seen": list(SEEN)}

    def is_waiting(self, graph: str, thread: str) -> bool:
        """Whether the graph of a thread stands still before a node."""
        built = GRAPHS[graph](self.saver)
        config = {"configurable": {"thread_id": thread}}
        state = self.wait(built.aget_state(config)) if self.is_async else built.get_state(config)
        return bool(state.next)

    def values(self, graph: str, thread: str) -> dict[str, Any]:
        """The state that the next turn would load."""
        built = GRAPHS[graph](self.saver)
        config = {"configurable": {"thread_id": thread}}
        state = self.wait(built.aget_state(config)) if self.is_async else built.get_state(config)
        values: dict[str, Any] = plain(state.values)
        return values

    # The saver's own interface

    def get(self, thread: str, namespace: str = "", checkpoint_id: str | None = None) -> Any:
        configurable = {"thread_id": thread, "checkpoint_ns": namespace}
        if checkpoint_id is not None:
            configurable["checkpoint_id"] = checkpoint_id
        return self.call("get_tuple", {"configurable": configurable})

    def state(self, thread: str) -> dict[str, Any]:
        """Everything that the saver gives of a thread: the latest checkpoint, and the history with pending writes."""
        latest = self.get(thread)
        history = list(self.call("list", {"configurable": {"thread_id": thread}}))
        described = [describe(each) for each in history]
        return {
            "latest": None if latest is None else describe(latest),
            "history": sorted(described, key=lambda each: (each["namespace"], each["id"])),
        }

    def put_writes(self, thread: str, namespace: str, writes: list[list[Any]], task: str) -> dict[str, Any]:
        """Pending writes alone, on the latest checkpoint of a namespace."""
        latest = self.get(thread, namespace)
        config = {"configurable": {**latest.config["configurable"], "checkpoint_id": latest.checkpoint["id"]}}
        self.call("put_writes", config, [tuple(write) for write in writes], task)
        return {"checkpoint": latest.checkpoint["id"]}

    def put(self, thread: str, namespace: str, at: str | None) -> dict[str, Any]:
        """A checkpoint alone, with the values of the latest one of the root or none, in a namespace."""
        latest = self.get(thread, namespace) or self.get(thread, "")
        with clock(at):
            checkpoint: dict[str, Any] = dict(checkpoint_base.empty_checkpoint())
            if latest is not None:
                checkpoint["channel_values"] = dict(latest.checkpoint["channel_values"])
                checkpoint["channel_versions"] = dict(latest.checkpoint["channel_versions"])
            version = self.saver.get_next_version(checkpoint["channel_versions"].get("echo"), None)
            checkpoint["channel_values"]["echo"] = "put alone"
            checkpoint["channel_versions"]["echo"] = version
            config = {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}
            if latest is not None and latest.config["configurable"].get("checkpoint_ns", "") == namespace:
                config["configurable"]["checkpoint_id"] = latest.checkpoint["id"]
            metadata = {"source": "update", "step": 99, "writes": {}, "parents": {}}
            self.call("put", config, checkpoint, metadata, {"echo": version})
        return {"checkpoint": checkpoint["id"]}

    def delete_thread(self, thread: str) -> dict[str, Any]:
        self.call("delete_thread", thread)
        return {}

    # Resuming without end

    def resume(self, threads: list[list[str]], seed: int) -> dict[str, Any]:
        """Go on with threads at random until a line comes, and acknowledge each turn."""
        chosen = random.Random(seed)  # noqa: S311 - nothing secret
        count = 0
        while not LINES.is_there():
            graph, thread = chosen.choice(threads)
            answer(ack=self.turn(graph, thread))
            count += 1
        LINES.next()
        return {"resumed": count}

    def turn(self, graph: str, thread: str) -> dict[str, Any]:
        """One turn: a message, or the answer that the graph waits for."""
        report: dict[str, Any] = {"thread": thread, "graph": graph, "began": time.monotonic_ns(), "error": None}
        try:
            waits = graph != "chat" and self.is_waiting(graph, thread)
            report["waited"] = waits
            if waits:
                report["found"] = self.values(graph, thread)
            value: Any = Command(resume=True) if waits else {"messages": ["turn"], "user_id": "user:1"}
            self.run(graph, thread, value, None, durability=None)
        except Exception as error:  # noqa: BLE001 - it is the test that judges
            report["error"] = f"{type(error).__name__}: {error}"
        report["ended"] = time.monotonic_ns()
        report["seen"] = list(SEEN)
        try:
            report["values"] = self.values(graph, thread)
            report["waits"] = self.is_waiting(graph, thread) if graph != "chat" else False
        except Exception as error:  # noqa: BLE001 - it is the test that judges
            report["error"] = report["error"] or f"looking afterwards: {type(error).__name__}: {error}"
        return report

    def history(self, thread: str) -> list[tuple[int, str | None]]:
        """Of each checkpoint of the root the number of turns, and the channel that the first turn writes."""
        found = self.call("list", {"configurable": {"thread_id": thread, "checkpoint_ns": ""}})
        return [
            (each.checkpoint["channel_values"].get("turns", 0), each.checkpoint["channel_values"].get("origin"))
            for each in found
            if each.config["configurable"].get("checkpoint_ns", "") == ""
        ]


def can_be_durable(invoke: Any) -> bool:
    return "durability" in inspect.signature(invoke).parameters


def describe(found: Any) -> dict[str, Any]:
    return {
        "namespace": found.config["configurable"].get("checkpoint_ns", ""),
        "id": found.checkpoint["id"],
        "values": plain(found.checkpoint["channel_values"]),
        "versions": plain(found.checkpoint["channel_versions"]),
        "step": (found.metadata or {}).get("step"),
        "parent": ((found.parent_config or {}).get("configurable") or {}).get("checkpoint_id"),
        "writes": sorted([task, channel, plain(value)] for task, channel, value in found.pending_writes or []),
    }


def plain(value: Any) -> Any:
    """A value as JSON knows it."""
    return json.loads(json.dumps(value, default=repr, sort_keys=True))


SESSION = Session()


def perform(request: dict[str, Any]) -> Any:
    op = request.pop("op")
    pause_at = request.pop("pause_at", 0)
    work: typing.Callable[[], Any]
    if op == "say":
        user_id = request.pop("user_id", "user:1")
        value = {"messages": ["turn"], **({} if user_id is None else {"user_id": user_id})}
        work = lambda: SESSION.run(value=value, **request)  # noqa: E731
    elif op == "consent":
        work = lambda: SESSION.run(value=Command(resume=True), **request)  # noqa: E731
    else:
        work = lambda: getattr(SESSION, op)(**request)  # noqa: E731
    WIRE.begin(pause_at)
    try:
        result = work()
    finally:
        WIRE.pause_at = 0
    return {"sent": WIRE.sent, **result} if op in _WRITERS else result


def main() -> None:
    watch_the_wire()
    while (line := LINES.next()) is not None:
        try:
            answer(ok=perform(json.loads(line)))
        except Stopped:
            answer(ok={"stopped": True})
        except Exception as error:  # noqa: BLE001 - the other side decides
            traceback.print_exc()
            answer(error=f"{type(error).__name__}: {error}")
    SESSION.close()


if __name__ == "__main__":
    main()
