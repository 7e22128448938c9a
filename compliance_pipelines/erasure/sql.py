"""Every SQL statement of the erasures.

Here: statements with bound parameters. Not here: what their results mean, and the tables of an application
(table_sql.py, tables.py).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

_REQUEST: Final = "id, user_id, reason, requested_by, received_at, deadline, replay_of, recorded_at"

INSERT_REQUEST = text(f"""
    INSERT INTO erasure_requests (user_id, reason, requested_by, received_at, deadline, replay_of)
    VALUES (:user_id, :reason, :requested_by, :received_at, :deadline, :replay_of)
    RETURNING {_REQUEST}
""")  # noqa: S608 - constants only
REQUEST = text(f"SELECT {_REQUEST} FROM erasure_requests WHERE id = :id")  # noqa: S608 - constants only
REQUESTS = text(f"""
    SELECT {_REQUEST} FROM erasure_requests
    WHERE CAST(:user_id AS text) IS NULL OR user_id = :user_id
    ORDER BY id
""")  # noqa: S608 - constants only
OPEN_REQUESTS = text(f"""
    SELECT {_REQUEST} FROM erasure_requests AS request
    WHERE NOT EXISTS (SELECT FROM erasure_closures AS closure WHERE closure.request_id = request.id)
      AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
    ORDER BY deadline, id
""")  # noqa: S608 - constants only
CLOSED_SINCE = text("""
    SELECT request.id, request.user_id, closure.log_entry_id, closure.closed_at
    FROM erasure_closures AS closure JOIN erasure_requests AS request ON request.id = closure.request_id
    WHERE closure.closed_at >= :since
    ORDER BY closure.closed_at, request.id
""")

EVENTS = text("""
    SELECT request_id, attempt, kind, target, detail, recorded_at
    FROM erasure_events WHERE request_id = ANY(:ids) ORDER BY id
""")
INSERT_EVENT = text("""
    INSERT INTO erasure_events (request_id, attempt, kind, target, detail)
    VALUES (:request_id, :attempt, :kind, :target, CAST(:detail AS jsonb))
""")
CLOSURES = text("""
    SELECT request_id, result, log_entry_id, entry_timestamp, statement, closed_at
    FROM erasure_closures WHERE request_id = ANY(:ids)
""")
INSERT_CLOSURE = text("""
    INSERT INTO erasure_closures (request_id, result, log_entry_id, entry_timestamp, statement)
    VALUES (:request_id, :result, :log_entry_id, :entry_timestamp, :statement)
""")

DELETION_RECORDS = text("""
    SELECT log_entry_id, "timestamp", user_id, result, metadata::text AS metadata
    FROM audit_logs
    WHERE action = :action AND "timestamp" >= :since
      AND audit_json_bytes(metadata) <= 1048576
      AND (CAST(:names AS text[]) IS NULL OR user_id = ANY(:names))
    ORDER BY "timestamp", id
""")
