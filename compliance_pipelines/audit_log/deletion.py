"""The audit record of a GDPR Article 17 deletion.

Here: its fields, as the requirement gives them. Not here: appending it (log.py), and deleting anything.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final, NotRequired, TypedDict

from compliance_pipelines.audit_log.entry import UndatedEntry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Unpack

    from compliance_pipelines.audit_log.entry import AuditEntry

ACTION: Final = "account_deletion"
DEFAULT_REASON: Final = "gdpr_article_17_user_request"


class DeletionFacts(TypedDict):
    """What a deletion record says.

    Attributes:
        user_id: whose data.
        deleted_data_types: what kinds of it.
        deletion_count: how many items.
        success: whether everything was deleted; the entry's result is `success`, else `partial`.
        errors: what could not be deleted, and why; default: nothing.
        reason: why it was deleted; default: DEFAULT_REASON.
        timestamp: when, aware; default: now, by the database's clock.
    """

    user_id: str
    deleted_data_types: Sequence[str]
    deletion_count: int
    success: bool
    errors: NotRequired[Sequence[str]]
    reason: NotRequired[str]
    timestamp: NotRequired[datetime | None]


def deletion_entry(**facts: Unpack[DeletionFacts]) -> AuditEntry | UndatedEntry:
    """The entry that says what of a person was deleted, under an id `gdpr_deletion_<uuid>`; dated where the facts are.

    Raises:
        InvalidEntryError: it is dated, and a value cannot be stored.
    """
    timestamp = facts.get("timestamp")
    entry = undated_deletion_entry(**facts)
    return entry if timestamp is None else entry.at(timestamp)


def undated_deletion_entry(**facts: Unpack[DeletionFacts]) -> UndatedEntry:
    """The same without a time."""
    return UndatedEntry(
        log_entry_id=f"gdpr_deletion_{uuid.uuid4()}",
        user_id=facts["user_id"],
        action=ACTION,
        resource_type="user_account",
        resource_id=facts["user_id"],
        result="success" if facts["success"] else "partial",
        metadata={
            "deleted_data_types": list(facts["deleted_data_types"]),
            "deletion_count": facts["deletion_count"],
            "errors": list(facts.get("errors", ())),
            "reason": facts.get("reason", DEFAULT_REASON),
        },
    )
