"""What becomes of a planned conversation.

Here: outcomes and counts. Not here: bringing them about (setting_aside.py, cluster_removal.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compliance_pipelines.conversations.keys import KeyKind


class Outcome(StrEnum):
    """What became of a planned conversation."""

    DELETED = "deleted"
    MOVED = "moved"
    HELD = "held"
    GONE = "gone"
    ABANDONED = "abandoned"


@dataclass(frozen=True)
class Removal:
    """What was removed of one conversation.

    Attributes:
        outcome: deleted; moved (somebody went on with it: left alone, or put back); held; gone (nothing was left);
            abandoned (the plan was given up).
        counts: keys removed, by kind.
        bytes_freed: memory of these keys as MEMORY USAGE gave it; None where that is not known any more.
    """

    outcome: Outcome
    counts: dict[KeyKind, int] = field(default_factory=dict)
    bytes_freed: int | None = 0

    @classmethod
    def of_counts(cls, counts: dict[KeyKind, int], bytes_freed: int | None) -> Removal:
        """Deleted, or gone where nothing was there."""
        return cls(Outcome.DELETED if counts else Outcome.GONE, counts, bytes_freed)
