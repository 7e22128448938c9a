"""The Valkey saver of langgraph-checkpoint-aws: `python aws_driver.py write|read|delete URL AT THREAD...`.

Only its packages and the standard library. It works with Redis as well: it uses strings and lists only.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph_checkpoint_aws.checkpoint.valkey import ValkeySaver
from valkey import Valkey


def write(saver: Any, thread: str, at: str) -> None:
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    for step in (0, 1):
        checkpoint = {**empty_checkpoint(), "ts": at}
        checkpoint["channel_values"] = {"messages": ["said"], "user_id": "user:1"}
        checkpoint["channel_versions"] = {"messages": 1, "user_id": 1}
        metadata: dict[str, Any] = {"source": "loop", "step": step, "parents": {}, "user_id": "user:1"}
        config = saver.put(config, checkpoint, metadata, checkpoint["channel_versions"])
        saver.put_writes(config, [("messages", ["pending"])], "task-1")


def read(saver: Any, thread: str) -> dict[str, Any]:
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    latest = saver.get_tuple(config)
    return {"latest": None if latest is None else list(latest), "history": [list(each) for each in saver.list(config)]}


def main(action: str, url: str, at: str, *threads: str) -> None:
    """Do it, and print a line of JSON."""
    found: dict[str, Any] = {}
    with Valkey.from_url(url) as client:
        saver = ValkeySaver(client)
        for thread in threads:
            if action == "write":
                write(saver, thread, at)
            elif action == "delete":
                saver.delete_thread(thread)
            else:
                found[thread] = read(saver, thread)
    sys.stdout.write(json.dumps(found, default=repr) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
