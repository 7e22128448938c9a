"""A certificate to look at, with texts of a test's choice."""

from __future__ import annotations

from typing import Any


def certificate(**request: Any) -> dict[str, Any]:  # noqa: ANN401 - any field of the request
    """A certificate whose proof proves nothing; how it looks is all that matters."""
    return {
        "format": "compliance-pipelines/erasure-certificate/v1",
        "statement": {
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
                **request,
            },
            "attempts": 2,
            "deleted": [
                {
                    "target": "sessions",
                    "location": "redis://host:6379/0",
                    "data_type": "sessions",
                    "count": 2,
                    "at": "2026-03-05T10:01:00+00:00",
                }
            ],
            "deletion_count": 2,
            "verified": [{"target": "sessions", "location": "redis://host:6379/0", "at": "2026-03-05T10:02:00+00:00"}],
            "kept": [
                {
                    "data_type": "conversations",
                    "where": "redis://host:6379/0",
                    "count": 1,
                    "references": ["default"],
                    "why": "it is the thread of everybody who names none",
                    "exception": "a human decides",
                    "is_theirs": True,
                }
            ],
            "holds": [],
            "result": "partial",
        },
        "closed_at": "2026-03-05T10:03:00+00:00",
        "deletion_record": {"log_entry_id": "gdpr_deletion_1", "timestamp": "2026-03-05T10:03:00+00:00"},
        "proof": {
            "segment": {"seq": 3, "day": "2026-03-05", "root": "cd" * 32},
            "checkpoint": "tests.example/audit\n4\nroot\n\n— tests.example/audit sig\n",
        },
    }
