"""The audit entry that binds what a person is told about an erasure.

Here: the entry, and where its statement is kept. Not here: what the statement says (person_statement.py), and the
certificate that is made of both (certificate.py).

The entry is apart from the deletion record because a proof shows the whole entry that it is of: a deletion record names
kinds of data as tables are called, says in errors what failed, and has the reason that somebody typed. This entry has
nothing that the person may not read. The internal statement keeps the person's as its member `certificate`, so that
one row holds both and the deletion record binds both.
"""

from __future__ import annotations

import secrets
import uuid
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.audit_log.entry import AuditEntry
from compliance_pipelines.erasure.kinds import Kinds
from compliance_pipelines.erasure.person_statement import statement_for_person
from compliance_pipelines.erasure.statements import CERTIFICATE_ACTION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compliance_pipelines.settings import Settings

RESOURCE_TYPE: Final = "erasure_request"
MEMBER: Final = "certificate"
_SALT_BYTES: Final = 16


def with_certificate(statement: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The internal statement with the person's in it, and the id of the entry that will bind that.

    Raises:
        TargetError: GDPR_SQL_TARGETS cannot be used.
    """
    for_person = statement_for_person(
        statement,
        kinds=Kinds.from_settings(settings),
        retention_years=settings.audit_cold_storage_retention_years,
        salt=secrets.token_hex(_SALT_BYTES),
    )
    return {**statement, MEMBER: {"log_entry_id": f"erasure_certificate_{uuid.uuid4()}", "statement": for_person}}


def certificate_entry(statement: Mapping[str, Any], record: AuditEntry, *, sha256: str) -> AuditEntry:
    """The entry that binds the person's statement, at the time of the record that closes the request.

    Args:
        statement: as :func:`with_certificate` made it.
        record: the entry that closes the request.
        sha256: of the person's statement.

    Raises:
        InvalidEntryError: the record's time is one that the audit log does not take.
    """
    request = statement["request"]
    return AuditEntry(
        log_entry_id=statement[MEMBER]["log_entry_id"],
        timestamp=record.timestamp,
        user_id=request["subject"],
        action=CERTIFICATE_ACTION,
        result="success",
        resource_type=RESOURCE_TYPE,
        resource_id=str(request["id"]),
        metadata={"request_id": request["id"], "certificate_sha256": sha256, "deletion_record": record.log_entry_id},
    )
