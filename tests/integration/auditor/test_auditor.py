"""With `audit_reader` and the public key alone everything that reads works, and what was read is on record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.readings import Reading, ReadingNotRecordedError, record_reading
from compliance_pipelines.cli import compliance
from compliance_pipelines.cli.needs import declared_needs
from compliance_pipelines.cli.settings import all_commands
from compliance_pipelines.erasure import decisions
from compliance_pipelines.erasure.record import NewRequest, load, record_request
from compliance_pipelines.holds.active import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.postgres.engine import create_engine
from tests.integration.auditor.conftest import LOGIN
from tests.support.logins import database_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock
    from tests.integration.archive.days import Days
    from tests.support.command import Command

ALICE = "alice@example.com"


@pytest.fixture
def reader(services: Services, reader_database_url: str) -> Iterator[sqlalchemy.Engine]:
    """The auditor's own connection, with any client."""
    engine = create_engine(reader_database_url, pool_size=1)
    yield engine
    engine.dispose()


def readings(services: Services) -> list[dict[str, Any]]:
    """The entries of auditors, in order."""
    with services.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT * FROM audit_logs WHERE user_id LIKE 'login:%' ORDER BY id"),
        )
        return [dict(row) for row in rows.mappings()]


def deadline_of(services: Services, request_id: int) -> date:
    with services.engine.connect() as connection:
        return load(connection, request_id).deadline


def files(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(directory.rglob("*"))}


def test_every_command_that_reads_works_and_is_on_record(
    auditor: Command, days: Days, day: date, clock: MovableClock, tmp_path: Path
) -> None:
    services = days.services
    purged, *_ = days.append(day, 3)
    archive_day(services, day)
    clock.advance(days=services.settings.audit_log_purge_grace_days + 1)
    purge_day(services, day)
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    decisions.extend(services, case.request.id, by="office", reason="many systems")
    add_hold(services, NewHold(HoldScope.USER, "case 7", "counsel", subject="mallory"))
    cold = tmp_path / "cold"
    before = files(cold)
    proof = tmp_path / "proof.json"

    for arguments in (
        ("status",),
        ("verify",),
        ("verify", "--all"),
        ("verify", day),
        ("erase", "list"),
        ("erase", "show", case.request.id),
        ("hold", "list"),
        ("hold", "list", "--all"),
        ("prove", purged.log_entry_id, "-o", proof),
        ("search", "--user", purged.user_id, "--to", day),
        ("query", f"SELECT '{'ä' * 8_000}' FROM audit_log", "--to", day, "--format", "csv"),
        ("store", "show"),
        ("ledger", "checkpoint"),
        ("settings",),
    ):
        done = auditor(*arguments)
        assert done.status == 0, (arguments, done)
    assert auditor("verify-proof", proof, "--public-key", services.verifier_key.to_note_string()).status == 0

    assert files(cold) == before
    found = readings(services)
    began, ended, asked, given = found[-4:]
    assert [(each["action"], each["resource_id"], each["result"]) for each in found] == [
        ("audit.status", None, "started"),
        ("audit.verify", None, "started"),
        ("audit.verify", None, "started"),
        ("audit.verify", str(day), "started"),
        ("erasure.list", None, "started"),
        ("erasure.show", str(case.request.id), "started"),
        ("hold.list", None, "started"),
        ("hold.list", None, "started"),
        ("audit.prove", purged.log_entry_id, "success"),
        ("audit.search", began["resource_id"], "started"),
        ("audit.searched", began["resource_id"], "success"),
        ("audit.query", asked["resource_id"], "started"),
        ("audit.queried", asked["resource_id"], "success"),
    ]
    assert (ended["metadata"]["rows"], ended["metadata"]["parts"]) == (1, 1)
    assert (len(asked["metadata"]["sql"]), given["metadata"]["rows"]) == (8_024, 3)
    assert {each["user_id"] for each in found} == {f"login:{LOGIN}"}
    assert found[-5]["metadata"]["segment"] == 0
    assert all(each["metadata"]["login"] == LOGIN for each in found)
    # They are entries like any other, which the next pass seals.
    assert auditor("verify").status == 0


