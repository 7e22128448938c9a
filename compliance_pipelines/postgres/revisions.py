"""What every migration does in the same way: running its SQL as the owner, and asking before a record is destroyed.

Here: nothing that a migration decides. What is published here stays as it is, as a published migration does.
"""

from __future__ import annotations

from pathlib import Path

from alembic import context, op

from compliance_pipelines.base.errors import ComplianceError


def script_of(migration: str) -> str:
    """The SQL that stands beside a migration under its name.

    Args:
        migration: path of its module.
    """
    return Path(migration).with_suffix(".sql").read_text(encoding="utf-8")


def run_as_owner(*scripts: str) -> None:
    """Run SQL as the role that owns the audit log, so that it owns what is made, too."""
    for script in ("SET LOCAL ROLE audit_owner", *scripts, "RESET ROLE"):
        run_script(script)


def run_script(script: str) -> None:
    """Run SQL, which may be several statements, as the login that migrates."""
    # Only a query without parameters may hold several statements.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(script)


def refuse_unless_destroying(why: str) -> None:
    """Refuse to take the schema down where evidence would be lost, unless the caller said that it may be.

    Args:
        why: what would be lost.

    Raises:
        ComplianceError: nobody said so.
    """
    if context.get_x_argument(as_dictionary=True).get("destroy-audit-trail") != "yes":
        raise ComplianceError(
            f"downgrade refused: {why}; if that is what you want: compliance db downgrade --destroy-audit-trail "
            "(alembic -x destroy-audit-trail=yes downgrade)"
        )
