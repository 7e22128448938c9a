"""Conversations as LangGraph itself writes them: its graphs, its four Redis savers, under a clock that can be moved."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict

from langgraph.checkpoint.base import CheckpointMetadata
from langgraph.checkpoint.redis import RedisSaver
from langgraph.checkpoint.redis.aio import AsyncRedisSaver
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from langgraph.checkpoint.redis.shallow import ShallowRedisSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from compliance_pipelines.demo.langgraph_clock import langgraph_clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
    from langgraph.graph.state import CompiledStateGraph
    from redis import Redis, RedisCluster

    Graph = CompiledStateGraph[Any, Any, Any, Any]
    Build = Callable[[BaseCheckpointSaver[str]], Graph]

KINDS: Final = ("full", "async_full", "shallow", "async_shallow")


class State(TypedDict, total=False):
    messages: Annotated[list[str], operator.add]
    user_id: str
    approved: bool


class OwnedMetadata(CheckpointMetadata, total=False):
    """What an application tells a saver besides what LangGraph does."""

    user_id: str


def config_of(thread_id: str, namespace: str = "") -> RunnableConfig:
    """What a saver is told of which conversation is meant."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace}}


def saved_in(saver: BaseCheckpointSaver[str], thread_id: str) -> CheckpointTuple:
    """The latest checkpoint of a conversation, which must have one."""
    saved = saver.get_tuple(config_of(thread_id))
    assert saved is not None
    return saved


def _answer(state: State) -> State:
    return {"messages": [f"answer {len(state['messages'])}"]}


def _ask(state: State) -> State:
    return {"approved": bool(interrupt("may I?"))}


def chat_graph(saver: BaseCheckpointSaver[str]) -> Graph:
    """One node that answers."""
    graph = StateGraph(State)
    graph.add_node("answer", _answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=saver)


def approval_graph(saver: BaseCheckpointSaver[str]) -> Graph:
    """A subgraph that keeps checkpoints of its own and stops for a person: namespaces and pending writes."""
    inner = StateGraph(State)
    inner.add_node("think", _answer)
    inner.add_node("ask", _ask)
    inner.add_edge(START, "think")
    inner.add_edge("think", "ask")
    inner.add_edge("ask", END)
    outer = StateGraph(State)
    outer.add_node("child", inner.compile())
    outer.add_node("answer", _answer)
    outer.add_edge(START, "child")
    outer.add_edge("child", "answer")
    outer.add_edge("answer", END)
    return outer.compile(checkpointer=saver)


@dataclass
class Writer:
    """Writes conversations with one kind of saver."""

    client: Redis | RedisCluster
    url: str
    kind: str = "full"
    options: dict[str, Any] | None = None

    def say(self, thread_id: str, *, at: datetime, user_id: str | None = "user:1", count: int = 1) -> None:
        """Go on with a conversation: so many turns, all at one moment."""
        turns = [
            {"messages": [f"turn {number}"]} | ({"user_id": user_id} if user_id else {}) for number in range(count)
        ]
        self._run(chat_graph, thread_id, turns, at)

    def ask(self, thread_id: str, *, at: datetime, user_id: str | None = "user:1") -> None:
        """Begin a conversation that waits inside a subgraph for a person's consent."""
        turn = {"messages": ["begin"]} | ({"user_id": user_id} if user_id else {})
        self._run(approval_graph, thread_id, [turn], at)

    def consent(self, thread_id: str, *, at: datetime) -> None:
        """Resume it."""
        self._run(approval_graph, thread_id, [Command(resume=True)], at)

    def delete_thread(self, thread_id: str) -> None:
        """What the saver itself deletes."""
        if self.kind.startswith("async"):
            asyncio.run(self._adelete(thread_id))
        else:
            self.saver().delete_thread(thread_id)

    def saver(self) -> RedisSaver | ShallowRedisSaver:
        """A synchronous saver with its indexes."""
        options = self.options or {}
        client: Any = self.client  # the shallow saver's type knows no cluster, the saver does
        saver: RedisSaver | ShallowRedisSaver
        if self.kind == "full":
            saver = RedisSaver(redis_client=client, **options)
        else:
            saver = ShallowRedisSaver(redis_client=client, **options)
        saver.setup()
        return saver

    def _run(self, build: Build, thread_id: str, turns: list[Any], at: datetime) -> None:
        with langgraph_clock(at):
            if self.kind.startswith("async"):
                asyncio.run(self._arun(build, thread_id, turns))
                return
            graph = build(self.saver())
            for turn in turns:
                graph.invoke(turn, {"configurable": {"thread_id": thread_id}})

    async def _arun(self, build: Build, thread_id: str, turns: list[Any]) -> None:
        async with self._async_saver() as saver:
            graph = build(saver)
            for turn in turns:
                await graph.ainvoke(turn, {"configurable": {"thread_id": thread_id}})

    async def _adelete(self, thread_id: str) -> None:
        async with self._async_saver() as saver:
            await saver.adelete_thread(thread_id)

    def _async_saver(self) -> AbstractAsyncContextManager[BaseCheckpointSaver[str]]:
        saver_type = AsyncRedisSaver if self.kind == "async_full" else AsyncShallowRedisSaver
        return saver_type.from_conn_string(self.url, **(self.options or {}))
