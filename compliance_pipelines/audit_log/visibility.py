"""Whether a login sees all rows that there are.

Here: what in the database could hide rows from a reader without an error. Not here: privileges, whose lack is an error;
whether the rows are the right ones, which the ledger tells.

Row security filters without a word where a session allows it, and so does a view in a table's place in every session.
What was not seen would be dropped as if it were archived, stay unsealed as if it did not exist, be listed as "none", or
be deleted as if no hold were on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.audit_log import sql
from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy


class RowsHiddenError(ComplianceError):
    """Rows may be hidden from the login, so that nothing can be said about all of them; nothing was changed."""


def hiding_relations(connection: sqlalchemy.Connection) -> list[str]:
    """What may hide rows, in words: relations with row security, and what is no table where one should be."""
    return [f"{row.relation} {row.reason}" for row in connection.execute(sql.HIDING_RELATIONS)]


def refuse_hidden_rows(connection: sqlalchemy.Connection) -> None:
    """Let only a database pass that hides no row of any table of ours.

    Raises:
        RowsHiddenError: one may.
    """
    _refuse(hiding_relations(connection))


def refuse_hidden_rows_of(connection: sqlalchemy.Connection, *names: str) -> None:
    """The same for some tables, for whoever asks often and needs these alone.

    Raises:
        RowsHiddenError: one of them may hide rows.
    """
    _refuse([f"{row.relation} {row.reason}" for row in connection.execute(sql.HIDING_TABLES, {"names": list(names)})])


def _refuse(hiding: Sequence[str]) -> None:
    if hiding:
        raise RowsHiddenError(
            f"rows may be hidden from this login: {'; '.join(hiding)}. Nothing can be said or removed by what may be a "
            "part: find out who did this, take it back (ALTER TABLE ... DISABLE ROW LEVEL SECURITY), and run "
            "`compliance verify --all`"
        )
