"""The embedded stack made ready for the project: servers, schema, the pipelines' own login, signing key, environment.

Here: the order of these steps. Not here: how a server is run (local_stack).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from psycopg import sql
from sqlalchemy.engine import make_url

from compliance_pipelines.audit_log.migrate import upgrade
from compliance_pipelines.database import create_engine
from compliance_pipelines.ledger.keys import write_new_key
from compliance_pipelines.local_stack.stack import COMPLIANCE_DATABASE, LocalStack

if TYPE_CHECKING:
    from pathlib import Path

_LEDGER_ORIGIN: Final = "localhost/audit"


def prepare(state_dir: Path) -> LocalStack:
    """Bring the stack up and point this process's environment at it. What is there already stays as it is.

    Raises:
        EmbeddedServerError: a server did not start.
        ConfigurationError: the signing key cannot be written.
    """
    stack = LocalStack(state_dir)
    stack.up(redis=True)
    administrator_url = stack.postgres.url(COMPLIANCE_DATABASE)
    upgrade(administrator_url)
    _grant_login(administrator_url, stack.environment()["AUDIT_LOG_DATABASE_URL"])
    if not stack.signing_key_file.exists():
        write_new_key(stack.signing_key_file, _LEDGER_ORIGIN)
    os.environ.update(stack.environment())
    return stack


def _grant_login(administrator_url: str, login_url: str) -> None:
    login = make_url(login_url)
    engine = create_engine(administrator_url, pool_size=1)
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (login.username,))
        if cursor.fetchone() is None:
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            cursor.execute(statement.format(sql.Identifier(str(login.username)), sql.Literal(str(login.password))))
        statement = sql.SQL("GRANT audit_writer, audit_archiver, audit_reader TO {}")
        cursor.execute(statement.format(sql.Identifier(str(login.username))))
        raw.commit()
    finally:
        raw.close()
        engine.dispose()
