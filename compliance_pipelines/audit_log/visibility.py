"""Whether a login sees all rows that there are.

Here: what in the database could hide rows from a reader without an error. Not here: privileges, whose lack is an error;
whether the rows are the right ones, which the ledger tells.

Row security filters without a word, and so does a view in a table's place. What was not seen would be dropped as if it
were archived, or stay unsealed as if it did not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.audit_log import sql
from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    import sqlalchemy


class RowsHiddenError(ComplianceError):
    """Rows may be hidden from the login, so that nothing can be said about all of them; nothing was changed."""


def hiding_relations(connection: sqlalchemy.Connection) -> list[str]:
    """What may hide rows, in words: relations with row security, and what is no table where one should be."""
    return [f"{row.relation} {row.reason}" for row in connection.execute(sql.HIDING_RELATIONS)]


def refuse_hidden_rows(connection: sqlalchemy.Connection) -> None:
    """Let only a database pass that hides no row of the audit log, the ledger, the catalogue and the holds.

    Raises:
        RowsHiddenError: one may.
    """
    hiding = hiding_relations(connection)
    if hiding:
        raise RowsHiddenError(
            f"rows may be hidden from this login: {'; '.join(hiding)}. Whoever removes rows must see all of them: find "
            "out who did this, take it back (ALTER TABLE ... DISABLE ROW LEVEL SECURITY), and run `compliance verify "
            "--all`"
        )
