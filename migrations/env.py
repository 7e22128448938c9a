"""Alembic's entry point: migrates the database of the settings, or of the URL or connection that a caller gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context
from alembic.util import CommandError

from compliance_pipelines.audit_log.migrate import require_utf8
from compliance_pipelines.postgres.encryption import DEFAULT_TLS_MIN_VERSION
from compliance_pipelines.postgres.engine import engine_meanwhile, migration_engine_from_settings
from compliance_pipelines.postgres.tables import metadata
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine
    from sqlalchemy.sql.schema import SchemaItem


def include_object(
    _item: SchemaItem,
    name: str | None,
    kind: str,
    _reflected: bool,  # noqa: FBT001 - Alembic's signature
    _compare_to: SchemaItem | None,
) -> bool:
    """Leave the partitions to the code that makes them; only the partitioned parent is schema."""
    return not (kind == "table" and name is not None and name.startswith("audit_logs_"))


def run(connection: Connection) -> None:
    """Run the migrations on an open connection, in one transaction.

    Raises:
        MigrationError: the database is not in UTF-8.
    """
    context.configure(connection=connection, target_metadata=metadata, include_object=include_object)
    with context.begin_transaction():
        require_utf8(connection)
        context.run_migrations()


def main() -> None:
    """Take the caller's connection, else the caller's URL, else the one of the settings.

    Raises:
        CommandError: the caller wants SQL instead of a migrated database.
    """
    if context.is_offline_mode():
        raise CommandError("--sql is not supported: the statements are ready to read in migrations/versions/*.sql")
    connection = context.config.attributes.get("connection")
    if connection is not None:
        run(connection)
        return
    of_caller = context.config.attributes
    if "url" in of_caller:
        tls_min_version = of_caller.get("tls_min_version", DEFAULT_TLS_MIN_VERSION)
        connecting: AbstractContextManager[Engine] = engine_meanwhile(of_caller["url"], tls_min_version=tls_min_version)
    else:
        connecting = migration_engine_from_settings(load_settings())
    with connecting as engine, engine.connect() as opened:
        run(opened)


main()
