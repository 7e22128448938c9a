"""Nobody changes or removes what was appended: roles, their exact privileges, and triggers on every partition."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log.partitions import Dropped, drop_empty, ensure_days
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.audit_log.entries import MOMENT, entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.audit_log.log import AuditLog

DAY = MOMENT.date()
READERS = {"audit_writer", "audit_archiver", "audit_reader"}
WRITABLE = {
    "log_entry_id",
    "timestamp",
    "user_id",
    "action",
    "resource_type",
    "resource_id",
    "result",
    "metadata",
}


@pytest.fixture
def relations(log: AuditLog, engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine) -> list[str]:
    """Every relation of the audit log: parent, month, days, defaults."""
    with engine.begin() as connection:
        assert ensure_days(connection, [DAY, DAY.replace(day=2)]) == 2
    log.append(entry(1))
    log.append(entry(2, timestamp=MOMENT.replace(day=5)))
    log.append(entry(3, timestamp=datetime(2024, 1, 1, tzinfo=UTC)))
    with superuser_engine.connect() as connection:
        names = connection.execute(text("SELECT relid::regclass::text FROM pg_partition_tree('audit_logs') ORDER BY 1"))
        found = list(names.scalars())
    assert found == [
        "audit_logs",
        "audit_logs_2025_10",
        "audit_logs_2025_10_01",
        "audit_logs_2025_10_02",
        "audit_logs_2025_10_default",
        "audit_logs_default",
    ]
    return found


@pytest.fixture
def owner(superuser_engine: sqlalchemy.Engine) -> Iterator[sqlalchemy.Connection]:
    """The owner of the tables, as whom nobody can log in."""
    with superuser_engine.connect() as connection:
        connection.execute(text("SET ROLE audit_owner"))
        connection.commit()
        yield connection
        connection.rollback()
        connection.execute(text("RESET ROLE"))


def refusal(connection: sqlalchemy.Connection, statement: str) -> str:
    with pytest.raises(DBAPIError) as caught, connection.begin():
        connection.execute(text(statement))
    return str(caught.value.orig)


@pytest.mark.parametrize("role", ["owner", "superuser"])
def test_triggers_refuse_update_delete_and_truncate_everywhere(
    relations: list[str], owner: sqlalchemy.Connection, superuser_engine: sqlalchemy.Engine, role: str
) -> None:
    with superuser_engine.connect() as superuser:
        connection = owner if role == "owner" else superuser
        before = connection.execute(text("SELECT * FROM audit_logs ORDER BY id")).all()
        connection.rollback()
        assert len(before) == 3
        for relation in relations:
            filled = connection.execute(text(f"SELECT count(*) FROM {relation}")).scalar_one() > 0
            connection.rollback()
            assert f"TRUNCATE on {relation} refused: the audit trail is append-only" in refusal(
                connection, f"TRUNCATE {relation}"
            )
            if filled:
                assert "UPDATE on audit_logs" in refusal(connection, f"UPDATE {relation} SET user_id = 'mallory'")
                assert "DELETE on audit_logs" in refusal(connection, f"DELETE FROM {relation}")
        assert connection.execute(text("SELECT * FROM audit_logs ORDER BY id")).all() == before


def test_every_relation_has_both_triggers_enabled(relations: list[str], superuser_engine: sqlalchemy.Engine) -> None:
    with superuser_engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal"
                " AND tgrelid IN (SELECT relid FROM pg_partition_tree('audit_logs')) ORDER BY 1, 2"
            )
        ).all()
    assert [tuple(row) for row in found] == [
        (relation, trigger, "O")
        for relation in relations
        for trigger in ("audit_logs_append_only", "audit_logs_no_truncate")
    ]


@pytest.mark.parametrize(
    "table",
    [
        "ledger_segments",
        "ledger_statements",
        "ledger_checkpoints",
        "archived_segments",
        "archive_scrubs",
        "archive_repairs",
        "audit_purges",
    ],
)
def test_records_about_entries_are_append_only_too(
    table: str, owner: sqlalchemy.Connection, superuser_engine: sqlalchemy.Engine
) -> None:
    assert f"TRUNCATE on {table} refused" in refusal(owner, f"TRUNCATE {table} CASCADE")
    with superuser_engine.connect() as connection:
        guarded = connection.execute(
            text(
                "SELECT count(*) FROM pg_trigger"
                " WHERE tgrelid = CAST(:table AS regclass) AND tgfoid = 'audit_refuse_change'::regproc"
            ),
            {"table": table},
        ).scalar_one()
    assert guarded == 2


@pytest.mark.parametrize("url_fixture", ["writer_database_url", "reader_database_url", "pipeline_database_url"])
def test_no_login_of_the_project_changes_or_removes_an_entry(
    relations: list[str], url_fixture: str, request: pytest.FixtureRequest
) -> None:
    engine = create_engine(request.getfixturevalue(url_fixture), pool_size=1)
    with engine.connect() as connection:
        for relation in relations:
            for statement in (
                f"UPDATE {relation} SET user_id = 'mallory'",
                f"DELETE FROM {relation}",
                f"TRUNCATE {relation}",
                f"DROP TABLE {relation}",
                f"ALTER TABLE {relation} DISABLE TRIGGER ALL",
                f"CREATE RULE nothing AS ON INSERT TO {relation} DO INSTEAD NOTHING",
            ):
                assert "permission denied" in (reason := refusal(connection, statement)) or "must be owner" in reason
        for statement in ("SET ROLE audit_owner", "SET session_replication_role = replica"):
            assert "permission denied" in refusal(connection, statement)
    engine.dispose()


@pytest.mark.parametrize("column", ["id", "created_at", "tx_id", "nonce", "commitment"])
def test_a_writer_cannot_choose_what_the_database_gives(log: AuditLog, writer: sqlalchemy.Engine, column: str) -> None:
    value = {"created_at": "now()", "nonce": "gen_random_uuid()", "commitment": "sha256('')"}.get(column, "1")
    with writer.connect() as connection:
        assert "permission denied for table audit_logs" in refusal(
            connection,
            f"""INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result, {column})
                VALUES ('x', now(), 'u', 'a', 'r', {value})""",
        )


def test_a_reader_reads_and_does_nothing_else(relations: list[str], reader_database_url: str) -> None:
    engine = create_engine(reader_database_url, pool_size=1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_log_entries")).scalar_one() == 3
        connection.rollback()
        for statement in (
            """INSERT INTO audit_logs (log_entry_id, "timestamp", user_id, action, result)
               VALUES ('x', now(), 'u', 'a', 'r')""",
            "SELECT audit_create_day('2025-10-03')",
            "SELECT audit_drop_day('2025-10-01')",
            "SELECT audit_lock_day('2025-10-01')",
            "SELECT audit_remove_day('2025-10-01', 0)",
            "SELECT audit_drop_empty_day('2025-10-01')",
            "SELECT audit_drop_empty_month('2026-10-01')",
            "SELECT audit_make_fence('2025-10-01')",
            "SELECT audit_adopt_cluster(5)",
        ):
            assert "permission denied" in refusal(connection, statement)
    engine.dispose()


def test_a_writer_makes_and_drops_no_partition(writer: sqlalchemy.Engine) -> None:
    with writer.connect() as connection:
        for statement in (
            "SELECT audit_create_day('2025-10-03')",
            "SELECT audit_drop_day('2025-10-01')",
            "SELECT audit_lock_day('2025-10-01')",
            "SELECT audit_remove_day('2025-10-01', 0)",
            "SELECT audit_drop_empty_day('2025-10-01')",
            "SELECT audit_drop_empty_month('2026-10-01')",
            "SELECT audit_make_fence('2025-10-01')",
        ):
            assert "permission denied for function" in refusal(connection, statement)


def test_the_roles_have_exactly_these_privileges(superuser_engine: sqlalchemy.Engine) -> None:
    """On the tables of the audit log, the ledger and the archive; those of later migrations have tests of their own."""
    with superuser_engine.connect() as connection:
        tables = connection.execute(
            text(
                "SELECT grantee, table_name, privilege_type FROM information_schema.role_table_grants"
                " WHERE table_schema = 'public' AND grantee <> grantor"
                " AND (table_name LIKE 'audit%' OR table_name LIKE 'ledger%' OR table_name LIKE 'archive%')"
            )
        ).all()
        columns = connection.execute(
            text(
                "SELECT grantee, table_name, privilege_type, column_name FROM information_schema.role_column_grants"
                " AS every WHERE table_schema = 'public' AND grantee <> grantor"
                " AND privilege_type IN ('INSERT', 'UPDATE') AND table_name IN ('audit_logs', 'archived_audit_logs')"
                " AND NOT EXISTS (SELECT FROM information_schema.role_table_grants AS whole"
                "                 WHERE whole.grantee = every.grantee AND whole.table_name = every.table_name"
                "                   AND whole.privilege_type = every.privilege_type)"
            )
        ).all()
        roles = connection.execute(
            text(
                "SELECT rolname, rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication"
                " OR rolbypassrls AS may_more FROM pg_roles WHERE rolname LIKE 'audit%' ORDER BY 1"
            )
        ).all()
    readable = {
        "audit_logs",
        "audit_log_entries",
        "audit_quarantine",
        "ledger_clusters",
        "ledger_segments",
        "ledger_statements",
        "ledger_checkpoints",
        "ledger_publications",
        "archived_audit_logs",
        "archived_segments",
        "archive_backlog",
        "archive_scrubs",
        "archive_repairs",
        "audit_purges",
        "audit_environment",
        "audit_store",
    }
    recorded = {
        "ledger_segments",
        "ledger_statements",
        "ledger_checkpoints",
        "ledger_publications",
        "archived_audit_logs",
        "archived_segments",
        "audit_purges",
    }
    assert {tuple(row) for row in tables} == {
        *((role, table, "SELECT") for role in READERS for table in readable),
        *(("audit_archiver", table, "INSERT") for table in recorded),
        ("audit_archiver", "archive_hold_looks", "SELECT"),
        ("audit_archiver", "archive_store_holds", "SELECT"),
        ("audit_archiver", "archive_store_holds", "DELETE"),
        *((role, "archive_search_filters", "SELECT") for role in ("audit_archiver", "audit_reader")),
        *(("audit_archiver", "archive_search_filters", privilege) for privilege in ("INSERT", "DELETE")),
    }
    assert {tuple(row) for row in columns} == {
        *((role, "audit_logs", "INSERT", column) for role in ("audit_writer", "audit_archiver") for column in WRITABLE),
        *(
            ("audit_archiver", "archived_audit_logs", "UPDATE", column)
            for column in ("verified_at", "verified_store", "purged_at", "expired_at")
        ),
    }
    assert [tuple(row) for row in roles] == [
        (role, False) for role in ("audit_archiver", "audit_owner", "audit_reader", "audit_writer")
    ]


def test_the_functions_are_for_exactly_these_roles(superuser_engine: sqlalchemy.Engine) -> None:
    with superuser_engine.connect() as connection:
        found = connection.execute(
            text("""
                SELECT proname, array_agg(rolname::text ORDER BY rolname) AS roles
                FROM pg_proc CROSS JOIN pg_roles
                WHERE pronamespace = 'public'::regnamespace AND prosecdef
                  AND rolname IN ('audit_writer', 'audit_archiver', 'audit_reader')
                  AND has_function_privilege(pg_roles.oid, pg_proc.oid, 'EXECUTE')
                GROUP BY proname ORDER BY proname
            """)
        ).all()
        unsafe = connection.execute(
            text("""
                SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
                  AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%')
            """)
        ).all()
    archiver = ["audit_archiver"]
    expected = {
        "audit_close_fence": archiver,
        "audit_create_day": archiver,
        "audit_day_fingerprint": archiver,
        "audit_days_written": ["audit_archiver", "audit_reader", "audit_writer"],
        "audit_drop_day": archiver,
        "audit_drop_empty_day": archiver,
        "audit_drop_empty_month": archiver,
        "audit_drop_fence": archiver,
        "audit_empty_days": archiver,
        "audit_lock_day": archiver,
        "audit_make_fence": archiver,
        "audit_remove_day": archiver,
        "audit_replace_part": archiver,
        "audit_strays": ["audit_archiver", "audit_reader"],
    }
    assert {name: roles for name, roles in found if name in expected} == expected
    assert unsafe == []


def test_sequences_are_advanced_by_those_who_insert_and_set_by_nobody(superuser_engine: sqlalchemy.Engine) -> None:
    with superuser_engine.connect() as connection:
        found = connection.execute(
            text("""
                SELECT relname::text, rolname::text, privilege
                FROM pg_class CROSS JOIN pg_roles CROSS JOIN unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS privilege
                WHERE relkind = 'S' AND relname IN ('audit_logs_id_seq', 'audit_purges_id_seq')
                  AND rolname IN ('audit_writer', 'audit_archiver', 'audit_reader')
                  AND has_sequence_privilege(pg_roles.oid, pg_class.oid, privilege)
                ORDER BY 1, 2, 3
            """)
        ).all()
    assert [tuple(row) for row in found] == [
        ("audit_logs_id_seq", "audit_archiver", "USAGE"),
        ("audit_logs_id_seq", "audit_writer", "USAGE"),
        ("audit_purges_id_seq", "audit_archiver", "USAGE"),
    ]


@pytest.mark.parametrize(
    "url_fixture", ["writer_database_url", "reader_database_url", "pipeline_database_url", "database_url"]
)
def test_naming_a_day_opens_no_door_to_its_entries(
    relations: list[str], url_fixture: str, request: pytest.FixtureRequest
) -> None:
    """The setting by which audit_remove_day deletes is nothing in anybody else's hands."""
    engine = create_engine(request.getfixturevalue(url_fixture), pool_size=1)
    of_the_day = [relation for relation in relations if relation in "audit_logs_2025_10_01"]
    assert len(of_the_day) == 3
    with engine.connect() as connection:
        connection.execute(text("SET compliance_pipelines.removed_day = '2025-10-01'"))
        connection.commit()
        for relation in of_the_day:
            for statement in (f"DELETE FROM {relation}", f"UPDATE {relation} SET user_id = 'mallory'"):
                reason = refusal(connection, f"""{statement} WHERE "timestamp" < '2025-10-02'""")
                assert "append-only" in reason or "permission denied" in reason
        assert connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one() == 3
    engine.dispose()