def test_whom_holds_are_on_is_left_out_and_said_to_be(auditor: Command, services: Services) -> None:
    add_hold(services, NewHold(HoldScope.USER, "case 7", "counsel", subject="mallory"))
    add_hold(services, NewHold(HoldScope.EVERYTHING, "case 8", "counsel"))
    third = add_hold(services, NewHold(HoldScope.THREAD, "case 9", "counsel", subject="thread-of-mallory"))
    release_hold(services, third.hold.id, reason="over", author="counsel")
    done = auditor("hold", "list", "--all")
    assert "mallory" not in done.out + done.err
    assert "1: a user (not shown), since " in done.out
    assert "2: everything, since " in done.out
    assert "3: a thread (not shown), since " in done.out
    assert done.err == "left out: whom 2 holds are on, which this login may not see\n"
    held = json.loads(auditor("hold", "list", "--json").out)
    assert [(each["scope"], each["subject"], each["subject_is_hidden"]) for each in held] == [
        ("user", None, True),
        ("everything", None, False),
    ]


def test_whom_requests_are_about_is_left_out_and_said_to_be(auditor: Command, services: Services) -> None:
    case, _ = record_request(services, NewRequest(ALICE, "asked by mail", "support"))
    decisions.extend(services, case.request.id, by="office", reason=f"{ALICE} has much")
    other, _ = record_request(services, NewRequest("bob@example.com", "asked", "support"))
    decisions.withdraw(services, other.request.id, by="office", reason="bob@example.com changed his mind")
    extended = deadline_of(services, case.request.id)
    for arguments in (("erase", "list"), ("erase", "show", 1), ("erase", "show", 2)):
        for json_too in ((), ("--json",)):
            done = auditor(*arguments, *json_too)
            assert done.status == 0
            assert ALICE not in done.out + done.err
            assert "bob" not in done.out + done.err
            if not json_too:
                assert done.err.startswith("left out, because this login may not see it: whom requests are about")
    listed = auditor("erase", "list").out.splitlines()
    assert listed[0].startswith(f"1: open, person not shown, deadline {extended} (")
    assert listed[0].endswith(", extended), 0 attempts")
    assert listed[1].startswith("2: withdrawn, person not shown, ended ")
    assert auditor("erase", "list", "--open").out.splitlines() == listed[:1]
    shown = json.loads(auditor("erase", "show", 1, "--json").out)
    assert (shown["user_id"], shown["aliases"], shown["deadline"]) == (None, None, str(extended))
    assert {"user_id", "aliases", "events.detail"} <= set(shown["left_out"])
    assert [event["kind"] for event in shown["events"]] == ["extended"]
    done = auditor("erase", "list", "--user", ALICE)
    assert (done.status, done.out) == (1, "")
    assert "leave --user out" in done.err
    assert auditor("erase", "show", 7).err.startswith("compliance: there is no erasure request 7")


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("verify",),
        ("search",),
        ("query", "FROM audit_log"),
        ("erase", "list"),
        ("hold", "list"),
        ("erase", "show", 1),
    ],
)
def test_nothing_is_read_that_cannot_be_put_on_record(
    auditor: Command, services: Services, superuser_engine: sqlalchemy.Engine, command: tuple[str, ...]
) -> None:
    record_request(services, NewRequest(ALICE, "asked", "support"))
    with superuser_engine.begin() as connection:
        connection.execute(text("REVOKE EXECUTE ON FUNCTION audit_record_reading FROM audit_reader"))
    done = auditor(*command)
    assert (done.status, done.out) == (1, "")
    assert "what is read by a login that may not append must be on record" in done.err
    assert "audit_writer" not in done.err
    assert "audit_archiver" not in done.err


def test_a_database_that_takes_no_entries_is_said_to_be_one(
    services: Services, superuser_engine: sqlalchemy.Engine, reader: sqlalchemy.Engine, reader_database_url: str
) -> None:
    name = database_of(services.engine)
    with superuser_engine.begin() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    reading = create_engine(reader_database_url, pool_size=1, left_alone=("default_transaction_read_only",))
    with pytest.raises(ReadingNotRecordedError, match="its transactions are read-only"):
        record_reading(reading, Reading.STATUS)
    reading.dispose()


