"""The end of a purge: its set, and the audit entry that says what went.

Here: what of the outcomes is counted and told, in one transaction. Not here: the tables (record.py), what happens
before (execution.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.conversations import record

if TYPE_CHECKING:
    from compliance_pipelines.audit_log.entry import UndatedEntry
    from compliance_pipelines.conversations.record import OpenPurge, PurgedSet
    from compliance_pipelines.conversations.survey import Survey
    from compliance_pipelines.services import Services

ACTION: Final = "conversations.purge"
_RESOURCE_TYPE: Final = "conversation_set"


def close_purge(
    services: Services, purge: OpenPurge, survey: Survey | None, *, given_up: str | None = None
) -> PurgedSet:
    """The record, the audit entry and the emptied work list, in one transaction.

    Args:
        services: settings and database.
        purge: the plan.
        survey: what was seen at the end; None where nobody looked.
        given_up: why the plan was given up; None where it was carried out.
    """
    with services.engine.begin() as connection:
        resurrected = orphan_keys = 0
        if survey is not None:
            removed = record.deleted_threads(connection, purge.id)
            # Blobs of what was removed after the survey are none of what it found.
            orphan_keys = survey.orphan_keys - sum(
                thread.key_count
                for thread_id in removed
                if (thread := survey.threads.get(thread_id)) and thread.is_only_blobs
            )
            resurrected = sum(
                not survey.threads[thread_id].is_only_blobs for thread_id in removed if thread_id in survey.threads
            )
        summed = record.totals(connection, purge.id)
        entry = _entry(services, purge, summed, resurrected, given_up)
        recorded = record.close_purge(
            connection,
            purge,
            summed,
            resurrected=resurrected,
            orphan_keys_left=orphan_keys,
            log_entry_id=entry.log_entry_id,
        )
        log = AuditLog(services.engine, first_day=services.settings.audit_log_first_day)
        log.append_within(connection, entry)
    return recorded


def _entry(
    services: Services, purge: OpenPurge, summed: dict[str, Any], resurrected: int, given_up: str | None
) -> UndatedEntry:
    return system_entry(
        services.settings.audit_log_actor,
        action=ACTION,
        resource_type=_RESOURCE_TYPE,
        resource_id=purge.day.isoformat(),
        result="success" if given_up is None else "partial",
        metadata={
            "purge": purge.id,
            **({} if purge.place is None else {"place": record.place_as_json(purge.place)}),
            **({} if given_up is None else {"abandoned": given_up, "threads_abandoned": summed["abandoned"]}),
            "cutoff": purge.cutoff.isoformat(),
            "threads_planned": purge.threads_due,
            "threads_deleted": summed["deleted"],
            "threads_moved": summed["moved"],
            "threads_held": summed["held"],
            "threads_gone": summed["gone"],
            "threads_resurrected": resurrected,
            "key_counts": summed["key_counts"],
            "bytes_freed": summed["bytes_freed"],
        },
    )
