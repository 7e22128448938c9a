"""What a command lists is all there is: rows that may be hidden from the login are an error, never an empty list."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from compliance_pipelines.audit_log.visibility import RowsHiddenError
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.holds.active import HoldScope, active_holds, lock_holds
from compliance_pipelines.holds.record import NewHold, add_hold
from compliance_pipelines.postgres.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.holds.active import HoldSet
    from compliance_pipelines.services import Services
    from tests.support.command import Command

ALICE = "alice@example.com"
LISTING: dict[str, list[tuple[object, ...]]] = {
    "legal_holds": [("hold", "list"), ("status",)],
    "legal_hold_releases": [("hold", "list")],
    "erasure_requests": [("erase", "list"), ("erase", "show", 1)],
    "erasure_events": [("erase", "list"), ("erase", "show", 1)],
    "erasure_closures": [("erase", "list"), ("erase", "show", 1)],
    "archived_audit_logs": [("status",)],
    "archive_backlog": [("status",)],
    "audit_logs": [("status",)],
}
CASES = [(table, command) for table, commands in LISTING.items() for command in commands]


@pytest.fixture
def recorded(services: Services) -> Services:
    """A hold and a request that are there to be hidden."""
    add_hold(services, NewHold(HoldScope.USER, "case 7", "counsel", subject=ALICE))
    record_request(services, NewRequest(ALICE, "asked", "support"))
    return services


@pytest.fixture(params=["auditor", "operator"])
def command(request: pytest.FixtureRequest, auditor: Command, recorded: Services) -> Command:
    """The command with an auditor's login, and with the pipelines'."""
    if request.param == "operator":
        auditor.use(recorded.settings)
    return auditor


def execute(superuser_engine: sqlalchemy.Engine, *statements: str) -> None:
    with superuser_engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.parametrize(("table", "arguments"), CASES)
@pytest.mark.parametrize("policy", ["none", "partly"])
def test_row_security_is_an_error(
    command: Command, superuser_engine: sqlalchemy.Engine, table: str, arguments: tuple[object, ...], policy: str
) -> None:
    execute(superuser_engine, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    if policy == "partly":
        execute(superuser_engine, f"CREATE POLICY partly ON {table} USING (false)")
    done = command(*arguments)
    assert (done.status, done.out) == (1, ""), done
    assert f"{table} has row security on" in done.err


@pytest.mark.parametrize(("table", "arguments"), [case for case in CASES if case[0] != "audit_logs"])
def test_a_view_in_the_place_of_a_table_is_an_error(
    command: Command, superuser_engine: sqlalchemy.Engine, table: str, arguments: tuple[object, ...]
) -> None:
    execute(
        superuser_engine,
        f"ALTER TABLE {table} RENAME TO hidden",
        f"CREATE VIEW {table} AS SELECT * FROM hidden WHERE false",
        f"GRANT SELECT ON {table} TO PUBLIC",
    )
    done = command(*arguments)
    assert (done.status, done.out) == (1, ""), done
    assert f"{table} is no table" in done.err


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_the_check_sees_it_on_every_table(
    auditor: Command, recorded: Services, superuser_engine: sqlalchemy.Engine, table: str
) -> None:
    del recorded
    execute(superuser_engine, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    done = auditor("check", "--json")
    found = {each["name"]: each for each in json.loads(done.out)["checks"]}["database: privileges"]
    assert f"{table} has row security on" in found["message"]
    assert "DISABLE ROW LEVEL SECURITY" in found["remedy"]


@pytest.mark.parametrize("table", ["legal_holds", "legal_hold_releases"])
@pytest.mark.parametrize("ask", [active_holds, lock_holds])
def test_nobody_deletes_by_a_part_of_the_holds(
    recorded: Services,
    superuser_engine: sqlalchemy.Engine,
    table: str,
    ask: Callable[[sqlalchemy.Connection], HoldSet],
) -> None:
    execute(
        superuser_engine,
        f"ALTER TABLE {table} RENAME TO hidden",
        f"CREATE VIEW {table} AS SELECT * FROM hidden WHERE false",
        f"GRANT SELECT ON {table} TO PUBLIC",
    )
    with recorded.engine.begin() as connection, pytest.raises(RowsHiddenError, match=f"{table} is no table"):
        ask(connection)
