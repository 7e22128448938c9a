"""`compliance db`: the database's schema.

Here: arguments and words. Not here: what is migrated and what is dropped; whether it is in order (checking.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import migrate as schema
from compliance_pipelines.audit_log.partitions import (
    PartitionLimitError,
    PartitionRepairError,
    drop_empty,
    lock_room,
)
from compliance_pipelines.base.clock import system_clock, utc_day
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.postgres.engine import migration_engine_from_settings
from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.settings import Settings

_TOLD_EVERY: Final = 100


@click.command("repair")
@needs(Need.DATABASE, changes=True)
def repair() -> None:
    """Drop past partitions that are empty, until the server's lock table has room again.

    It works where statements over all partitions fail, because it touches one at a time, each in a transaction of its
    own while appends go on. Stopped at any moment, it goes on when it is run again. No entry is moved or changed.
    """
    with opened() as services, _database_errors(services.engine):
        with services.engine.connect() as connection:
            before = lock_room(connection)
        dropped = drop_empty(services.engine, utc_day(system_clock()), progress=_tell_progress)
        with services.engine.connect() as connection:
            after = lock_room(connection)
    click.echo(
        f"dropped {dropped.days:,} empty day tables and {dropped.months:,} empty months, left {dropped.busy:,} that "
        f"were in use; audit_logs had {before.relations:,} partitions, it has {after.relations:,} now, and the "
        f"server's lock table has room for {after.most_relations:,}"
    )
    if after.is_exceeded:
        raise PartitionLimitError(
            "the partitions that are left hold entries or were in use: run `compliance db repair` again, archive and "
            f"purge old days, or {after.remedy}"
        )


def _tell_progress(done: int, of: int) -> None:
    if done % _TOLD_EVERY == 0:
        click.echo(f"{done:,} of {of:,} empty day tables", err=True)


@contextmanager
def _database_errors(engine: sqlalchemy.Engine) -> Iterator[None]:
    try:
        with passing_errors_as_transient("the repair", engine):
            yield
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise PartitionRepairError(
            f"the repair stopped: {reason}; it needs `compliance db migrate` before it, and a member of audit_archiver"
        ) from error


@click.command("migrate")
@click.argument("revision", default="head")
@needs(Need.MIGRATION_DATABASE)
def migrate(revision: str) -> None:
    """Bring the schema up to REVISION, the latest by default, in one transaction."""
    settings = load_settings()
    before = _revision(settings)
    schema.upgrade(
        settings.require_migration_database_url(), revision, tls_min_version=settings.audit_log_tls_min_version
    )
    _tell(before, _revision(settings))


@click.command("downgrade")
@click.argument("revision")
@click.option(
    "--destroy-audit-trail", is_flag=True, help="Also where signed checkpoints, holds or requests would be lost."
)
@needs(Need.MIGRATION_DATABASE)
def downgrade(revision: str, *, destroy_audit_trail: bool) -> None:
    """Take the schema down to REVISION (`base`: to nothing), in one transaction.

    What the later revisions made is removed with all that it holds.
    """
    settings = load_settings()
    before = _revision(settings)
    schema.downgrade(
        settings.require_migration_database_url(),
        revision,
        destroy_audit_trail=destroy_audit_trail,
        tls_min_version=settings.audit_log_tls_min_version,
    )
    _tell(before, _revision(settings))


def _revision(settings: Settings) -> str | None:
    with migration_engine_from_settings(settings) as engine, engine.connect() as connection:
        return schema.current_revision(connection)


def _tell(before: str | None, after: str | None) -> None:
    if before == after:
        click.echo(f"the schema is at revision {after}, as before")
    else:
        click.echo(f"the schema was at revision {before or 'none'}, it is at {after or 'none'} now")


COMMANDS: Final[list[click.Command]] = [repair, migrate, downgrade]
