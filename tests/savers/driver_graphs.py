"""The graphs that driver.py runs, of the shapes that an application's have.

Here: states, nodes, edges, and what the nodes saw. Not here: savers. As driver.py it knows nothing of this project.
"""

from __future__ import annotations

import operator
import uuid
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    messages: Annotated[list[str], operator.add]
    turns: Annotated[int, operator.add]
    origin: str  # written once: a channel that later turns do not write again
    echo: str  # written anew by each turn
    user_id: str
    approved: bool


SEEN: list[dict[str, Any]] = []


def saw(state: State, new_messages: int) -> None:
    """Note what was loaded: the state as it was before this turn."""
    SEEN.append(
        {
            "turns": state.get("turns", 0),
            "messages": len(state.get("messages", [])) - new_messages,
            "origin": state.get("origin"),
            "echo": state.get("echo"),
        }
    )


def respond(state: State) -> State:
    saw(state, 1)
    number = state.get("turns", 0) + 1
    result: State = {"messages": [f"answer {number}"], "turns": 1, "echo": f"echo {number}"}
    if "origin" not in state:
        result["origin"] = uuid.uuid4().hex
    return result


def ask(state: State) -> State:
    return {"approved": bool(interrupt("may I?"))}


def finish(state: State) -> State:
    return {"messages": ["done"], "approved": bool(state.get("approved"))}


def chat_graph(saver: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("respond", respond)
    graph.add_edge(START, "respond")
    graph.add_edge("respond", END)
    return graph.compile(checkpointer=saver)


def approval_graph(saver: Any) -> Any:
    """A subgraph that keeps checkpoints of its own and stops for a person: namespaces and pending writes."""
    inner = StateGraph(State)
    inner.add_node("think", respond)
    inner.add_node("ask", ask)
    inner.add_edge(START, "think")
    inner.add_edge("think", "ask")
    inner.add_edge("ask", END)
    outer = StateGraph(State)
    outer.add_node("child", inner.compile())
    outer.add_node("finish", finish)
    outer.add_edge(START, "child")
    outer.add_edge("child", "finish")
    outer.add_edge("finish", END)
    return outer.compile(checkpointer=saver)


def question_graph(saver: Any) -> Any:
    """Stops for a person in the root namespace."""
    graph = StateGraph(State)
    graph.add_node("respond", respond)
    graph.add_node("ask", ask)
    graph.add_node("finish", finish)
    graph.add_edge(START, "respond")
    graph.add_edge("respond", "ask")
    graph.add_edge("ask", "finish")
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=saver)


GRAPHS = {"chat": chat_graph, "approval": approval_graph, "question": question_graph}
