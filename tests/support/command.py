"""The `compliance` command as a person runs it, on the services of one test."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """What a command left on the screen, and its exit status."""

    status: int
    out: str
    err: str


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
        self._monkeypatch.setattr(sys, "argv", ["compliance", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)
