"""The `compliance` command as an auditor runs it: a login in `audit_reader`, the public key, a store that is read."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.integration.archive.days import Days
from tests.support.command import Command
from tests.support.logins import login_url

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock

LOGIN = "test_reader"


@pytest.fixture
def auditor(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command of an auditor, with no setting but the three that an auditor has."""
    command = Command(monkeypatch, capsys, tmp_path)
    for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "CHECKPOINT_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    command.set(
        AUDIT_LOG_DATABASE_URL=login_url(services.settings.require_database_url(), LOGIN),
        AUDIT_COLD_STORAGE_PATH=str(services.settings.audit_cold_storage_path),
        LEDGER_PUBLIC_KEY=services.verifier_key.to_note_string(),
    )
    return command


@pytest.fixture
def days(services: Services, superuser_engine: sqlalchemy.Engine) -> Days:
    """Days of entries."""
    return Days(services, superuser_engine)


@pytest.fixture
def day(clock: MovableClock) -> date:
    """A day that is due for its archive."""
    return clock.moment.date() - timedelta(days=120)
