"""Legal holds are added and released as rows that nobody changes, and stop deletions from the moment they are there."""

from __future__ import annotations

import json
import threading
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.holds import HoldScope, active_holds, lock_holds
from compliance_pipelines.holds.audit_days import hold_on_audit_day
from compliance_pipelines.holds.errors import HoldNotFoundError, InvalidHoldError
from compliance_pipelines.holds.record import NewHold, add_hold, all_holds, release_hold
from compliance_pipelines.pseudonyms import Subjects, pseudonym
from tests.integration.erasure.command import Command
from tests.support.stops import PATIENCE_SECONDS, somebody_waits, until

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

USER = NewHold(HoldScope.USER, "case 7", "counsel", subject="user:alice")
DAY = date(2026, 3, 5)


def entries(engine: sqlalchemy.Engine) -> list[tuple[str, str, dict[str, Any]]]:
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT action, resource_id, metadata FROM audit_logs WHERE resource_type = 'legal_hold' ORDER BY id")
        )
        return [(row.action, row.resource_id, row.metadata) for row in found]


def active(services: Services) -> list[int]:
    with services.engine.connect() as connection:
        return [hold.id for hold in active_holds(connection).holds]


def test_a_hold_is_in_force_until_it_is_released_and_both_stay_on_record(services: Services) -> None:
    hold = add_hold(services, USER).hold
    assert active(services) == [hold.id]
    release_hold(services, hold.id, reason="case closed", author="judge")
    assert active(services) == []
    with services.engine.connect() as connection:
        (recorded,) = all_holds(connection)
    assert recorded.hold == hold
    assert (recorded.released_by, recorded.release_reason) == ("judge", "case closed")


def test_adding_and_releasing_append_audit_entries_in_the_same_transaction(services: Services) -> None:
    hold = add_hold(services, USER).hold
    release_hold(services, hold.id, reason="case closed", author="judge")
    added, released = entries(services.engine)
    assert added[:2] == ("hold.add", str(hold.id))
    assert added[2]["subject"] == "user:alice"
    assert (added[2]["reason"], added[2]["author"]) == ("case 7", "counsel")
    assert released[:2] == ("hold.release", str(hold.id))
    assert (released[2]["reason"], released[2]["author"]) == ("case closed", "judge")
    with services.engine.connect() as connection:
        own_transaction, entry_transaction = connection.execute(
            text(
                "SELECT hold.xmin::text, entry.xmin::text FROM legal_holds AS hold, audit_logs AS entry"
                " WHERE entry.action = 'hold.add'"
            )
        ).one()
    assert own_transaction == entry_transaction


def test_an_audit_entry_that_cannot_be_written_leaves_no_hold(
    services: Services, superuser_engine: sqlalchemy.Engine
) -> None:
    with superuser_engine.begin() as connection:
        connection.execute(text("REVOKE INSERT (log_entry_id) ON audit_logs FROM audit_writer, audit_archiver"))
    with pytest.raises(DBAPIError, match="permission denied"):
        add_hold(services, USER)
    assert active(services) == []


def test_with_pseudonyms_the_audit_entry_does_not_name_the_person(settings: Settings, services: Services) -> None:
    key = "k" * 32
    hidden = settings.model_copy(update={"gdpr_subject_pseudonyms": "hmac", "gdpr_pseudonym_key": SecretStr(key)})
    add_hold(
        type(services)(hidden, services.engine, services.store, services.keys, services.clock),
        NewHold(HoldScope.USER, "user:alice is a party", "counsel", subject="user:alice"),
    )
    ((_, _, metadata),) = entries(services.engine)
    assert "alice" not in json.dumps(metadata)
    assert metadata["subject"] == pseudonym("user:alice", key.encode())


def test_nobody_changes_the_record(services: Services, superuser_engine: sqlalchemy.Engine) -> None:
    release_hold(services, add_hold(services, USER).hold.id, reason="over", author="judge")
    for table in ("legal_holds", "legal_hold_releases"):
        for statement in (f"UPDATE {table} SET reason = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(DBAPIError, match="append-only"), superuser_engine.begin() as connection:
                connection.execute(text(statement))


def test_a_hold_cannot_be_released_twice_or_without_a_reason(services: Services) -> None:
    hold = add_hold(services, USER).hold
    with pytest.raises(InvalidHoldError, match="reason and an author"):
        release_hold(services, hold.id, reason=" ", author="judge")
    release_hold(services, hold.id, reason="over", author="judge")
    with pytest.raises(HoldNotFoundError, match=f"hold {hold.id} was released before"):
        release_hold(services, hold.id, reason="over", author="judge")
    with pytest.raises(HoldNotFoundError, match="there is no hold 999"):
        release_hold(services, 999, reason="over", author="judge")


def test_what_postgresql_cannot_store_is_refused_in_words(services: Services) -> None:
    with pytest.raises(InvalidHoldError, match="cannot be stored"):
        add_hold(services, NewHold(HoldScope.USER, "case\0", "counsel", subject="u"))


def test_adding_a_hold_returns_only_after_the_deletions_that_did_not_know_of_it(services: Services) -> None:
    added = threading.Event()

    def add() -> None:
        add_hold(services, USER)
        added.set()

    with services.engine.begin() as deleting:
        assert not lock_holds(deleting)
        thread = threading.Thread(target=add)
        thread.start()
        until("the hold waits for the deletion", lambda: somebody_waits(services.engine, "advisory"))
        with services.engine.connect() as other:
            assert [hold.subject for hold in active_holds(other).holds] == ["user:alice"]
        assert not added.is_set()
    thread.join(PATIENCE_SECONDS)
    assert added.is_set()


def test_a_deletion_that_does_not_end_is_reported_and_the_hold_is_in_force(services: Services) -> None:
    with services.engine.begin() as deleting:
        lock_holds(deleting)
        added = add_hold(services, USER, wait=timedelta(milliseconds=100))
    assert not added.settled
    assert active(services) == [added.hold.id]


def test_deletions_do_not_wait_for_each_other(services: Services) -> None:
    with services.engine.begin() as one, services.engine.begin() as other:
        lock_holds(one)
        other.execute(text("SET LOCAL lock_timeout = '100ms'"))
        lock_holds(other)


def _append(services: Services, **values: str) -> None:
    with services.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_logs (log_entry_id, timestamp, user_id, action, resource_id, result)"
                " VALUES ('one', :moment, :user_id, 'message.send', :resource_id, 'success')"
            ),
            {"moment": datetime(2026, 3, 5, 23, 59, tzinfo=UTC), "user_id": "user:bob", "resource_id": None, **values},
        )


