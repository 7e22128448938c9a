"""The embedded stack made ready for the project: servers, schema, the pipelines' own login, signing key, environment.

Here: the order of these steps. Not here: how a server is run (local_stack).
"""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from psycopg import sql

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.audit_log.migrate import upgrade
from compliance_pipelines.encryption.keyring import Keyring
from compliance_pipelines.erasure.redis_binding import bind_redis
from compliance_pipelines.ledger.keys import write_new_key
from compliance_pipelines.local_stack.stack import COMPLIANCE_DATABASE, LocalStack
from compliance_pipelines.postgres.conninfo import parse
from compliance_pipelines.postgres.engine import engine_meanwhile
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.local_stack.stack import ColdStore

_LEDGER_ORIGIN: Final = "localhost/audit"


def prepare(state_dir: Path, cold_store: ColdStore | None = None) -> LocalStack:
    """Bring the stack up and point this process's environment at it. What is there already stays as it is.

    Args:
        state_dir: of the stack.
        cold_store: what archives are to be kept in; None: what the stack was made with, else a directory.

    Raises:
        EmbeddedServerError: a server did not start.
        ConfigurationError: the signing key cannot be written.
        KeyringError: the keyring cannot be written.
        ComplianceError: the cold store cannot be made, or is not this stack's.
    """
    stack = LocalStack(state_dir)
    stack.up(redis=True, cold_store=cold_store)
    administrator_url = stack.postgres.url(COMPLIANCE_DATABASE)
    upgrade(administrator_url)
    _grant_login(administrator_url, stack.environment()["AUDIT_LOG_DATABASE_URL"])
    if not stack.signing_key_file.exists():
        write_new_key(stack.signing_key_file, _LEDGER_ORIGIN)
    if not stack.keyring_file.exists():
        Keyring.create(stack.keyring_file, datetime.now(UTC))
    os.environ.update(stack.environment())
    with open_services(load_settings()) as services:
        # A stack of an earlier version has a store without an identity; both are this stack's own.
        init_store(services, adopt_existing=True)
        bind_redis(services)
    return stack


def _grant_login(administrator_url: str, login_url: str) -> None:
    login = parse(login_url).parameters
    with engine_meanwhile(administrator_url) as engine, closing(engine.raw_connection()) as raw:
        cursor = raw.cursor()
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (login["user"],))
        if cursor.fetchone() is None:
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            cursor.execute(statement.format(sql.Identifier(login["user"]), sql.Literal(login["password"])))
        statement = sql.SQL("GRANT audit_writer, audit_archiver, audit_reader TO {}")
        cursor.execute(statement.format(sql.Identifier(login["user"])))
        raw.commit()
