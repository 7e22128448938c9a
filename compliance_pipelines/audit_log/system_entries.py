"""Entries that the project appends about its own work.

Here: how such an entry is named. Not here: what it says, which is the business of whoever did the work; its time, which
the database gives when it is appended.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from compliance_pipelines.audit_log.entry import UndatedEntry

if TYPE_CHECKING:
    from compliance_pipelines.audit_log.entry import JsonValue


def system_entry(  # noqa: PLR0913 - an entry's fields, each by its name
    actor: str,
    *,
    action: str,
    resource_type: str,
    resource_id: str,
    result: str,
    metadata: JsonValue,
) -> UndatedEntry:
    """An entry of the present by `actor`, under an id of its own.

    Args:
        actor: the `user_id`, as AUDIT_LOG_ACTOR gives it.
        action: what was done, such as `audit.archive`.
        resource_type: the kind of thing it was done to.
        resource_id: the thing it was done to.
        result: how it ended.
        metadata: any JSON.
    """
    return UndatedEntry(
        log_entry_id=f"{action.replace('.', '_')}_{uuid.uuid4()}",
        user_id=actor,
        action=action,
        result=result,
        resource_type=resource_type,
        resource_id=resource_id,
        metadata=metadata,
    )
