"""What a legal hold keeps of a person's data.

Here: the question, for a person of one or several ids, and what is said about the answer. Not here: holds themselves
(holds/), and when they are asked (runner.py, preview.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.erasure.targets import Item
    from compliance_pipelines.holds import Hold, HoldSet


def hold_on_person(holds: HoldSet, user_ids: Sequence[str]) -> Hold | None:
    """The first hold that covers a person under any of their ids."""
    covering = (holds.covers_user(user_id) for user_id in user_ids)
    return next((hold for hold in covering if hold is not None), None)


def split_by_holds(
    items: Sequence[Item], holds: HoldSet, user_ids: Sequence[str]
) -> tuple[list[Item], list[dict[str, Any]]]:
    """What may be deleted, and what each hold keeps of the rest."""
    free = []
    held: dict[tuple[int, str], dict[str, Any]] = {}
    for item in items:
        hold = _hold_on(item, holds, user_ids)
        if hold is None:
            free.append(item)
            continue
        kept = held.setdefault(
            (hold.id, item.data_type), {**hold_to_json(hold), "data_type": item.data_type, "count": 0}
        )
        kept["count"] += item.count
    return free, list(held.values())


def _hold_on(item: Item, holds: HoldSet, user_ids: Sequence[str]) -> Hold | None:
    of_thread = None if item.thread_id is None else holds.covers_thread(item.thread_id, user_ids[0])
    return hold_on_person(holds, user_ids) or of_thread or holds.covers_activity(item.first_day, item.last_day)


def hold_to_json(hold: Hold) -> dict[str, Any]:
    """A hold as it stands on a request's record."""
    return {
        "hold": hold.id,
        "covers": hold.covered,
        "reason": hold.reason,
        "author": hold.author,
        "exception": "GDPR Article 17(3)(e), legal claims",
    }