@pytest.mark.parametrize(
    "command",
    [
        ("archive", "2026-01-01"),
        ("purge", "2026-01-01"),
        ("restore", "2026-01-01"),
        ("drop-restored",),
        ("hold", "add", "--everything", "--reason", "r", "--author", "a"),
        ("hold", "release", 1, "--reason", "r", "--author", "a"),
        ("erase", "request", ALICE, "--requested-by", "me"),
        ("erase", "run"),
        ("erase", "extend", 1, "--by", "a", "--reason", "r"),
        ("erase", "replay", "--since", "2026-01-01"),
        ("db", "repair"),
        ("import", "entries.jsonl"),
        ("store", "init"),
        ("seal",),
    ],
)
def test_a_command_that_changes_data_says_that_it_is_not_meant_for_an_auditor(
    auditor: Command, command: tuple[object, ...]
) -> None:
    done = auditor(*command)
    assert (done.status, done.out) == (1, "")
    assert "changes data, and the login of AUDIT_LOG_DATABASE_URL is an auditor's" in done.err
    for wanted in ("GRANT", "audit_writer", "audit_archiver", "SIGNING_KEY"):
        assert wanted not in done.err


NAMES_PEOPLE: list[tuple[object, ...]] = [
    ("conversations", "plan"),
    ("erase", "certificate", 1, "-o", "letter.json"),
    ("erase", "plan", 1),
    ("erase", "plan", "--subject", ALICE),
    ("erase", "record", 1, "-o", "record.json"),
    ("erase", "records", ALICE),
    ("sessions", "plan"),
    ("sessions", "status"),
]


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("command", NAMES_PEOPLE, ids=lambda command: " ".join(map(str, command[:2])))
def test_a_command_that_names_people_is_refused_at_once_to_who_leaves_no_entry(
    auditor: Command, services: Services, tmp_path: Path, command: tuple[object, ...], *, configured: bool
) -> None:
    record_request(services, NewRequest(ALICE, "asked", "support"))
    if configured:  # nothing answers there, and nothing is asked
        auditor.set(
            CHECKPOINT_REDIS_URL="redis://127.0.0.1:1/0",
            GDPR_SESSION_REDIS_URL="redis://127.0.0.1:1/0",
            GDPR_PSEUDONYM_KEY="k" * 32,
        )
    before = files(tmp_path)
    done = auditor(*command)
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1), done
    assert f"`compliance {command[0]} {command[1]}` names people or what is theirs" in done.err
    assert "Whoever operates the pipelines runs this" in done.err
    assert "permission denied" not in done.err
    assert "_URL" not in done.err.replace("AUDIT_LOG_DATABASE_URL", "")
    assert files(tmp_path) == before


# Neither names anybody, nor lists what is about people.
HARMLESS = {
    "check",
    "erase targets",
    "keys init",
    "keys list",
    "ledger checkpoint",
    "ledger key",
    "ledger new-key",
    "settings",
    "store check",
    "store show",
}
HARMLESS |= {"verify-proof"}  # a document that somebody has been given
OF_THE_OWNER = {"db downgrade", "db migrate", "ledger adopt-cluster"}


def test_what_may_be_read_is_on_record_or_names_nobody() -> None:
    kinds = {}
    for name, command in all_commands(compliance):
        declared = declared_needs(command)
        assert declared is not None
        kinds[name] = (declared.changes, declared.on_record, declared.names_people)
    assert {name for name, kind in kinds.items() if sum(kind) != 1} == HARMLESS | OF_THE_OWNER
    assert {name for name, kind in kinds.items() if kind[1]} == {
        "conversations status",
        "erase list",
        "erase show",
        "hold list",
        "prove",
        "query",
        "search",
        "status",
        "verify",
    }


def test_what_names_nobody_works_or_says_whose_task_it_is(auditor: Command, days: Days, day: date) -> None:
    services = days.services
    days.append(day, 3)
    archive_day(services, day)
    auditor.set(GDPR_SESSION_REDIS_URL="redis://127.0.0.1:1/0")
    done = auditor("restore", f"{day}", "--dry-run")
    assert done.status == 0, done
    assert readings(services) == []
    done = auditor("erase", "targets")
    assert "permission denied" not in done.out + done.err, done