def test_the_owner_too_deletes_no_other_day_than_the_one_that_is_removed(
    relations: list[str], owner: sqlalchemy.Connection
) -> None:
    owner.execute(text("SET compliance_pipelines.removed_day = '2025-10-02'"))
    owner.commit()
    assert "append-only" in refusal(owner, "DELETE FROM audit_logs_2025_10_01")
    assert "append-only" in refusal(owner, "DELETE FROM audit_logs_default")
    assert "append-only" in refusal(owner, "UPDATE audit_logs_2025_10_01 SET user_id = 'mallory'")
    owner.execute(text("RESET compliance_pipelines.removed_day"))
    owner.commit()


def test_removing_a_day_leaves_no_door_open(
    relations: list[str], engine: sqlalchemy.Engine, owner: sqlalchemy.Connection
) -> None:
    """Nor does it remove what no verified archive holds."""
    with engine.connect() as connection:
        for expected in (0, 1):
            assert "not removed" in refusal(connection, f"SELECT audit_remove_day('2025-10-05', {expected})")
        assert connection.execute(text("SELECT audit_remove_day('2025-10-06', 0)")).scalar_one() == 0
        left = "SELECT coalesce(current_setting('compliance_pipelines.removed_day', true), '')"
        assert connection.execute(text(left)).scalar_one() == ""
        assert connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one() == 3


def test_a_month_that_is_dropped_takes_no_entry_along(relations: list[str], engine: sqlalchemy.Engine) -> None:
    assert drop_empty(engine, datetime.now(UTC).date()) == Dropped(days=1, months=0, busy=0)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one() == 3
