"""The caches of langgraph-checkpoint-redis' middleware: `python caches_driver.py NAMES write|read URL AT THREAD...`.

Only its packages and the standard library. For each thread: the result of a tool of that name, an answer of a model,
and what was said. NAMES are joined by commas; each is the prefix of the keys of one set of caches. `read` tells what
the caches give.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from langgraph.middleware.redis import (
    ConversationMemoryConfig,
    ConversationMemoryMiddleware,
    SemanticCacheConfig,
    SemanticCacheMiddleware,
    ToolCacheConfig,
    ToolResultCacheMiddleware,
)
from redisvl.utils.vectorize import CustomVectorizer


def embed(text: str, **_: Any) -> list[float]:
    """Another vector for each text."""
    numbers = [float(ord(letter)) for letter in f"{text:8.8}"]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]


async def use(name: str, url: str, threads: list[str]) -> dict[str, Any]:
    """What the caches of a name give for each thread; what they do not have is asked for, and kept."""
    vectorizer = CustomVectorizer(embed)
    options: dict[str, Any] = {"redis_url": url, "graceful_degradation": False}
    tools = ToolResultCacheMiddleware(ToolCacheConfig(name=name, **options))
    answers = SemanticCacheMiddleware(
        SemanticCacheConfig(name=name, vectorizer=vectorizer, distance_threshold=0.0001, **options)
    )
    memory = ConversationMemoryMiddleware(
        ConversationMemoryConfig(name=f"{name}:memory", vectorizer=vectorizer, session_tag="said", **options)
    )
    asked: list[str] = []

    async def work(request: Any) -> Any:
        asked.append(str(request))
        return {"content": f"the answer to {request}"}

    found: dict[str, Any] = {}
    for thread in threads:
        asked.clear()
        call: Any = {"tool_name": thread, "args": {"of": thread}, "id": "1"}
        tool = await tools.awrap_tool_call(call, work)
        answer = await answers.awrap_model_call({"messages": [{"role": "user", "content": thread}]}, work)
        was_asked = len(asked)
        await memory.awrap_model_call({"messages": [{"role": "user", "content": thread}]}, work)
        found[thread] = {"tool": str(tool), "has answer": bool(answer), "asked": was_asked}
    return found


def main(names: str, _: str, url: str, __: str, *threads: str) -> None:
    """Do it, and print a line of JSON."""
    found = {name: asyncio.run(use(name, url, list(threads))) for name in names.split(",")}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
