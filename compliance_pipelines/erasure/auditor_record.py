"""The internal record of an erasure, for an auditor: every detail, with the ledger's proof of the deletion record.

Here: making one. Not here: checking one (document_checks.py), how it looks (record_pages.py), what the statement says
(closing.py), and what the person gets (certificate.py).

    { "format":          "compliance-pipelines/erasure-record/v1",
      "statement":       what was said when the request was closed,
      "closed_at":       when,
      "deletion_record": {"log_entry_id", "timestamp"},
      "proof":           a proof document of that entry, as `compliance prove` writes it }

The deletion record holds the SHA-256 of the statement, and the ledger holds the record: no word of the statement can be
changed unnoticed. `closed_at` alone is not proven; the record's own time is. A certificate of the format v1 was the
same document under another name, and is checked in the same way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.erasure.case import NOT_CARRIED_OUT
from compliance_pipelines.erasure.document_checks import RECORD_FORMAT
from compliance_pipelines.erasure.errors import ErasureError
from compliance_pipelines.erasure.record import load
from compliance_pipelines.ledger.proofs import prove

if TYPE_CHECKING:
    from compliance_pipelines.erasure.record import Closure
    from compliance_pipelines.services import Services


def record_of(services: Services, request_id: int) -> dict[str, Any]:
    """The internal record of a closed request, as JSON values.

    Raises:
        RequestNotFoundError: there is no request of this number.
        ErasureError: it is not closed.
        EntryNotSealedError: it was closed a moment ago.
        EntryDiffersError: the stored entries are not those that were sealed.
    """
    closure = closure_of(services, request_id)
    if closure.result in NOT_CARRIED_OUT:
        raise ErasureError(
            f"erasure request {request_id} is {closure.result}, so that there is no erasure on record; `compliance "
            f"prove {closure.log_entry_id}` proves the decision, and the certificate tells the person of it"
        )
    proof = proof_of(services, closure, closure.log_entry_id)
    return {
        "format": RECORD_FORMAT,
        "statement": json.loads(closure.statement),
        "closed_at": closure.closed_at.isoformat(),
        "deletion_record": {
            "log_entry_id": closure.log_entry_id,
            "timestamp": closure.entry_timestamp.isoformat(),
        },
        "proof": proof,
    }


def closure_of(services: Services, request_id: int) -> Closure:
    """How a request ended.

    Raises:
        RequestNotFoundError: there is no request of this number.
        ErasureError: it is not closed.
    """
    with services.engine.connect() as connection:
        case = load(connection, request_id)
    if case.closure is None:
        raise ErasureError(
            f"erasure request {request_id} is {case.state.value}: there is a certificate when it is closed; see "
            f"`compliance erase show {request_id}`"
        )
    return case.closure


def proof_of(services: Services, closure: Closure, log_entry_id: str) -> dict[str, Any]:
    """The proof of an entry that was appended when a request was closed; that it was made is on record.

    Raises: as :func:`record_of`.
    """
    day = utc_day(closure.entry_timestamp)
    return prove(services, log_entry_id, finder=ArchiveEntryFinder(services), day=day)