KEYED = Subjects(b"k" * 32, pseudonymous=True)


@pytest.mark.parametrize(
    ("values", "subjects"),
    [
        ({"user_id": "user:alice"}, Subjects()),
        ({"resource_id": "user:alice"}, Subjects()),
        ({"user_id": KEYED.name("user:alice")}, KEYED),
        ({"user_id": "user:alice"}, KEYED),
    ],
)
def test_a_day_with_an_entry_by_or_about_a_held_person_is_held(
    services: Services, values: dict[str, str], subjects: Subjects
) -> None:
    _append(services, **values)
    hold = add_hold(services, USER).hold
    with services.engine.connect() as connection:
        holds = active_holds(connection)
        assert hold_on_audit_day(connection, holds, DAY, subjects) == hold
        assert hold_on_audit_day(connection, holds, DAY + timedelta(days=1), subjects) is None
        assert hold_on_audit_day(connection, holds, DAY - timedelta(days=1), subjects) is None


def test_a_day_without_an_entry_of_a_held_person_or_thread_is_not_held(services: Services) -> None:
    _append(services, user_id="user:alice2")
    add_hold(services, USER)
    thread = add_hold(services, NewHold(HoldScope.THREAD, "case 8", "counsel", subject="thread-1")).hold
    with services.engine.connect() as connection:
        assert hold_on_audit_day(connection, active_holds(connection), DAY, Subjects()) is None
    with services.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_logs (log_entry_id, timestamp, user_id, action, resource_id, result)"
                " VALUES ('two', :moment, 'user:bob', 'message.send', 'thread-1', 'success')"
            ),
            {"moment": datetime(2026, 3, 5, tzinfo=UTC)},
        )
        assert hold_on_audit_day(connection, active_holds(connection), DAY, Subjects()) == thread


@pytest.fixture
def command(settings: Settings) -> Command:
    return Command(settings)


BY: list[str] = ["--reason", "case 7", "--author", "counsel"]


def test_the_command_adds_lists_and_releases_every_kind_of_hold(command: Command) -> None:
    for number, what in enumerate(
        (["--user", "user:alice"], ["--thread", "t, 1"], ["--days", "2026-03-01", "2026-03-31"], ["--everything"]), 1
    ):
        result = command("hold", "add", *what, *BY)
        assert result.exit_code == 0, result.output
        assert f"hold {number} is in force" in result.output
    listed = json.loads(command("hold", "list", "--json").output)
    assert [each["scope"] for each in listed] == ["user", "thread", "days", "everything"]
    assert (listed[2]["first_day"], listed[2]["last_day"]) == ("2026-03-01", "2026-03-31")
    assert command("hold", "release", "4", *BY).exit_code == 0
    assert "everything" not in command("hold", "list").output
    assert "released" in command("hold", "list", "--all").output


def test_reason_author_and_exactly_one_thing_to_hold_are_required(command: Command) -> None:
    for arguments in (
        ["add", "--user", "u", "--reason", "r"],
        ["add", "--user", "u", "--author", "a"],
        ["add", *BY],
        ["add", "--user", "u", "--everything", *BY],
        ["release", "1", "--reason", "r"],
    ):
        assert command("hold", *arguments).exit_code == 2


def test_an_auditor_reads_holds_but_not_whom_they_are_on(services: Services, reader_database_url: str) -> None:
    from compliance_pipelines.postgres.engine import create_engine  # noqa: PLC0415

    add_hold(services, USER)
    reader = create_engine(reader_database_url, pool_size=1)
    with reader.connect() as connection:
        assert connection.execute(text("SELECT scope, reason, author FROM legal_holds")).one() == (
            "user",
            "case 7",
            "counsel",
        )
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text("SELECT subject FROM legal_holds"))
    reader.dispose()
