"""The command: what it prints, how it exits, and that it needs no settings for a copy of the bucket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.ledger.checkpoint import SigningKey
from tests.integration.verification.world import ARCHIVED, HOT, KEY, LEAVES, OTHER_ARCHIVED, PURGED
from tests.support.command import Outcome, run_command
from tests.support.logins import database_of, login_url

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

_SETTINGS = (
    "AUDIT_LOG_DATABASE_URL",
    "AUDIT_COLD_STORAGE_PROVIDER",
    "AUDIT_COLD_STORAGE_PATH",
    "LEDGER_SIGNING_KEY",
    "LEDGER_SIGNING_KEY_FILE",
    "LEDGER_PUBLIC_KEY",
)


class Command:
    """`compliance verify` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: object) -> Outcome:
        """Exit status, stdout, stderr."""
        return run_command(self._monkeypatch, self._capsys, "verify", *arguments)

    def json(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Exit status and the report."""
        status, out, _ = self.run(*arguments, "--json")
        return status, json.loads(out)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command with no settings at all."""
    monkeypatch.chdir(tmp_path)
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return Command(monkeypatch, capsys)


@pytest.fixture
def configured(world: World, command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with the settings of the world."""
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", world.services.settings.require_database_url())
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PROVIDER", "local")
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PATH", str(world.cold))
    monkeypatch.setenv("LEDGER_SIGNING_KEY", KEY.to_note_string())
    return command


@pytest.fixture
def auditor(
    world: World, configured: Command, postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command as somebody who may read and has no key at all."""
    database = database_of(world.services.engine)
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", login_url(postgres_server.url(database), "test_reader"))
    monkeypatch.delenv("LEDGER_SIGNING_KEY")
    return configured


def test_a_clean_system_is_one_line_and_exit_status_0(configured: Command) -> None:
    for arguments in ((), ("--all",)):
        status, out, _ = configured.run(*arguments)
        assert status == 0
        assert out == (
            "nothing is wrong: 6 days, 38 entries in PostgreSQL, 50 in 4 archive parts, 9 records, 5 checkpoints\n"
        )
    status, out, _ = configured.run(HOT)
    assert (status, out) == (
        0,
        "nothing is wrong: 1 day, 10 entries in PostgreSQL, 0 in 0 archive parts, 9 records, 1 checkpoint\n",
    )


def test_each_finding_is_a_line_before_the_summary_and_the_exit_status_is_1(world: World, configured: Command) -> None:
    world.alter_object(PURGED)
    world.remove(world.tile_path(LEAVES))
    status, out, _ = configured.run("--all")
    lines = out.splitlines()
    assert status == 1
    assert len(lines) == 3
    assert lines[0].startswith("tile_missing: audit-ledger/tile/0/000.p/9 is missing")
    assert lines[1].startswith(f"object_altered {PURGED}: audit-archives/")
    assert lines[2].startswith("2 findings: 6 days, ")


def test_the_json_names_kind_day_and_message_of_each_finding(world: World, configured: Command) -> None:
    status, report = configured.json()
    assert (status, report["ok"], report["findings"]) == (0, True, [])
    world.alter_object(PURGED)
    status, report = configured.json(PURGED, ARCHIVED)
    assert (status, report["ok"], report["undecided"], report["notes"]) == (1, False, [], [])
    assert report["checked"] == {
        "checkpoints": 1,
        "segments": 9,
        "days": 2,
        "hot_entries": 22,
        "parts": 3,
        "parts_by_hash": 0,
        "archived_entries": 22,
    }
    (finding,) = report["findings"]
    assert finding.pop("message").endswith("was altered: its bytes do not have the SHA-256 that was committed")
    assert finding == {
        "kind": "object_altered",
        "day": PURGED.isoformat(),
        "part": 1,
        "key": world.object_path(PURGED).relative_to(world.cold).as_posix(),
        "segment": None,
        "checkpoint": None,
    }


def test_an_auditor_needs_the_public_key_and_no_other(
    auditor: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status, out, err = auditor.run("--all")
    assert (status, out) == (1, "")
    assert err.startswith("compliance: no public key: set LEDGER_PUBLIC_KEY ")
    key, key_file = KEY.verifier_key().to_note_string(), tmp_path / "ledger.pub"
    key_file.write_text(key + "\n")
    for given in (key, key_file):
        status, out, _ = auditor.run("--all", "--public-key", given)
        assert (status, out[:17]) == (0, "nothing is wrong:")
        with monkeypatch.context() as setting:
            setting.setenv("LEDGER_PUBLIC_KEY", str(given))
            status, out, _ = auditor.run(PURGED)
            assert (status, out[:17]) == (0, "nothing is wrong:")


def test_the_public_key_of_the_option_counts_and_no_other_key_is_opened(
    auditor: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    another = SigningKey.generate(KEY.name)
    monkeypatch.setenv("LEDGER_PUBLIC_KEY", another.verifier_key().to_note_string())
    monkeypatch.setenv("LEDGER_SIGNING_KEY_FILE", str(tmp_path / "not-readable"))
    status, out, _ = auditor.run("--public-key", KEY.verifier_key().to_note_string())
    assert (status, out[:17]) == (0, "nothing is wrong:")


def test_what_another_key_signed_is_not_believed_whatever_the_stores_say(
    auditor: Command, configured: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database and bucket agree with each other and with their own key: the auditor's is another."""
    another = SigningKey.generate(KEY.name)
    status, report = auditor.json("--public-key", another.verifier_key().to_note_string())
    assert (status, report["ok"], report["findings"]) == (1, False, [])
    told_apart = f"the key in use is of ledger {another.verifier_key()}, and the database is of ledger "
    assert report["error"].startswith(f"{told_apart}{KEY.verifier_key()}: ")
    monkeypatch.setenv("LEDGER_SIGNING_KEY", KEY.to_note_string())
    monkeypatch.setenv("LEDGER_PUBLIC_KEY", another.verifier_key().to_note_string())
    status, out, err = configured.run()
    assert (status, out) == (1, "")
    assert err.startswith("compliance: LEDGER_PUBLIC_KEY is ")


def test_a_copy_is_verified_without_any_setting(world: World, command: Command, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY.verifier_key().to_note_string() + "\n")
    for key in (KEY.verifier_key().to_note_string(), key_file):
        status, out, err = command.run("--offline", world.cold, "--public-key", key)
        assert status == 0
        assert err.startswith(f"{world.cold} is store ")
        assert f" of ledger {KEY.name}, made at " in err
        note, summary = out.splitlines()
        assert note.startswith("note: of 2 days from")
        assert summary.startswith("nothing is wrong: 3 days, 0 entries in PostgreSQL, 50 in 4 archive parts")
    world.remove(world.object_path(ARCHIVED), world.manifest_path(ARCHIVED))
    status, report = command.json(
        "--offline", world.cold, "--public-key", key_file, "--archived-through", OTHER_ARCHIVED
    )
    assert (status, [finding["kind"] for finding in report["findings"]]) == (1, ["day_missing"])


@pytest.mark.parametrize(
    "arguments",
    [
        (HOT, "--all"),
        ("2026-13-01",),
        ("--offline", "somewhere"),
        ("--archived-through", HOT),
        ("--checkpoint", "somewhere"),
        ("--offline", "somewhere", "--public-key", "x", HOT),
        ("--offline", "somewhere", "--public-key", "x", "--all"),
    ],
)
def test_wrong_usage_is_exit_status_2(command: Command, arguments: tuple[object, ...]) -> None:
    status, out, _ = command.run(*arguments)
    assert (status, out) == (2, "")


def test_what_cannot_be_told_is_exit_status_1_and_no_ok(
    command: Command, configured: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = KEY.verifier_key().to_note_string()
    status, out, err = command.run("--offline", tmp_path / "nowhere", "--public-key", key)
    assert (status, out) == (1, "")
    assert "is not a directory" in err
    status, out, err = command.run("--offline", tmp_path, "--public-key", "no+key")
    assert (status, out) == (1, "")
    assert err.startswith("compliance: ")
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", "postgresql://nobody:nothing@127.0.0.1:1/nowhere")
    status, report = configured.json()
    assert (status, report["ok"], report["findings"]) == (1, False, [])
    assert "the verification had to stop" in report["error"]


@pytest.mark.parametrize("failure", [ZeroDivisionError("division by \x1b[31mzero"), MemoryError()])
def test_the_json_is_whole_and_the_error_one_line_also_where_the_program_is_at_fault(
    configured: Command, world: World, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    world.remove(world.tile_path(LEAVES))

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr("compliance_pipelines.verification.days.DayVerifier.verify", fail)
    status, report = configured.json()
    assert (status, report["ok"]) == (1, False)
    assert [finding["kind"] for finding in report["findings"]] == ["tile_missing"]
    assert f"by a fault of this program: {type(failure).__name__}" in report["error"]
    status, out, err = configured.run()
    assert (status, out.splitlines()[0][:12]) == (1, "tile_missing")
    assert err.strip().isprintable()
    assert err.strip().startswith("compliance: the verification had to stop")
