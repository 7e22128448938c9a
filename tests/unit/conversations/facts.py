"""Threads as a survey would find them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from compliance_pipelines.conversations.documents import microseconds
from compliance_pipelines.conversations.threads import ThreadFacts

if TYPE_CHECKING:
    from compliance_pipelines.conversations.documents import ConversationNote

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
DAY: Final = 86_400_000_000


def thread(
    thread_id: str = "thread",
    *,
    newest: int | None = 0,
    oldest: int | None = 0,
    users: frozenset[str] = frozenset(),
    note: ConversationNote | None = None,
) -> ThreadFacts:
    """A thread whose activity is given in days after START."""
    start = microseconds(START)
    facts = ThreadFacts(thread_id, users=set(users), note=note, checkpoints=1)
    facts.newest = None if newest is None else start + newest * DAY
    facts.oldest = None if oldest is None else start + oldest * DAY
    return facts
