"""How far sealing is behind what was appended.

Here: the age of the oldest entry that no segment holds. Not here: from which age on that is a failure
(LEDGER_SEAL_MAX_LAG_SECONDS), and whether the cold store agrees with the database (anchor.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from compliance_pipelines.ledger import sql

if TYPE_CHECKING:
    from datetime import datetime

    import sqlalchemy


def sealing_lag(connection: sqlalchemy.Connection, now: datetime) -> timedelta | None:
    """How long ago the oldest unsealed entry was written; None where every committed entry is sealed.

    Entries of transactions that are still running cannot be seen, and none of them can be sealed yet.

    Args:
        connection: of any role of the project.
        now: aware; an entry that the database's clock dates later counts as written now.
    """
    oldest: datetime | None = connection.execute(sql.OLDEST_UNSEALED).scalar_one()
    return None if oldest is None else max(now - oldest, timedelta())
