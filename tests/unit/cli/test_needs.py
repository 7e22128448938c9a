"""Every command says what it needs; what is missing is named at once, and nothing is asked for that is not needed."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from compliance_pipelines.cli import compliance, main, needs
from compliance_pipelines.cli.needs import Need, declared_needs
from compliance_pipelines.cli.opening import problem_of, require
from compliance_pipelines.cli.settings import all_commands, needs_table
from compliance_pipelines.encryption.keyring import Keyring
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.settings import NeededSettingsError, Settings, readable_settings

KEY = SigningKey("example.org/audit", bytes(32))
PREFIXES = ("AUDIT_", "LEDGER_", "COMPLIANCE_", "GDPR_", "CHECKPOINT_", "REDIS_", "AWS_", "GCP_", "DAGSTER_")


COMMANDS = dict(all_commands(compliance))


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AUDIT_ARCHIVE_ENCRYPTION", "true")  # without it, no key is needed for archives


@pytest.fixture
def values(tmp_path: Path) -> dict[str, str]:
    """A usable value of each setting that a command may need."""
    (tmp_path / "home").mkdir()
    return {
        "AUDIT_LOG_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
        "AUDIT_LOG_MIGRATION_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere",
        "AUDIT_COLD_STORAGE_PATH": str(tmp_path / "cold"),
        "AUDIT_ARCHIVE_KEYRING_FILE": str(Keyring.create(tmp_path / "keyring", datetime.now(UTC)).path),
        "LEDGER_SIGNING_KEY": KEY.to_note_string(),
        "LEDGER_PUBLIC_KEY": KEY.verifier_key().to_note_string(),
        "GDPR_PSEUDONYM_KEY": "k" * 32,
        "CHECKPOINT_REDIS_URL": "redis://127.0.0.1:1/0",
        "GDPR_SESSION_REDIS_URL": "redis://127.0.0.1:1/0",
        "DAGSTER_HOME": str(tmp_path / "home"),
    }


# Which of the settings each need is given.
GIVEN = {
    Need.DATABASE: "AUDIT_LOG_DATABASE_URL",
    Need.MIGRATION_DATABASE: "AUDIT_LOG_MIGRATION_DATABASE_URL",
    Need.COLD_STORE: "AUDIT_COLD_STORAGE_PATH",
    Need.ARCHIVE_KEY: "AUDIT_ARCHIVE_KEYRING_FILE",
    Need.SIGNING_KEY: "LEDGER_SIGNING_KEY",
    Need.PUBLIC_KEY: "LEDGER_PUBLIC_KEY",
    Need.RECORD_KEY: "GDPR_PSEUDONYM_KEY",
    Need.CONVERSATION_REDIS: "CHECKPOINT_REDIS_URL",
    Need.SESSION_REDIS: "GDPR_SESSION_REDIS_URL",
    Need.ANY_REDIS: "CHECKPOINT_REDIS_URL",
    Need.DAGSTER_HOME: "DAGSTER_HOME",
}


def look(name: str, **parameters: Any) -> None:  # noqa: ANN401 - parameters of any command
    """What is looked at before the command begins."""
    declared = declared_needs(COMMANDS[name])
    assert declared is not None
    with click.Context(COMMANDS[name], info_name=name) as context:
        context.params = parameters
        require(declared)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_declares_what_it_needs(name: str) -> None:
    assert declared_needs(COMMANDS[name]) is not None, "put @needs(...) above the command's function"


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_that_is_missing_is_named_at_once_with_what_it_is_for(name: str) -> None:
    declared = declared_needs(COMMANDS[name])
    assert declared is not None
    wanted = [need for need in declared.of_settings if need.settings]
    if not wanted:
        look(name)
        return
    with pytest.raises(NeededSettingsError) as raised:
        look(name)
    assert len(raised.value.problems) == len(wanted)
    for need, problem in zip(wanted, raised.value.problems, strict=True):
        assert f"(needed {need.purpose})" in problem
        assert any(setting in problem for setting in need.settings)
        assert problem in str(raised.value)


@pytest.mark.parametrize("name", COMMANDS)
def test_with_what_is_declared_and_nothing_else_a_command_begins(
    name: str, values: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = declared_needs(COMMANDS[name])
    assert declared is not None
    for need in declared.of_settings:
        if need.settings:
            monkeypatch.setenv(GIVEN[need], values[GIVEN[need]])
    look(name)


@pytest.mark.parametrize("name", ["hold list", "erase list", "erase show", "status", "ledger checkpoint"])
def test_what_reads_the_database_needs_it_alone(name: str) -> None:
    declared = declared_needs(COMMANDS[name])
    assert declared is not None
    assert declared.of_settings == (Need.DATABASE,)
    assert not declared.changes


def test_a_parameter_takes_the_place_of_a_setting(values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    look("verify", offline="copy", public_key="key")
    with pytest.raises(NeededSettingsError) as raised:
        look("verify", public_key="key")
    assert len(raised.value.problems) == 2
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", values["AUDIT_LOG_DATABASE_URL"])
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PATH", values["AUDIT_COLD_STORAGE_PATH"])
    look("verify", public_key="key")


def test_what_cannot_be_used_is_named_with_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIT_LOG_DATABASE_URL", "mysql://localhost/x")
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PROVIDER", "gcs")
    monkeypatch.setenv("LEDGER_SIGNING_KEY", "hunter2")
    monkeypatch.setenv("AUDIT_LOG_RETENTION_DAYS", "hunter2")
    monkeypatch.setattr("sys.argv", ["compliance", "run"])
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "compliance: `compliance run` needs what is missing or cannot be used:"
    found = (
        "AUDIT_LOG_RETENTION_DAYS",
        "mysql",
        "AUDIT_COLD_STORAGE_BUCKET is not set: with AUDIT_COLD_STORAGE_PROVIDER=gcs",
        "malformed",
        "no key for archives",
        "DAGSTER_HOME",
    )
    assert len(lines) == 1 + len(found)
    for line, said in zip(lines[1:], found, strict=True):
        assert said in line
    assert "hunter2" not in "".join(lines)


def test_the_default_provider_of_the_cold_store_is_one_that_exists(
    values: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_COLD_STORAGE_PATH", values["AUDIT_COLD_STORAGE_PATH"])
    assert problem_of(Need.COLD_STORE, Settings(_env_file=None)) is None


def test_settings_are_read_past_those_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_DAYS", "x")
    monkeypatch.setenv("AUDIT_LOG_RETENTION_DAYS", "y")
    monkeypatch.setenv("LEDGER_SEAL_MAX_ENTRIES", "7")
    settings, problems = readable_settings()
    assert [problem.partition(":")[0] for problem in problems] == [
        "AUDIT_LOG_RETENTION_DAYS",
        "CONVERSATION_RETENTION_DAYS",
    ]
    assert (settings.conversation_retention_days, settings.ledger_seal_max_entries) == (90, 7)


def test_the_configuration_document_holds_the_table_of_what_commands_need() -> None:
    document = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
    table = document.split("<!-- needs -->\n")[1].split("<!-- /needs -->")[0]
    assert table == needs_table(compliance), "run `compliance settings --commands`, and put it between the markers"


def test_one_module_alone_opens_services_for_commands() -> None:
    modules = Path(needs.__file__).parent.glob("*.py")
    assert [each.name for each in modules if "open_services(" in each.read_text(encoding="utf-8")] == ["opening.py"]
