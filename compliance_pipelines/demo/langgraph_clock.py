"""LangGraph under another clock, so that sample conversations can be of the past.

Here: which of LangGraph's clocks date a checkpoint. Not here: any conversation.
"""

from __future__ import annotations

import types
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Self
from unittest import mock

import langgraph.checkpoint.base.id
import langgraph.pregel._checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator


class _StandingDatetime(datetime):
    moment: datetime

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """The moment, whenever it is asked for."""
        return cls.fromtimestamp(cls.moment.timestamp(), tz or UTC)


@contextmanager
def langgraph_clock(moment: datetime) -> Iterator[None]:
    """Let LangGraph date its checkpoints at a moment: `ts`, and the time in the UUIDv6 ids.

    Args:
        moment: aware.
    """
    standing = type("_StandingDatetime", (_StandingDatetime,), {"moment": moment})
    nanoseconds = int(moment.timestamp() * 1_000_000) * 1000
    standing_time = types.SimpleNamespace(time_ns=lambda: nanoseconds)
    with (
        mock.patch.object(langgraph.pregel._checkpoint, "datetime", standing),  # noqa: SLF001 - there is no public clock
        mock.patch.object(langgraph.checkpoint.base.id, "time", standing_time),
        mock.patch.object(langgraph.checkpoint.base.id, "_last_v6_timestamp", None),
    ):
        yield
