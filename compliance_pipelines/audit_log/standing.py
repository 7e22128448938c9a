"""What a login may do with the audit log, as far as the roles say.

Here: the questions about the login, and the refusal of one that has a role without its rights. Not here: what each
command asks for (cli), putting a reading on record (readings.py).

It is told from the privileges and from nothing that somebody could declare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.audit_log import sql
from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    import sqlalchemy

READER: Final = "audit_reader"
PIPELINES: Final = ("audit_writer", "audit_archiver")


class RoleNotInheritedError(ComplianceError):
    """The login is a member of a role and has none of its rights; nothing was done."""


@dataclass(frozen=True)
class Standing:
    """A login's, at one moment.

    Attributes:
        login: the role in force, which `SET ROLE` or the option `role` changes.
        may_append: whether it may append any entry; in a database without our tables everybody counts as one who may,
            because it has other faults, which are told instead.
        roles: those of audit_reader, audit_writer and audit_archiver whose rights it has.
        idle_roles: those of them of which it is a member and whose rights it has not.
    """

    login: str
    may_append: bool
    roles: frozenset[str]
    idle_roles: tuple[str, ...]

    @property
    def is_auditor(self) -> bool:
        """Whether it is one that is given to auditors: in audit_reader, and without a right to append."""
        return READER in self.roles and not self.may_append

    def idle(self, role: str) -> tuple[str, str]:
        """What is to be said of a role in `idle_roles`, and what to do about it."""
        remedy = (
            f"GRANT {role} TO {self.login} WITH INHERIT TRUE (before PostgreSQL 16: ALTER ROLE {self.login} INHERIT), "
            f"or connect with options=-c role={role}"
        )
        return f"{self.login} is a member of {role} and does not inherit its rights", remedy


def standing(connection: sqlalchemy.Connection) -> Standing:
    """The standing of the connection's login."""
    row = connection.execute(sql.STANDING).one()
    return Standing(row.login, row.may_append, frozenset(row.roles), tuple(row.idle_roles))


def refuse_idle_roles(connection: sqlalchemy.Connection) -> None:
    """Let a login pass, unless it has a role of the audit log and the rights of none.

    Raises:
        RoleNotInheritedError: that is so, and it may do next to nothing.
    """
    found = standing(connection)
    if found.idle_roles and not found.roles:
        role = READER if READER in found.idle_roles else found.idle_roles[0]
        raise RoleNotInheritedError(": ".join(found.idle(role)))
