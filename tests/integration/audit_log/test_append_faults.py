"""What goes wrong while entries are appended leaves nothing, and says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log.errors import (
    AppendInterruptedError,
    AppendNotPossibleError,
)
from compliance_pipelines.audit_log.log import AppendResult, AuditLog
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.audit_log.entries import entry, stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry


def test_a_lost_connection_is_passing_and_leaves_nothing(
    log: AuditLog, engine: sqlalchemy.Engine, superuser_engine: sqlalchemy.Engine
) -> None:
    def cut_off() -> Iterator[AuditEntry]:
        for number in range(30_000):
            if number == 25_000:
                with superuser_engine.begin() as connection:
                    connection.execute(
                        text(
                            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'test_writer'"
                            " AND datname = current_database()"
                        )
                    )
            yield entry(number)

    with pytest.raises(AppendInterruptedError, match=r"^the append was interrupted: .*; run it again"):
        log.append_many(cut_off())
    assert stored(engine) == []
    assert log.append_many([entry()]) == AppendResult(new=1)


def test_a_database_that_is_not_there_is_said_so() -> None:
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nothing", pool_size=1)
    with pytest.raises(AppendInterruptedError, match=r"the append was interrupted: .*127\.0\.0\.1"):
        AuditLog(engine).append(entry())
    engine.dispose()


def test_a_pool_that_is_used_up_is_said_so(writer_database_url: str) -> None:
    engine = create_engine(writer_database_url, pool_size=1)
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    with engine.connect(), pytest.raises(AppendInterruptedError, match="raise AUDIT_LOG_CONNECTION_POOL_SIZE"):
        AuditLog(engine).append(entry())
    engine.dispose()


def test_a_login_that_may_not_append_is_told_what_to_do(reader_database_url: str) -> None:
    engine = create_engine(reader_database_url, pool_size=1)
    log = AuditLog(engine)
    for append in (log.append, lambda each: log.append_many([each])):
        with pytest.raises(AppendNotPossibleError, match=r"permission denied .*compliance check"):
            append(entry())
    engine.dispose()


def test_a_database_that_is_not_migrated_is_said_so(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url, pool_size=1)
    with pytest.raises(AppendNotPossibleError, match="compliance check"):
        AuditLog(engine).append(entry())
    engine.dispose()
