"""Sample conversations: what a made-up agent server left in Redis, written by LangGraph and its own saver.

Here: who talked when, and the graph they talked with. Not here: what retention makes of it.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypedDict

from langgraph.checkpoint.redis import RedisSaver
from langgraph.graph import END, START, StateGraph

from compliance_pipelines.demo.langgraph_clock import langgraph_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

THREADS: Final = 300
USERS: Final = 30
DAYS: Final = 120
_MOST_TURNS: Final = 2


class _State(TypedDict, total=False):
    messages: Annotated[list[str], operator.add]
    user_id: str


def _answer(state: _State) -> _State:
    return {"messages": [f"answer {len(state['messages'])}"]}


def _graph(saver: BaseCheckpointSaver[str]) -> CompiledStateGraph[Any, Any, Any, Any]:
    graph = StateGraph(_State)
    graph.add_node("answer", _answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer=saver)


@dataclass(frozen=True)
class SampleConversation:
    """One conversation: who, when last, and how many turns, all of them on that day."""

    thread_id: str
    user_id: str
    moment: datetime
    turns: int


def sample_conversations(last_day: date) -> Iterator[SampleConversation]:
    """THREADS conversations of USERS users, spread evenly over the DAYS days up to `last_day`, oldest first."""
    for number in range(THREADS):
        day = last_day - timedelta(days=DAYS - 1 - number * DAYS // THREADS)
        yield SampleConversation(
            thread_id=f"conversation-{day.isoformat()}-{number:03d}",
            user_id=f"user-{number * 7 % USERS:03d}",
            moment=datetime.combine(day, time(9), UTC) + timedelta(minutes=number),
            turns=1 + number % _MOST_TURNS,
        )


def write_conversations(redis_url: str, last_day: date) -> Iterator[int]:
    """Write the sample conversations; yields how many are written after each.

    Args:
        redis_url: with the modules that the saver needs.
        last_day: of the last conversation.
    """
    with RedisSaver.from_conn_string(redis_url) as saver:
        saver.setup()
        graph = _graph(saver)
        for written, conversation in enumerate(sample_conversations(last_day), start=1):
            with langgraph_clock(conversation.moment):
                for turn in range(conversation.turns):
                    graph.invoke(
                        {"messages": [f"turn {turn}"], "user_id": conversation.user_id},
                        {"configurable": {"thread_id": conversation.thread_id}},
                    )
            yield written
