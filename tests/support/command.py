"""The `compliance` command as a person runs it, in this process: arguments, exit status, what it printed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from pydantic import SecretStr

from compliance_pipelines.cli import main
from compliance_pipelines.cli.settings_reference import environment_names

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.settings import Settings


class Outcome(NamedTuple):
    """What a command left on the screen, and its exit status."""

    status: int
    out: str
    err: str


def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Run `compliance ARGUMENTS` with the environment as it is; what was printed before is thrown away."""
    monkeypatch.setattr(sys, "argv", ["compliance", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return Outcome(int(ended.value.code or 0), out, err)


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables that give these settings."""
    variables = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None and name in type(settings).model_fields:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            variables[environment_names(name, type(settings).model_fields[name])[0]] = text
    return variables


class Command:
    """`compliance ARGUMENTS` in this process, with nothing of the environment but what it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(directory)
        for name in list(os.environ):
            if name.startswith(("AUDIT_", "LEDGER_", "COMPLIANCE_", "AWS_", "GCP_")):
                monkeypatch.delenv(name)

    def use(self, settings: Settings) -> None:
        """Take the settings of a test."""
        assert settings.ledger_signing_key is not None
        self.set(
            AUDIT_LOG_DATABASE_URL=settings.require_database_url(),
            AUDIT_COLD_STORAGE_PROVIDER="local",
            AUDIT_COLD_STORAGE_PATH=str(settings.audit_cold_storage_path),
            LEDGER_SIGNING_KEY=settings.ledger_signing_key.get_secret_value(),
        )

    def set(self, **variables: str) -> None:
        """Set environment variables for the commands to come."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def __call__(self, *arguments: object) -> Outcome:
        return run_command(self._monkeypatch, self._capsys, *arguments)
