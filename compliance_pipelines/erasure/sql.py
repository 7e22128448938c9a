"""Every SQL statement of the erasures.

Here: statements with bound parameters. Not here: what their results mean, and the tables of an application
(table_sql.py, tables.py).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from compliance_pipelines.postgres import tables
from compliance_pipelines.postgres.statements import columns, insert

_REQUEST: Final = columns(tables.erasure_requests)

INSERT_REQUEST = text(f"{insert(tables.erasure_requests)} RETURNING {_REQUEST}")
REQUEST = text(f"SELECT {_REQUEST} FROM erasure_requests WHERE id = :id")  # noqa: S608 - constants only
# Whether a request names one of the ids, or did so before it was corrected.
_NAMES_ONE: Final = """
    CAST(:ids AS text[]) IS NULL OR request.user_id = ANY(:ids)
    OR EXISTS (SELECT FROM erasure_events AS event
               WHERE event.request_id = request.id AND event.kind IN ('identified', 'corrected')
                 AND (event.detail #>> '{identifiers,subject}' = ANY(:ids)
                      OR event.detail #> '{identifiers,aliases}' ?| CAST(:ids AS text[])))
"""
REQUESTS = text(f"SELECT {_REQUEST} FROM erasure_requests AS request WHERE {_NAMES_ONE} ORDER BY id")  # noqa: S608
OPEN_REQUESTS = text(f"""
    SELECT {_REQUEST} FROM erasure_requests AS request
    WHERE NOT EXISTS (SELECT FROM erasure_closures AS closure WHERE closure.request_id = request.id)
      AND ({_NAMES_ONE})
    ORDER BY id
""")  # noqa: S608 - constants only
CLOSED_SINCE = text(f"""
    SELECT {_REQUEST} FROM erasure_requests AS request JOIN erasure_closures AS closure ON request_id = id
    WHERE closed_at >= :since AND result IN ('success', 'partial')
    ORDER BY closed_at, id
""")  # noqa: S608 - constants only

EVENTS = text(f"""
    SELECT {columns(tables.erasure_events, but=("id",))} FROM erasure_events WHERE request_id = ANY(:ids) ORDER BY id
""")  # noqa: S608 - constants only
INSERT_EVENT = text(insert(tables.erasure_events, also=("detail",)))
CLOSURES = text(f"SELECT {columns(tables.erasure_closures)} FROM erasure_closures WHERE request_id = ANY(:ids)")  # noqa: S608 - constants only
INSERT_CLOSURE = text(insert(tables.erasure_closures))

# For a login that may not see whom requests are about.
MAY_SEE_PEOPLE = text("SELECT has_column_privilege('erasure_requests', 'user_id', 'SELECT')")
REQUESTS_WITHOUT_PEOPLE = text("""
    SELECT id, reason, requested_by, received_at, deadline, replay_of, recorded_at
    FROM erasure_requests WHERE CAST(:id AS bigint) IS NULL OR id = :id ORDER BY id
""")
EVENTS_WITHOUT_DETAIL = text("""
    SELECT request_id, attempt, kind, target, recorded_at FROM erasure_events WHERE request_id = ANY(:ids) ORDER BY id
""")
CLOSURES_WITHOUT_STATEMENT = text("""
    SELECT request_id, result, log_entry_id, closed_at FROM erasure_closures WHERE request_id = ANY(:ids)
""")

DELETION_RECORDS = text("""
    SELECT log_entry_id, "timestamp", user_id, action, result, metadata::text AS metadata
    FROM audit_logs
    WHERE action = ANY(:actions) AND "timestamp" >= :since
      AND audit_json_bytes(metadata) <= 1048576
      AND (CAST(:names AS text[]) IS NULL OR user_id = ANY(:names))
    ORDER BY "timestamp", id
""")