def test_a_rehearsal_is_no_change_where_a_setting_is_missing(auditor: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEDGER_PUBLIC_KEY")
    done = auditor("restore", "2026-01-01", "--dry-run")
    assert done.status == 1
    assert "LEDGER_PUBLIC_KEY" in done.err
    assert "changes data" not in done.err


# The function: nobody forges an entry through it.


def refusal(engine: sqlalchemy.Engine, statement: str, **parameters: object) -> str:
    with pytest.raises(DBAPIError) as refused, engine.begin() as connection:
        connection.execute(text(statement), parameters)
    return str(refused.value.orig)


CALL = "SELECT audit_record_reading(:reading, :subject, CAST(:particulars AS jsonb))"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("gdpr.deletion", "", "{}"), "no reading is called 'gdpr.deletion'"),
        (("", "", "{}"), "no reading is called"),
        ((None, "", "{}"), "no reading is called"),
        (("AUDIT.PROVE", "", "{}"), "no reading is called"),
        (("audit.prove", "x" * 2049, "{}"), "at most 2,048 bytes"),
        (("audit.prove", "ä" * 1025, "{}"), "at most 2,048 bytes"),
        (("audit.prove", None, "{}"), "at most 2,048 bytes"),
        (("audit.prove", "", None), "at most 2,048 bytes"),
        (("audit.prove", "", "[]"), "at most 2,048 bytes"),
        (("audit.prove", "", '"text"'), "at most 2,048 bytes"),
        (("audit.prove", "", json.dumps({"a": "x" * 3000})), "at most 2,048 bytes"),
        (("audit.prove", "", '{"a": 1e100000}'), "at most 2,048 bytes"),
        (("audit.prove", "", json.dumps({"a": "x" * 10_000_000})), "at most 2,048 bytes"),
    ],
)
def test_only_known_readings_of_a_bounded_size_are_recorded(
    services: Services, reader: sqlalchemy.Engine, call: tuple[str, str, str], said: str
) -> None:
    reading, subject, particulars = call
    assert said in refusal(reader, CALL, reading=reading, subject=subject, particulars=particulars)
    assert readings(services) == []


def test_an_entry_is_in_the_name_of_the_login_and_of_the_present(services: Services, reader: sqlalchemy.Engine) -> None:
    forged = {"login": "boss", "user_id": "boss", "timestamp": "2020-01-01", "log_entry_id": "mine"}
    with reader.begin() as connection:
        connection.execute(text("SET LOCAL ROLE audit_reader"))
        connection.execute(text("SET LOCAL search_path = pg_temp, public"))
        connection.execute(text("SET LOCAL timezone = 'Asia/Tokyo'"))
        before = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        given = {"reading": "hold.list", "subject": "", "particulars": json.dumps(forged)}
        connection.execute(text(CALL), given)
        after = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    (found,) = readings(services)
    assert found["user_id"] == f"login:{LOGIN}"
    assert found["metadata"]["login"] == LOGIN
    assert before <= found["timestamp"] <= after
    assert found["log_entry_id"].startswith("hold_list_")
    assert (found["action"], found["resource_type"], found["result"]) == ("hold.list", "legal_hold", "started")


def test_nobody_but_auditors_may_call_the_function(services: Services, writer_database_url: str) -> None:
    writer = create_engine(writer_database_url, pool_size=1)
    given = {"reading": "hold.list", "subject": "", "particulars": "{}"}
    assert "permission denied for function audit_record_reading" in refusal(writer, CALL, **given)
    writer.dispose()
    with services.engine.connect() as connection:
        row = connection.execute(
            text(
                "SELECT pg_get_userbyid(proowner) AS owner, prosecdef, proconfig FROM pg_proc "
                "WHERE proname = 'audit_record_reading'"
            )
        ).one()
    assert (row.owner, row.prosecdef, row.proconfig) == (
        "audit_owner",
        True,
        ["search_path=pg_catalog, public, pg_temp"],
    )


def test_who_may_append_is_not_taken_for_an_auditor(services: Services) -> None:
    assert not record_reading(services.engine, Reading.STATUS)
    assert readings(services) == []
