"""The schema is brought up and taken down with entries in it, and is what the models say."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from sqlalchemy import text

from compliance_pipelines.audit_log.entry import AuditEntry
from compliance_pipelines.audit_log.log import AppendResult, AuditLog
from compliance_pipelines.audit_log.migrate import (
    MigrationError,
    alembic_config,
    current_revision,
    downgrade,
    head_revision,
    knows_revision,
    upgrade,
)
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.shipped import NotShippedError
from compliance_pipelines.postgres.engine import create_engine
from tests.support.logins import database_of, url_of
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.services import Services

CHECKOUT = Path(__file__).resolve().parents[2]
REVISIONS = ("0001", "head")


def entry(number: int) -> AuditEntry:
    return AuditEntry(
        log_entry_id=f"entry-{number}",
        timestamp=datetime(2025, 10, 1 + number % 3, 12, tzinfo=UTC),
        user_id="alice",
        action="message.send",
        result="success",
        metadata={"number": number},
    )


@pytest.fixture
def administrator(empty_database_url: str) -> Iterator[sqlalchemy.Engine]:
    engine = create_engine(empty_database_url, pool_size=2)
    yield engine
    engine.dispose()


def revision(engine: sqlalchemy.Engine) -> str | None:
    with engine.connect() as connection:
        return current_revision(connection)


def objects(engine: sqlalchemy.Engine) -> list[tuple[str, str]]:
    """Every relation, function and schema of the project."""
    with engine.connect() as connection:
        found = connection.execute(
            text("""
                SELECT 'relation', relname::text FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic_version%'
                UNION ALL SELECT 'function', proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                UNION ALL SELECT 'schema', nspname::text FROM pg_namespace WHERE nspname LIKE 'audit%'
                ORDER BY 1, 2
            """)
        )
        return [(kind, name) for kind, name in found]


def append_some(engine: sqlalchemy.Engine) -> None:
    """Entries in days of their own, in a month's default partition and in the table's."""
    with engine.begin() as connection:
        ensure_days(connection, [date(2025, 10, 1)])
    log = AuditLog(engine)
    assert log.append_many(entry(number) for number in range(6)) == AppendResult(new=6)
    log.append(
        AuditEntry(log_entry_id="old", timestamp=datetime(2024, 1, 1, tzinfo=UTC), user_id="u", action="a", result="r")
    )


def test_up_makes_everything_and_down_removes_it_with_what_it_holds(
    empty_database_url: str, administrator: sqlalchemy.Engine
) -> None:
    assert objects(administrator) == []
    upgrade(empty_database_url)
    assert revision(administrator) == head_revision()
    made = objects(administrator)
    append_some(administrator)

    downgrade(empty_database_url, "base")
    assert objects(administrator) == []
    assert revision(administrator) is None

    upgrade(empty_database_url)
    assert objects(administrator) == made
    append_some(administrator)


def test_each_later_revision_keeps_the_entries_up_and_down(
    empty_database_url: str, administrator: sqlalchemy.Engine
) -> None:
    def entries() -> list[Any]:
        with administrator.connect() as connection:
            return list(connection.execute(text(f"SELECT {columns} FROM audit_logs ORDER BY id")))

    columns = 'id, log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata, created_at'
    upgrade(empty_database_url, "0001")
    append_some(administrator)
    before = entries()
    base = objects(administrator)
    upgrade(empty_database_url)
    assert entries() == before
    downgrade(empty_database_url, "0001")
    assert entries() == before
    assert [each for each in objects(administrator) if "audit_logs" not in each[1]] == [
        each for each in base if "audit_logs" not in each[1]
    ]


def test_the_nonces_of_entries_from_before_differ(empty_database_url: str, administrator: sqlalchemy.Engine) -> None:
    upgrade(empty_database_url, "0010")
    append_some(administrator)
    upgrade(empty_database_url)
    with administrator.connect() as connection:
        counted = connection.execute(text("SELECT count(*), count(DISTINCT nonce) FROM audit_logs")).one()
    assert counted[0] == counted[1] > 1


def test_a_database_with_a_ledger_of_format_1_is_refused_in_one_line(
    empty_database_url: str, administrator: sqlalchemy.Engine
) -> None:
    upgrade(empty_database_url, "0010")
    with administrator.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ledger_segments"
                " VALUES (0, '2025-10-01', 0, 9, 1, 1, 1, sha256(''), '2025-10-02 00:00:00+00')"
            )
        )
    with pytest.raises(
        ComplianceError, match=r"this database has a ledger of format 1, .*begin a new database"
    ) as refused:
        upgrade(empty_database_url)
    assert "\n" not in str(refused.value)
    assert revision(administrator) == "0010"


def test_what_waits_to_be_archived_is_counted_of_what_was_sealed_before(
    services: Services, database_url: str, superuser_engine: sqlalchemy.Engine
) -> None:
    append_some(services.engine)
    seal_all(services)

    def counted() -> list[Any]:
        with superuser_engine.connect() as connection:
            return list(connection.execute(text("SELECT day, segments, entries FROM archive_backlog ORDER BY day")))

    before = counted()
    assert [(str(day), segments, entries) for day, segments, entries in before][:2] == [
        ("2024-01-01", 1, 1),
        ("2025-10-01", 1, 2),
    ]
    services.engine.dispose()
    downgrade(database_url, "0012")
    upgrade(database_url)
    assert counted() == before


def test_an_upgrade_is_repeatable(empty_database_url: str, administrator: sqlalchemy.Engine) -> None:
    upgrade(empty_database_url)
    append_some(administrator)
    made = objects(administrator)
    upgrade(empty_database_url)
    assert objects(administrator) == made


def test_an_audit_trail_with_checkpoints_is_not_destroyed_by_mistake(
    services: Services, database_url: str, superuser_engine: sqlalchemy.Engine
) -> None:
    AuditLog(services.engine).append(entry(1))
    seal_all(services)
    with pytest.raises(ComplianceError, match=r"downgrade refused: .*nonces of 1 sealed.*destroy-audit-trail=yes"):
        downgrade(database_url, "base")
    # In one transaction: what later revisions made is still there too.
    assert revision(superuser_engine) == head_revision()
    with superuser_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one() == 1

    services.engine.dispose()
    downgrade(database_url, "base", destroy_audit_trail=True)
    assert objects(superuser_engine) == []


@pytest.mark.parametrize("at", REVISIONS)
def test_a_revision_that_fails_half_way_leaves_nothing(
    empty_database_url: str, administrator: sqlalchemy.Engine, at: str
) -> None:
    if at == "head":
        upgrade(empty_database_url, "0001")
    before = objects(administrator)
    last = "audit_restored" if at == "0001" else "erasure_closures"
    with administrator.begin() as connection:
        connection.execute(
            text(f"CREATE {'SCHEMA' if at == '0001' else 'TABLE'} {last} {'' if at == '0001' else '()'}")
        )
    in_the_way = set(objects(administrator)) - set(before)
    with pytest.raises(Exception, match=f"{last}.* already exists"):
        upgrade(empty_database_url, at)
    assert set(objects(administrator)) - in_the_way == set(before)


def test_the_models_are_what_the_migrations_make(database_url: str) -> None:
    command.check(alembic_config(database_url))


def test_drift_is_found(database_url: str, superuser_engine: sqlalchemy.Engine) -> None:
    with superuser_engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_purges ADD COLUMN surprise text"))
    with pytest.raises(Exception, match="surprise"):
        command.check(alembic_config(database_url))


def test_a_partition_is_no_drift(database_url: str, superuser_engine: sqlalchemy.Engine) -> None:
    append_some(superuser_engine)
    command.check(alembic_config(database_url))


def test_the_migrations_form_one_line_from_the_first_to_the_head() -> None:
    assert knows_revision("0001")
    assert knows_revision(head_revision())
    assert not knows_revision("9999")


def test_an_unknown_revision_changes_nothing(empty_database_url: str, administrator: sqlalchemy.Engine) -> None:
    with pytest.raises(MigrationError, match="the schema was not changed: Can't locate revision"):
        upgrade(empty_database_url, "9999")
    assert objects(administrator) == []


def test_the_login_that_migrates_need_not_be_a_superuser(
    empty_database_url: str, administrator: sqlalchemy.Engine, migrated_once: None
) -> None:
    """It must be able to make roles and tables, and becomes a member of audit_owner; it owns the database here."""
    name = "test_migrator"
    with administrator.begin() as connection:
        connection.execute(text(f"DROP ROLE IF EXISTS {name}"))
        connection.execute(text(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'only-for-tests'"))
        connection.execute(text(f"GRANT audit_owner TO {name} WITH ADMIN OPTION"))
        database = database_of(administrator)
        connection.execute(text(f'ALTER DATABASE "{database}" OWNER TO {name}'))
        connection.execute(text(f"GRANT CREATE ON SCHEMA public TO {name} WITH GRANT OPTION"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {name} WITH GRANT OPTION"))
    url = url_of(administrator, user=name, password="only-for-tests")
    try:
        upgrade(url)
        with administrator.connect() as connection:
            owners = connection.execute(
                text(
                    "SELECT DISTINCT relowner::regrole::text FROM pg_class"
                    " WHERE relname LIKE 'audit_logs%' AND relkind IN ('r', 'p')"
                )
            )
            assert list(owners.scalars()) == ["audit_owner"]
    finally:
        with administrator.begin() as connection:
            connection.execute(text(f'ALTER DATABASE "{database}" OWNER TO postgres'))
            connection.execute(text(f"REASSIGN OWNED BY {name} TO postgres"))
            connection.execute(text(f"DROP OWNED BY {name}"))
            connection.execute(text(f"DROP ROLE {name}"))


@pytest.fixture
def migrated_once(template_database: str) -> None:
    """The roles exist: they belong to the cluster, and another database of it was migrated."""


def alembic(url: str | None, *arguments: str, cwd: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    """Alembic's own command, as somebody uses it who knows nothing of this project."""
    environment = {} if url is None else {"AUDIT_LOG_MIGRATION_DATABASE_URL": url}
    return subprocess.run(
        [Path(sys.executable).with_name("alembic"), *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_alembic_works_from_the_command_line_with_pyproject_toml_alone(
    empty_database_url: str, administrator: sqlalchemy.Engine
) -> None:
    assert not (CHECKOUT / "alembic.ini").exists()
    up = alembic(empty_database_url, "upgrade", "head")
    assert up.returncode == 0, up.stderr
    assert revision(administrator) == head_revision()
    check = alembic(empty_database_url, "check")
    assert (check.returncode, check.stdout.strip()) == (0, "No new upgrade operations detected.")
    down = alembic(empty_database_url, "downgrade", "base")
    assert down.returncode == 0, down.stderr
    assert objects(administrator) == []


def test_alembic_says_where_the_statements_are_instead_of_printing_half_of_them() -> None:
    refused = alembic(None, "upgrade", "head", "--sql")
    assert refused.returncode != 0
    assert "FAILED: --sql is not supported: the statements are ready to read in migrations/versions/*.sql" in (
        refused.stdout + refused.stderr
    )


def test_migrations_that_are_not_there_are_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("compliance_pipelines.base.shipped.files", lambda _: tmp_path)
    with pytest.raises(NotShippedError, match=f"migrations is not in {tmp_path}: this installation is not whole"):
        alembic_config("postgresql://localhost/x")
