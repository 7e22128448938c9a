"""`compliance ledger recover` as a person runs it, and where losses are shown."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.export import archive_day
from tests.integration.recovery.restoring import opened_at, remembered
from tests.integration.verification.world import KEY, TODAY
from tests.support.command import Command
from tests.support.logins import login_url, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

DAY: Final = TODAY - timedelta(days=100)
ARCHIVED: Final = TODAY - timedelta(days=110)
WHO_AND_WHY: Final = ("--author", "Ada [Admin]", "--reason", "INC-7: disk")


@pytest.fixture
def restored(postgres_server: EmbeddedPostgres, world: World) -> Iterator[World]:
    """Set back to before one segment that is lost, and one that is archived."""
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as moment:
        world.days.append(DAY, 2)
        world.days.append(ARCHIVED, 3)
        archive_day(world.services, ARCHIVED)
        with opened_at(postgres_server, moment, world) as restored:
            yield restored


@pytest.fixture
def command(
    restored: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    made = Command(monkeypatch, capsys, tmp_path)
    made.use(restored.services.settings)
    made.set(AUDIT_LOG_MIGRATION_DATABASE_URL=url_of(restored.days.superuser))
    return made


def test_it_says_what_is_lost_and_goes_on(command: Command, restored: World, tmp_path: Path) -> None:
    done = command("ledger", "recover", *WHO_AND_WHY, "--yes")
    assert done.status == 0, done
    lines = done.out.splitlines()
    assert lines[0] == "the cold store has 3 records of the ledger, the database has 1 of them"
    assert lines[1] == "0 segments are intact: all entries are in PostgreSQL as they were sealed"
    assert lines[2] == "1 segment is in archives alone: their entries are put back into PostgreSQL"
    assert lines[3] == "1 segment is lost: 2 entries were sealed in them, 0 stand in their place now"
    assert lines[4].startswith(f"  segment 1 of {DAY}: 2 entries, ids ")
    assert lines[4].endswith(" UTC; 0 there now")
    assert lines[5].startswith("recovered: the ledger has 4 records; 0 entries")
    assert lines[6] == "published: 4"
    assert command("ledger", "recover", *WHO_AND_WHY).out == (
        "nothing to recover: the database has everything that was published\n"
    )
    assert len(restored.days.hot_rows(ARCHIVED)) == 3

    (loss,) = json.loads(command("status", "--json").out)["ledger"]["losses"]
    assert (loss["author"], loss["reason"]) == ("Ada [Admin]", "INC-7: disk")
    assert (loss["record"], loss["segments"], loss["entries"], loss["found"]) == (3, [[1, 2]], 2, 0)
    status = " ".join(command("status").out.replace("│", " ").split())
    assert "loss accepted 1 segments with 2 entries, of which 0 were found again; " in status
    assert "by Ada [Admin]: INC-7: disk" in status

    key = tmp_path / "key"
    key.write_text(KEY.verifier_key().to_note_string(), encoding="utf-8")
    for arguments in (("--all",), (str(DAY),), ("--offline", restored.cold, "--public-key", key)):
        verified = json.loads(command("verify", *arguments, "--json").out)
        assert [note["kind"] for note in verified["notes"]].count("loss_accepted") == 1
        assert verified["findings"] == []


def test_it_asks_before_it_does_anything(command: Command, restored: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    asked = command("ledger", "recover", *WHO_AND_WHY)
    assert asked.status == 1
    assert "Is the former database stopped for good" in asked.out + asked.err
    assert restored.execute("SELECT count(*) FROM ledger_checkpoints") == [(1,)]


def test_a_dry_run_needs_neither_key_nor_owner_nor_who_and_why(
    command: Command, restored: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LEDGER_SIGNING_KEY")
    monkeypatch.delenv("AUDIT_LOG_MIGRATION_DATABASE_URL")
    command.set(
        LEDGER_PUBLIC_KEY=KEY.verifier_key().to_note_string(),
        AUDIT_LOG_DATABASE_URL=login_url(url_of(restored.days.superuser), "test_reader"),
    )
    done = command("ledger", "recover", "--dry-run")
    assert done.status == 0, done
    assert "1 segment is lost: 2 entries" in done.out
    assert "recovered" not in done.out
    assert restored.execute("SELECT count(*) FROM ledger_checkpoints") == [(1,)]


def test_who_and_why_must_be_said(command: Command) -> None:
    assert command("ledger", "recover", "--yes").status == 2
