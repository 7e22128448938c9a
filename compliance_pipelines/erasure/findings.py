"""What a target found, as it is counted and put on record.

Here: findings and errors become JSON that PostgreSQL stores. Not here: looking (targets.py, asking.py).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.erasure.targets import Findings, Item

_LONGEST_ERROR: Final = 2000
_MOST_REFERENCES: Final = 100


def counted(items: Sequence[Item]) -> Counter[str]:
    """How many things of each data type items are."""
    total: Counter[str] = Counter()
    for item in items:
        total[item.data_type] += item.count
    return total


def reported_to_json(findings: Findings) -> list[dict[str, Any]]:
    """What is left to a human, by kind and reason, with the first references of each."""
    groups: dict[tuple[str, str, bool], dict[str, Any]] = {}
    for reported in findings.reported:
        key = (reported.data_type, reported.why, reported.is_theirs)
        group = groups.setdefault(
            key,
            {
                "data_type": reported.data_type,
                "why": storable(reported.why),
                "is_theirs": reported.is_theirs,
                "count": 0,
                "references": [],
            },
        )
        group["count"] += reported.count
        if len(group["references"]) < _MOST_REFERENCES:
            group["references"].append(storable(reported.reference))
    return list(groups.values())


def notes_to_json(findings: Findings) -> dict[str, Any]:
    """What else is said about a search, if anything, under `notes`."""
    return {"notes": [storable(note) for note in findings.notes]} if findings.notes else {}


def described(error: Exception) -> str:
    """An error in one line that is not too long."""
    return storable(f"{type(error).__name__}: {' '.join(str(error).split())}")[:_LONGEST_ERROR]


def storable(text: str) -> str:
    """The text with whatever PostgreSQL cannot hold written out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
