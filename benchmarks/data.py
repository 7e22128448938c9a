"""The measured entries: made by PostgreSQL itself, about 350 bytes each, all of one day.

Here: the rows and the database they stand in. Not here: anything timed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import sqlalchemy
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.audit_log.entry import AuditEntry

DAY: Final = date(2025, 10, 1)

_VALUES: Final = """
    SELECT gen_random_uuid()::text,
           TIMESTAMPTZ '2025-10-01 00:00:00+00' + (n % 86400000) * interval '1 millisecond',
           'user-' || lpad((n * 7919 % 5000)::text, 5, '0'),
           (ARRAY['conversation.read', 'message.send', 'tool.invoke', 'authorization.check'])[1 + n % 4],
           (ARRAY['conversation', 'message', 'tool', 'conversation'])[1 + n % 4],
           'resource-' || md5(n::text),
           CASE WHEN n % 20 = 0 THEN 'failure' ELSE 'success' END,
           jsonb_build_object('request_id', md5((n * 31)::text), 'client_ip', '192.0.2.' || n % 250,
                              'latency_ms', n % 2500, 'input_tokens', n % 4000, 'output_tokens', n % 1200)
    FROM generate_series(1, CAST(:count AS bigint)) AS n
"""


def fill(engine: sqlalchemy.Engine, count: int, *, own_table: bool = True) -> None:
    """Put `count` entries into the day's table, or into the default partition, and let PostgreSQL settle."""
    if own_table:
        make_day(engine)
    with engine.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, resource_type, resource_id,'
                " result, metadata)" + _VALUES
            ),
            {"count": count},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE, FREEZE) audit_logs"))
        connection.execute(text("CHECKPOINT"))


def make_day(engine: sqlalchemy.Engine) -> None:
    """Make the day's table."""
    with engine.begin() as connection:
        connection.execute(text("SELECT audit_create_day(:day)"), {"day": DAY})


def average_entry_bytes(engine: sqlalchemy.Engine) -> float:
    """The mean size of a row as text, in bytes."""
    with engine.connect() as connection:
        return float(
            connection.execute(
                text("SELECT avg(octet_length(entry::text)) FROM (SELECT * FROM audit_logs LIMIT 10000) AS entry")
            ).scalar_one()
        )


def entries(count: int) -> Iterator[AuditEntry]:
    """The same shape as Python objects, for the append API."""
    from compliance_pipelines.audit_log.entry import AuditEntry  # noqa: PLC0415 - keeps the SQL side importable alone

    midnight = datetime(2025, 10, 1, tzinfo=UTC).timestamp()
    actions = ("conversation.read", "message.send", "tool.invoke", "authorization.check")
    resources = ("conversation", "message", "tool", "conversation")
    for n in range(count):
        yield AuditEntry(
            log_entry_id=f"{n:08x}-7d1e-4c1b-9f0a-{n * 2654435761 % 2**48:012x}",
            timestamp=datetime.fromtimestamp(midnight + n % 86_400_000 / 1000, UTC),
            user_id=f"user-{n * 7919 % 5000:05d}",
            action=actions[n % 4],
            resource_type=resources[n % 4],
            resource_id=f"resource-{n * 2654435761 % 2**128:032x}",
            result="failure" if n % 20 == 0 else "success",
            metadata={
                "request_id": f"{n * 31:032x}",
                "client_ip": f"192.0.2.{n % 250}",
                "latency_ms": n % 2500,
                "input_tokens": n % 4000,
                "output_tokens": n % 1200,
            },
        )
