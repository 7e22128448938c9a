"""Documents of an erasure to look at, with texts of a test's choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.erasure.kinds import Kinds
from compliance_pipelines.erasure.person_statement import statement_for_person

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pypdfium2

SENDER: Final = {
    "controller": "Example Ltd\n1 Example Street\nDublin",
    "contact": "Data protection officer\nprivacy@example.org",
    "authority": "Data Protection Commission\nDublin",
    "note": None,
}
_AT: Final = "2026-03-05T10:01:00+00:00"
_PROOF: Final = {
    "entry": {"log_entry_id": "erasure_certificate_1", "timestamp": "2026-03-05T10:03:00.000001+00:00"},
    "segment": {"seq": 3, "day": "2026-03-05", "root": "cd" * 32},
    "checkpoint": "tests.example/audit\n4\nroot\n\n— tests.example/audit sig\n",
}


def deleted(data_type: str, count: int, *, at: str = _AT) -> dict[str, Any]:
    """What was deleted, as the internal statement has it."""
    return {
        "target": data_type,
        "location": "redis://host-7.internal:6379/0",
        "data_type": data_type,
        "count": count,
        "at": at,
    }


def kept(data_type: str, count: int, *, is_theirs: bool, references: Sequence[str] = ("default",)) -> dict[str, Any]:
    """What was left to a human."""
    return {
        "data_type": data_type,
        "where": "redis://host-7.internal:6379/0",
        "count": count,
        "references": list(references),
        "why": "it is the thread of everybody who names none",
        "exception": "a human decides",
        "is_theirs": is_theirs,
    }


ALWAYS: Final = {
    "data_type": "audit_log_entries",
    "where": "audit log and its archives",
    "why": "append-only",
    "exception": "GDPR Article 17(3)(b)",
}


def internal(request: dict[str, Any] | None = None, **statement: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
    """An internal statement: a conversation and its login are gone, and nothing else was there."""
    return {
        "request": {
            "id": 7,
            "user_id": "user:alice",
            "subject": "hmac-sha256:" + "ab" * 32,
            "reason": "gdpr_article_17_user_request",
            "requested_by": "support",
            "received_at": "2026-03-05T10:00:00+00:00",
            "recorded_at": "2026-03-05T10:00:01+00:00",
            "deadline": "2026-04-05",
            "replay_of": None,
            **(request or {}),
        },
        "attempts": 2,
        "deleted": [deleted("sessions", 2), deleted("conversations", 1)],
        "deletion_count": 3,
        "verified": [
            {"target": "sessions", "location": "redis://host-7.internal:6379/0", "at": "2026-03-06T10:02:00+00:00"}
        ],
        "kept": [ALWAYS],
        "holds": [],
        "result": "success",
        **statement,
    }


def record(request: dict[str, Any] | None = None, **statement: Any) -> dict[str, Any]:  # noqa: ANN401 - any member
    """An internal record whose proof proves nothing; how it looks is all that matters."""
    return {
        "format": "compliance-pipelines/erasure-record/v1",
        "statement": internal(request, **statement),
        "closed_at": "2026-03-05T10:03:00+00:00",
        "deletion_record": {"log_entry_id": "gdpr_deletion_1", "timestamp": "2026-03-05T10:03:00+00:00"},
        "proof": _PROOF,
    }


def told(statement: dict[str, Any], *, kinds: Kinds | None = None, counts_rows: bool = True) -> dict[str, Any]:
    """What the person is told of an internal statement."""
    return statement_for_person(
        statement, kinds=kinds or Kinds(), retention_years=7, salt="00" * 16, counts_rows=counts_rows
    )


def certificate(
    statement: dict[str, Any] | None = None,
    *,
    kinds: Kinds | None = None,
    **document: Any,  # noqa: ANN401 - any member
) -> dict[str, Any]:
    """A certificate whose proof proves nothing."""
    return {
        "format": "compliance-pipelines/erasure-certificate/v2",
        "language": "en",
        "issued_on": "2026-03-08",
        "sender": SENDER,
        "addressee": [],
        "statement": told(statement or internal(), kinds=kinds),
        "deletion_record": "gdpr_deletion_1",
        "proof": _PROOF,
        **document,
    }


def words_of(pdf: pypdfium2.PdfDocument) -> str:
    """What stands on the pages of a PDF, without spaces and line ends."""
    pages = (pdf[number].get_textpage().get_text_range() for number in range(len(pdf)))
    return "".join("".join(page.split()) for page in pages)
