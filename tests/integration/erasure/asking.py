"""Requests as somebody asks for them, carried out, and what is on record afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.record import Case, NewRequest, record_request
from compliance_pipelines.erasure.runner import run_request

if TYPE_CHECKING:
    from compliance_pipelines.erasure.targets import ErasureTarget
    from compliance_pipelines.services import Services

ALICE = "user:alice"
BOB = "user:bob"


def ask(services: Services, user_id: str = ALICE, **values: Any) -> Case:  # noqa: ANN401 - a request's fields
    """Record a request."""
    case, _ = record_request(services, NewRequest(user_id, "gdpr_article_17_user_request", "support", **values))
    return case


def erase(services: Services, case: Case, *targets: ErasureTarget) -> Case:
    """Carry it out, on these targets or on those of the settings."""
    return run_request(services, targets or configured_targets(services.settings), case.request.id)


def deletion_records(services: Services) -> list[dict[str, Any]]:
    """The deletion records in the audit log, oldest first."""
    with services.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT user_id, resource_type, resource_id, result, metadata, log_entry_id FROM audit_logs"
                " WHERE action = 'account_deletion' ORDER BY id"
            )
        )
        return [dict(row._mapping) for row in rows]


def happened(case: Case) -> list[tuple[int, str, str | None]]:
    """Its events: attempt, kind, target."""
    return [(event.attempt, event.kind.value, event.target) for event in case.events]
