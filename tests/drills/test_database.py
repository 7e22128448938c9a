"""Drills: the database is gone, or is what it was earlier."""

from __future__ import annotations

import shutil
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from psycopg import sql

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from compliance_pipelines.local_stack.server import write_atomically
from tests.drills.site import AUTHOR, REASON
from tests.drills.steps import in_shell
from tests.integration.verification.world import ARCHIVED, HOT, OTHER_ARCHIVED, PURGED, TODAY
from tests.support.logins import make_logins
from tests.support.memory import memory_directory
from tests.support.replica import PRIMARY_SETTINGS
from tests.support.servers import in_use

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.local_stack.account import Account
    from tests.drills.site import Site
    from tests.integration.verification.world import World

LATE: Final = TODAY - timedelta(days=100)
RECOVER: Final = f'compliance ledger recover --author "{AUTHOR}" --reason "{REASON}"'
ACCEPTED: Final = "loss_accepted"


def on(server: EmbeddedPostgres, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
    """Run a statement as superuser."""
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def forget_logins(server: EmbeddedPostgres) -> None:
    """Let a cluster have no role but PostgreSQL's own and its superuser."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT rolname FROM pg_roles WHERE oid > 16383").fetchall()
        for (name,) in found:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        for (name,) in found:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def later_entries(world: World) -> None:
    """What happens after a backup: five entries of a day that is hot, four of a day that is archived."""
    world.days.append(HOT, 5)
    world.days.append(LATE, 4)
    archive_day(world.services, LATE)


@pytest.mark.drill("database-from-dump", "the database; a dump of earlier is there")
def test_a_database_is_restored_from_a_dump_of_earlier(site: Site, new_database: str) -> None:
    steps = site.steps
    forget_logins(site.elsewhere)
    steps.values["DATABASE"] = site.database
    site.psql_goes_to(site.server)
    steps.run("pg_dumpall --roles-only | grep -v 'ROLE postgres' > roles.sql")
    steps.run("pg_dump --format=custom --file=audit.dump DATABASE")
    later_entries(site.world)
    rows = site.world.days.cold_rows(LATE)
    site.lose_database()

    steps.values["DATABASE"] = new_database
    site.psql_goes_to(site.elsewhere)
    steps.run("psql --quiet --file=roles.sql postgres")
    steps.run("createdb DATABASE")
    steps.run("pg_restore --exit-on-error --dbname=DATABASE audit.dump")
    site.point_to(site.elsewhere, new_database)
    refused = steps.run("compliance seal", status=1)
    assert "PostgreSQL cluster" in refused.err
    planned = steps.run("compliance ledger recover --dry-run")
    assert "1 segment is in archives alone: their entries are put back into PostgreSQL" in planned.out
    assert " lost: 5 entries were sealed in them, 0 stand in their place now" in planned.out
    steps.run(RECOVER)
    steps.run("compliance seal")
    verified = steps.run("compliance verify --all")
    assert f"{AUTHOR}: {REASON}" in verified.out + verified.err
    with site.opened_at(site.elsewhere, new_database) as world:
        assert sorted(world.days.hot_rows(LATE)) == rows
        assert_as_it_was_made(world)


def assert_as_it_was_made(world: World) -> None:
    """The schema went through the dump: partitions, triggers, owners of functions, what nobody may, ids that go on."""
    assert world.execute("SELECT count(*) > 3 FROM pg_partition_tree('audit_logs') WHERE isleaf") == [(True,)]
    owners = "SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc WHERE prosecdef AND proname LIKE 'audit_%'"
    assert world.execute(owners) == [("audit_owner",)]
    appended = world.days.append(HOT, 1)[0]
    ((tx_id, horizon),) = world.execute(
        "SELECT tx_id, (SELECT min(tx_from) FROM ledger_segments WHERE seq = (SELECT max(seq) FROM ledger_segments))"
        " FROM audit_logs WHERE log_entry_id = :id",
        id=appended.log_entry_id,
    )
    assert int(str(tx_id)) >= int(str(horizon))
    with world.services.engine.connect() as connection, pytest.raises(Exception, match="permission denied"):
        connection.exec_driver_sql("DELETE FROM audit_logs")
    with world.days.superuser.connect() as connection, pytest.raises(Exception, match="append-only"):
        connection.exec_driver_sql("DELETE FROM audit_logs")


@pytest.mark.drill("database-from-bucket", "the database and every backup of it")
def test_a_database_is_made_anew_from_the_bucket_alone(site: Site, new_database: str) -> None:
    steps = site.steps
    steps.values |= {"DATABASE": new_database, "DAY": str(PURGED)}
    days = (PURGED, ARCHIVED, OTHER_ARCHIVED)
    rows = {day: site.world.days.cold_rows(day) for day in days}
    ((keys,),) = site.world.execute("SELECT count(*) FROM object_keys")
    site.lose_database()

    site.psql_goes_to(site.elsewhere)
    steps.run("createdb DATABASE")
    site.point_to(site.elsewhere, new_database)
    steps.run("compliance db migrate")
    # The logins of the applications are nobody's but the site's own.
    make_logins(site.elsewhere.url(new_database))
    planned = steps.run("compliance db rebuild --dry-run")
    assert "4 parts of 3 days are archived, with 50 entries in " in planned.out
    steps.run(f'compliance db rebuild --author "{AUTHOR}" --reason "{REASON}"')
    steps.run("compliance seal")
    assert "4 parts read back" in steps.run("compliance scrub").out
    steps.run("compliance verify --all")
    steps.run("compliance restore DAY")
    with site.opened_at(site.elsewhere, new_database) as world:
        assert world.execute("SELECT count(*) FROM object_keys") == [(keys,)]
        assert world.days.table_rows(f"audit_restored.audit_logs_{PURGED:%Y_%m_%d}", PURGED) == rows[PURGED]
        for day in (ARCHIVED, OTHER_ARCHIVED):
            assert sorted(world.days.table_rows(restore_day(world.services, day).table, day)) == rows[day]


class Restored(EmbeddedPostgres):
    """A server on a base backup, which replays archived write-ahead log up to a restore point.

    Args:
        backup: what pg_basebackup made.
        state_dir: as for every embedded server.
        primary: whose backup it is.
        wal: the directory of the archived write-ahead log.
        target: the name of the restore point.
    """

    def __init__(self, backup: Path, state_dir: Path, primary: EmbeddedPostgres, wal: Path, target: str) -> None:
        settings = {
            **PRIMARY_SETTINGS,
            "restore_command": f"cp {wal}/%f %p",
            "recovery_target_name": target,
            "recovery_target_action": "promote",
        }
        super().__init__(state_dir, settings=settings)
        self._backup = backup
        self._primary = primary

    def _make_password(self) -> None:
        # Roles come with the data, and their passwords.
        write_atomically(self._password_file, self._primary.password, mode=0o600)

    def _initialise(self, account: Account) -> None:
        shutil.copytree(self._backup, self.data_dir)
        (self.data_dir / "recovery.signal").touch()
        self.data_dir.chmod(0o700)
        for path in (self.data_dir, *self.data_dir.rglob("*")):
            account.own(path)


@pytest.mark.drill("database-point-in-time", "the newest hours of the database; base backup and archived log are there")
def test_a_database_is_restored_to_a_point_in_time(site: Site, new_database: str, tmp_path: Path) -> None:
    steps, primary = site.steps, site.elsewhere
    make_it_stand_on(site, primary, new_database)
    site.psql_goes_to(primary)
    steps.run("pg_basebackup --pgdata=base --checkpoint=fast --wal-method=none")
    with site.opened_at(primary, new_database) as world:
        world.days.append(HOT, 2)
        on(primary, "SELECT pg_create_restore_point('before the mistake')")
        later_entries(world)
        rows = world.days.cold_rows(LATE)
    until = datetime.now(UTC) + timedelta(minutes=2)
    ((last,),) = on(primary, "SELECT pg_walfile_name(pg_switch_wal())")
    while on(primary, f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver") != [(True,)]:
        assert datetime.now(UTC) < until
    primary.drop_database(new_database)

    name = f"compliance-drills-{uuid.uuid4().hex}"
    restored = Restored(
        tmp_path / "base",
        (memory_directory() or tmp_path) / name,
        primary,
        primary.state_dir / "wal",
        "before the mistake",
    )
    with in_use(restored, "postgres", tmp_path / "restored.users"):
        while on(restored, "SELECT pg_is_in_recovery()") == [(True,)]:
            assert datetime.now(UTC) < until
        site.point_to(restored, new_database)
        refused = steps.run("compliance seal", status=1)
        assert "was restored to an older state" in refused.err
        planned = steps.run("compliance ledger recover --dry-run")
        assert " lost: 5 entries were sealed in them, 0 stand in their place now" in planned.out
        steps.run(RECOVER)
        steps.run("compliance seal")
        verified = steps.run("compliance verify --all")
        assert f"{AUTHOR}: {REASON}" in verified.out + verified.err
        with site.opened_at(restored, new_database) as world:
            assert len(world.days.hot_rows(HOT)) == 10 + 2
            assert sorted(world.days.hot_rows(LATE)) == rows


def make_it_stand_on(site: Site, server: EmbeddedPostgres, database: str) -> None:
    """Move the system to a server whose write-ahead log is archived; the ledger goes on there."""
    site.psql_goes_to(site.server)
    roles = "pg_dumpall --roles-only | grep -v 'ROLE postgres' > roles.sql"
    assert in_shell(f"{roles} && pg_dump --format=custom --file=moved.dump {site.database}").status == 0
    site.lose_database()
    site.psql_goes_to(server)
    restore = f"createdb {database} && pg_restore --exit-on-error --dbname={database} moved.dump"
    assert in_shell(f"psql --quiet --file=roles.sql postgres && {restore}").status == 0
    site.point_to(server, database)
    assert site.command("ledger", "adopt-cluster", "--yes").status == 0
