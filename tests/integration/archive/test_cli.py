"""The commands of the cold store, from the command line to the exit status."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.archive import locking
from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.restore import RestoreStep, restore_day
from compliance_pipelines.archive.restored_tables import default_table, working_table
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold
from tests.integration.archive.days import Stopped, remove, stop_after
from tests.support.command import Outcome, run_command
from tests.support.logins import login_url
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.integration.archive.days import Days

    Run = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `compliance` with arguments: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    return partial(run_command, monkeypatch, capsys)


@pytest.fixture
def run(command: Run, services: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The same with the test's database, store and key, and no days of grace."""
    assert settings.ledger_signing_key is not None
    for name, value in {
        "AUDIT_LOG_DATABASE_URL": settings.require_database_url(),
        "AUDIT_LOG_PURGE_GRACE_DAYS": "0",
        "AUDIT_COLD_STORAGE_PROVIDER": "local",
        "AUDIT_COLD_STORAGE_PATH": str(tmp_path / "cold"),
        "LEDGER_SIGNING_KEY": settings.ledger_signing_key.get_secret_value(),
    }.items():
        monkeypatch.setenv(name, value)
    return command


def test_days_are_archived_purged_restored_and_dropped(days: Days, day: date, run: Run) -> None:
    other = day + timedelta(days=1)
    days.append(day, 1234)
    days.append(other, 2)
    rows = days.hot_rows(day)

    status, out, _ = run("archive", day, other, day)
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{day}: 1,234 entries archived; 1,234 in 1 part, ")
    assert lines[0].endswith(f"verified; {days.objects(day)[0].as_uri()}")
    assert run("archive", day)[1].startswith(f"{day}: 0 entries archived; 1,234 in 1 part, ")

    status, out, _ = run("purge", day)
    assert (status, out[: len(f"{day}: 1,234 entries purged, ")]) == (0, f"{day}: 1,234 entries purged, ")
    assert run("purge", day)[:2] == (0, f"{day}: purged before, nothing to purge\n")
    assert days.hot_rows(day) == []

    status, out, _ = run("restore", day)
    table = f"audit_restored.audit_logs_{day:%Y_%m_%d}"
    assert (status, out) == (0, f"{day}: 1,234 entries restored into {table}\n")
    assert days.table_rows(table, day) == rows
    assert run("restore", day, "--into", "audit_restored.evidence")[0] == 0
    assert days.table_rows("audit_restored.evidence", day) == rows
    assert run("drop-restored", table)[:2] == (0, f"dropped {table}\n")
    assert run("drop-restored")[:2] == (0, "dropped audit_restored.evidence\n")
    assert run("drop-restored")[:2] == (0, "there are no restored tables\n")


