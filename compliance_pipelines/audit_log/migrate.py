"""The database's schema: bringing it up, taking it down, and where it stands.

Here: running Alembic on the migrations, wherever the project is installed. Not here: the migrations themselves.
"""

from __future__ import annotations

from argparse import Namespace
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg.errors
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import sql
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.shipped import NotShippedError, shipped
from compliance_pipelines.postgres.encryption import DEFAULT_TLS_MIN_VERSION
from compliance_pipelines.postgres.engine import read_conninfo
from compliance_pipelines.postgres.errors import is_busy, is_passing, reason_of
from compliance_pipelines.postgres.holders import table_locks_held

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy


class MigrationError(ComplianceError):
    """The schema could not be changed, and is as it was."""


def alembic_config(url: str, *, tls_min_version: str = DEFAULT_TLS_MIN_VERSION) -> Config:
    """Alembic's configuration for one database, whatever the working directory is.

    Args:
        url: a connection string, of a login that may make roles and tables.
        tls_min_version: oldest TLS version that a remote host may speak.

    Raises:
        NotShippedError: the migrations are not there.
    """
    config = _config()
    config.attributes["url"] = url
    config.attributes["tls_min_version"] = tls_min_version
    return config


def _config() -> Config:
    config = Config()
    # The option is of the .ini format, which gives the percent sign a meaning.
    config.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    return config


def head_revision() -> str:
    """The revision that this version of the project works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise NotShippedError(f"there are no migrations in {shipped('migrations')}: install the wheel again")
    return head


def knows_revision(revision: str) -> bool:
    """Whether this version of the project has the migration."""
    return any(script.revision == revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def current_revision(connection: sqlalchemy.Connection) -> str | None:
    """The revision of a database; None where it was never migrated, or taken down to nothing."""
    return MigrationContext.configure(connection).get_current_revision()


def require_utf8(connection: sqlalchemy.Connection) -> None:
    """Refuse a database in which not every text can stand, or one text stands for different bytes.

    Raises:
        MigrationError: its encoding is not UTF-8.
    """
    encoding = connection.execute(sql.SERVER_ENCODING).scalar_one()
    if encoding != "UTF8":
        raise MigrationError(
            f"the database is in the encoding {encoding}, and entries are hashed as UTF-8: make another with "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def upgrade(url: str, revision: str = "head", *, tls_min_version: str = DEFAULT_TLS_MIN_VERSION) -> None:
    """Bring the schema up to a revision, in one transaction.

    Raises:
        MigrationError: the revision is unknown, or the login lacks a privilege.
        NotShippedError: the migrations are not there.
        ConfigurationError: the URL cannot be used.
    """
    config = alembic_config(url, tls_min_version=tls_min_version)
    with _migrating(url, tls_min_version):
        command.upgrade(config, revision)


def downgrade(
    url: str,
    revision: str,
    *,
    destroy_audit_trail: bool = False,
    tls_min_version: str = DEFAULT_TLS_MIN_VERSION,
) -> None:
    """Take the schema down to a revision, in one transaction.

    Raises:
        ComplianceError: something would be lost that is evidence, and `destroy_audit_trail` is False.
        MigrationError: the revision is unknown, or the login lacks a privilege.
    """
    config = alembic_config(url, tls_min_version=tls_min_version)
    if destroy_audit_trail:
        config.cmd_opts = Namespace(x=["destroy-audit-trail=yes"])
    with _migrating(url, tls_min_version):
        command.downgrade(config, revision)


@contextmanager
def _migrating(url: str, tls_min_version: str) -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise MigrationError(f"the schema was not changed: {error}") from error
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise MigrationError(
                f"the schema was not changed: {' '.join(str(error.orig).split())}; migrations need a login that may "
                "create roles and tables (AUDIT_LOG_MIGRATION_DATABASE_URL)"
            ) from error
        if is_passing(error):
            conninfo = read_conninfo(url, tls_min_version=tls_min_version)
            held = table_locks_held(conninfo) if is_busy(error) else ""
            raise MigrationError(f"the schema was not changed: {reason_of(error)}{held}; run it again") from error
        raise
