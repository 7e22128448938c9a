"""SIGTERM, Ctrl-C and a closed terminal: every command stops soon, says where, and leaves nothing half or locked."""

from __future__ import annotations

import json
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.catalogue import DayState, states_of_days
from compliance_pipelines.archive.export import archive_day
from tests.support.stops import Sessions, command, locked, until

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.settings import Settings
    from tests.integration.archive.days import Days

STATUS: Final = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
READS_ROWS: Final = "COPY%ORDER BY id%"


def leaf(day: date) -> str:
    return f"audit_logs_{day:%Y_%m_%d}"


@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_an_archive_stops_inside_a_statement_and_the_next_one_finishes(
    number: signal.Signals, days: Days, day: date, tmp_path: Path, settings: Settings
) -> None:
    other = day + timedelta(days=1)
    days.append(day, 5)
    days.append(other, 5)
    sessions = Sessions(days.superuser)
    with (
        locked(days.superuser, leaf(other)),
        command(tmp_path, settings, "archive", f"{day}", f"{other}") as child,
    ):
        child.until("the rows are read", lambda: sessions.wait_for_lock(READS_ROWS))
        child.send(number)
        assert child.end() == STATUS[number]
        until("its sessions are gone", sessions.are_gone)
        assert child.err == (
            f"stopped by {number.name} while archiving {other}: 1 of 2 days done; run it again to go on\n"
        )
    assert states_of_days(days.services)[day] is DayState.VERIFIED
    assert states_of_days(days.services)[other] is DayState.SEALED
    with command(tmp_path, settings, "archive", f"{day}", f"{other}") as again:
        assert again.end() == 0, again.err
    assert states_of_days(days.services)[other] is DayState.VERIFIED


def test_a_second_signal_ends_it_at_once_although_the_first_one_is_still_being_cleaned_up(
    days: Days, day: date, tmp_path: Path, settings: Settings
) -> None:
    days.append(day, 5)
    sessions = Sessions(days.superuser)
    with locked(days.superuser, leaf(day)), command(tmp_path, settings, "archive", f"{day}") as child:
        child.until("the rows are read", lambda: sessions.wait_for_lock(READS_ROWS))
        # A server that does not answer leaves the clean-up waiting for it.
        with sessions.frozen():

            def ended_by_another() -> bool:
                child.send(signal.SIGTERM)
                return child.process.poll() is not None

            until("its end", ended_by_another)
            assert child.end() == 143
            assert "stopped at once by another SIGTERM" in child.err
        until("its sessions are gone", sessions.are_gone)


def test_an_import_that_is_stopped_stores_nothing_and_the_next_one_everything(
    days: Days, day: date, tmp_path: Path, settings: Settings
) -> None:
    file = tmp_path / "entries.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for number in range(2000):
            line = {
                "log_entry_id": f"entry-{number}",
                "timestamp": f"{day}T12:00:00Z",
                "user_id": "user:1",
                "action": "conversation.read",
                "result": "success",
            }
            lines.write(json.dumps(line) + "\n")
    days.append(day, 1)
    before = days.hot_rows(day)
    sessions = Sessions(days.superuser)
    with locked(days.superuser, leaf(day), "SHARE"), command(tmp_path, settings, "import", f"{file}") as child:
        child.until("the entries are stored", lambda: sessions.wait_for_lock("%INSERT INTO audit_logs%"))
        child.send(signal.SIGTERM)
        assert child.end() == 143
        until("its sessions are gone", sessions.are_gone)
        assert child.err == (
            f"stopped by SIGTERM while importing {file}, which is stored whole or not at all; run it again to go on\n"
        )
    assert days.hot_rows(day) == before
    with command(tmp_path, settings, "import", f"{file}") as again:
        assert again.end() == 0, again.err
    assert "2,000 new entries, 0 repeated" in again.out


@pytest.mark.parametrize(
    ("arguments", "lock"),
    [
        ("seal", "audit_logs"),
        ("status", "archive_backlog"),
        ("check", "audit_logs"),
        ("verify --all", "audit_logs"),
        ("verify {day}", "{leaf}"),
        ("prove {entry} -o proof.json", "{leaf}"),
        ("search", "{leaf}"),
        ("purge {day}", "archived_audit_logs"),
        ("restore {day}", "archived_audit_logs"),
        ("erase run", "erasure_requests"),
        ("ledger checkpoint", "ledger_checkpoints"),
    ],
)
def test_every_command_stops_where_it_waits(arguments: str, lock: str, days: Days, day: date, tmp_path: Path) -> None:
    [entry] = days.append(day, 1)
    archive_day(days.services, day)
    names = {"day": day, "leaf": leaf(day), "entry": entry.log_entry_id}
    sessions = Sessions(days.superuser)
    with (
        locked(days.superuser, lock.format(**names)),
        command(
            tmp_path, days.services.settings, *arguments.format(**names).split(), AUDIT_LOG_PURGE_GRACE_DAYS="0"
        ) as child,
    ):
        child.until("it waits", lambda: sessions.wait_for_lock("%"))
        child.send(signal.SIGTERM)
        assert child.end() == 143
        until("its sessions are gone", sessions.are_gone)
        assert child.err.splitlines()[-1].startswith("stopped by SIGTERM while "), child.err
        assert child.out == ""