def test_somebody_who_watches_sees_bars_on_standard_error(
    days: Days, day: date, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    days.append(day, 5)
    status, out, err = run("archive", day)
    assert (status, len(out.splitlines())) == (0, 1)
    assert f"{day} export" in err
    assert f"{day} verify" in err


def test_a_day_without_entries_is_nothing_to_archive(day: date, run: Run) -> None:
    assert run("archive", day)[:2] == (0, f"{day}: nothing is sealed, nothing to archive\n")


def test_a_day_that_fails_is_named_in_one_line_and_the_others_go_on(days: Days, day: date, run: Run) -> None:
    days.append(day, 2)
    days.append(day + timedelta(days=1), 2)
    days.execute("UPDATE audit_logs SET result = 'denied' WHERE \"timestamp\" < :next", next=day + timedelta(days=1))
    status, out, err = run("archive", day, day + timedelta(days=1))
    assert status == 1
    assert out.startswith(f"{day + timedelta(days=1)}: 2 entries archived")
    (line,) = err.splitlines()
    assert line.startswith(f"compliance: {day} was not archived: its rows in PostgreSQL are not those that were sealed")


def test_a_refusal_is_one_line_and_status_1(run: Run) -> None:
    for arguments, message in (
        (["purge", "2020-01-01"], "compliance: 2020-01-01 was not purged: nothing is known of it"),
        (["restore", "2020-01-01"], "compliance: 2020-01-01 has no archive"),
        (["restore", "2020-01-01", "--into", "No Name"], "compliance: 'No Name' cannot be the name"),
        (["drop-restored", "nothing"], "compliance: there is no restored table 'nothing'"),
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (1, "")
        assert err.startswith(message)
        assert len(err.splitlines()) == 1


def test_a_restore_says_that_it_went_on_where_another_stopped(
    services: Services, days: Days, day: date, run: Run
) -> None:
    for count in (20, 5):
        days.append(day, count)
        archive_day(services, day)
    for _ in range(2):
        with pytest.raises(Stopped):
            restore_day(services, day, hook=stop_after(RestoreStep.PIECE_COMMITTED))
    status, out, _ = run("restore", day)
    assert status == 0
    assert out.endswith(
        ": 25 entries restored into audit_restored."
        + default_table(day)
        + ", 25 of them by an earlier run that was interrupted\n"
    )
    with pytest.raises(Stopped):
        restore_day(services, day, hook=stop_after(RestoreStep.PIECE_COMMITTED))
    left = working_table(default_table(day))
    assert run("drop-restored")[1].splitlines() == [
        f"dropped audit_restored.{default_table(day)}",
        f"dropped audit_restored.{left} (left by an interrupted restore)",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["archive"],
        ["archive", "yesterday"],
        ["archive", "2026-02-30"],
        ["purge"],
        ["restore"],
        ["restore", "2026-01-01", "2026-01-02"],
        ["restore", "2026-01-01", "--into"],
        ["drop-restored", "a", "b"],
        ["status", "--yaml"],
    ],
)
def test_wrong_usage_is_status_2(command: Run, arguments: list[str]) -> None:
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert "Error: " in err


def test_a_damaged_object_in_the_way_needs_the_option(services: Services, days: Days, day: date, run: Run) -> None:
    days.append(day, 2)
    services.store.put_bytes(f"audit-archives/{day:%Y/%m}/audit-logs-{day}.1-00000000.0.parquet", b"what is this")
    status, _, err = run("archive", day)
    assert status == 1
    assert f"compliance archive --beside-damaged {day}" in err
    assert run("archive", day, "--beside-damaged")[0] == 0
    assert [path.name.split(".")[1][0] for path in days.manifests(day)] == ["2"]


def status_of(run: Run) -> dict[str, Any]:
    status, out, _ = run("status", "--json")
    assert status == 0
    document: dict[str, Any] = json.loads(out)
    return document


def test_the_status_of_nothing(run: Run) -> None:
    document = status_of(run)
    assert document["days"] == dict.fromkeys(["open", "sealed", "archived", "verified", "purged", "expired"], 0)
    assert document["entries"] == {"hot": 0, "cold": 0, "total": 0}
    assert document["ledger"] == {"size": 0, "root": None, "checkpoint_time": None, "losses": []}
    assert document["held"] == []
    assert document["next_due"] is None
    assert run("status")[0] == 0


def test_the_status_tells_states_entries_ledger_and_what_is_next(
    services: Services, days: Days, day: date, run: Run
) -> None:
    for number, count in enumerate((5, 4, 3, 2)):
        days.append(day + timedelta(days=number), count)
    for number in range(3):
        archive_day(services, day + timedelta(days=number))
    assert run("purge", day)[0] == 0
    days.append(day + timedelta(days=4), 1, sealed=False)
    document = status_of(run)
    # The five records about archives and the purge stand today, unsealed.
    assert document["days"] == {"open": 2, "sealed": 1, "archived": 0, "verified": 2, "purged": 1, "expired": 0}
    assert document["entries"] == {"hot": 4 + 3 + 2 + 1 + 4, "cold": 12, "total": 15 + 4}
    assert document["ledger"]["size"] == 4
    assert (
        document["ledger"]["root"]
        == days.execute("SELECT encode(root, 'hex') FROM ledger_checkpoints ORDER BY size DESC")[0][0]
    )
    assert document["ledger"]["checkpoint_time"].endswith("+00:00")
    assert document["next_due"] == {
        "action": "archive",
        "day": str(day + timedelta(days=3)),
        "at": f"{day + timedelta(days=94)}T00:00:00+00:00",
    }
    seal_all(services)
    assert status_of(run)["entries"] == document["entries"]


def test_the_status_for_a_person(services: Services, days: Days, day: date, run: Run) -> None:
    days.append(day, 1234)
    archive_day(services, day)
    _, out, _ = run("status")
    assert "1 verified" in out
    assert "1,235 in all: 1,235 hot, 1,234 cold" in out
    assert f"purge {day} from " in out


def test_the_status_shows_held_days_as_held_and_not_as_due(services: Services, days: Days, day: date, run: Run) -> None:
    for number in range(3):
        days.append(day + timedelta(days=number), 1)
        archive_day(services, day + timedelta(days=number))
    new = NewHold(HoldScope.DAYS, "case 7", "counsel", first_day=day, last_day=day + timedelta(days=1))
    hold = add_hold(services, new).hold
    document = status_of(run)
    assert document["days"]["verified"] == 3
    assert document["held"] == [
        {"day": str(day), "hold": hold.id},
        {"day": str(day + timedelta(days=1)), "hold": hold.id},
    ]
    assert (document["next_due"]["action"], document["next_due"]["day"]) == ("purge", str(day + timedelta(days=2)))
    out = run("status")[1]
    assert f"2 verified days are not purged: 2 by hold {hold.id}" in out
    assert f"purge {day + timedelta(days=2)} from " in out


@pytest.mark.parametrize("login", ["test_reader", "test_writer"])
def test_who_may_not_see_holds_is_told_that_it_cannot_be_told(
    days: Days, day: date, run: Run, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    services = days.services
    days.append(day, 1)
    archive_day(services, day)
    add_hold(services, NewHold(HoldScope.USER, "case 7", "counsel", subject="user-0"))
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", login_url(services.settings.require_database_url(), login))
    assert status_of(run)["held"] is None
    out = run("status")[1]
    assert "cannot be told: this login may not see whom holds are on" in out
    assert "UTC on, unless held" in out


def test_only_what_signs_needs_the_signing_key(
    days: Days, day: date, run: Run, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    days.append(day, 3)
    monkeypatch.delenv("LEDGER_SIGNING_KEY")
    status, out, err = run("archive", day)
    assert (status, out) == (1, "")
    assert err.startswith("compliance: no signing key: set LEDGER_SIGNING_KEY_FILE ")
    assert days.objects(day) == []

    archive_day(services, day)
    for arguments in (["status"], ["status", "--json"], ["drop-restored"]):
        assert run(*arguments)[0] == 0
    for command in ("restore", "purge"):
        status, _, err = run(command, day)
        assert status == 1
        assert err.startswith("compliance: no public key: set LEDGER_PUBLIC_KEY ")
    assert len(days.hot_rows(day)) == 3
    monkeypatch.setenv("LEDGER_PUBLIC_KEY", services.verifier_key.to_note_string())
    for command in ("restore", "purge"):
        assert run(command, day)[0] == 0
    assert days.hot_rows(day) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://nobody:wrong@127.0.0.1:1/nowhere", "the database of AUDIT_LOG_DATABASE_URL did not answer"),
        ("mysql://localhost/x", "the connection string is for mysql"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", url)
    status, out, err = run("status")
    assert (status, out) == (1, "")
    assert err.startswith(f"compliance: {message}")
    assert len(err.splitlines()) == 1


def test_a_database_without_our_tables_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", empty_database_url)
    status, _, err = run("status")
    assert status == 1
    assert err.startswith("compliance: the database refused: ")
    assert "compliance check" in err


def test_a_day_that_another_process_works_on_is_one_line(
    services: Services, days: Days, day: date, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "BRIEF", timedelta(milliseconds=50))
    days.append(day, 1)
    with locking.lock_day(services.engine, day):
        status, _, err = run("archive", day)
    assert status == 1
    assert f"compliance: the archive of {day}: another process is at it (session " in err


def test_a_missing_object_stops_a_purge_with_one_line(services: Services, days: Days, day: date, run: Run) -> None:
    days.append(day, 1)
    archive_day(services, day)
    remove(days.objects(day)[0])
    status, out, err = run("purge", day)
    assert (status, out) == (1, "")
    assert err.startswith(f"compliance: part 1 of {day} is damaged in the cold store")
    assert len(days.hot_rows(day)) == 1


def test_a_store_that_is_not_there_is_one_line_for_many_days(
    days: Days, day: date, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    days.append(day, 2)
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PATH", str(tmp_path / "clod"))
    for command in ("archive", "purge"):
        status, out, err = run(command, *(day + timedelta(days=number) for number in range(49)))
        assert (status, out, len(err.splitlines())) == (1, "", 1)
        assert "AUDIT_COLD_STORAGE_PATH is mistyped" in err
    assert not (tmp_path / "clod").exists()
