"""Days in every place that entries can be in, and the command as a person runs it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from tests.integration.archive.days import Days, entry
from tests.support.command import Command
from tests.support.encrypted import encrypted

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.conftest import MovableClock


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Archives are encrypted."""
    return encrypted(settings, tmp_path)


@dataclass
class World:
    """A purged day with late entries, an archived one in its grace, and one that nothing was done with.

    Attributes:
        purged: the first day: ten entries in a part alone, three late ones in PostgreSQL.
        archived: the second: ten entries in both stores.
        hot: the third: five sealed entries and two unsealed ones.
        entries: all of them, by id.
    """

    services: Services
    days: Days
    purged: date
    entries: dict[str, AuditEntry] = field(default_factory=dict)

    @property
    def archived(self) -> date:
        return self.purged + timedelta(days=1)

    @property
    def hot(self) -> date:
        return self.purged + timedelta(days=2)

    def append(self, day: date, numbers: range, *, sealed: bool = True) -> None:
        made = [entry(day, number) for number in numbers]
        self.days.append_entries(day, made, sealed=sealed)
        self.entries |= {each.log_entry_id: each for each in made}

    def of(self, *days: date) -> set[str]:
        """The ids of the entries of some days."""
        return {key for key, each in self.entries.items() if each.timestamp.date() in days}

    def recorded(self) -> list[dict[str, Any]]:
        """What searches have put on record."""
        rows = self.days.execute(
            "SELECT action, resource_type, resource_id, result, user_id, metadata FROM audit_logs "
            "WHERE action IN ('audit.search', 'audit.searched', 'audit.query', 'audit.queried') ORDER BY id"
        )
        names = ("action", "resource_type", "resource_id", "result", "user_id", "metadata")
        return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture
def world(services: Services, days: Days, day: date, clock: MovableClock) -> World:
    """Its entries are of days long ago, those of the project itself are of today."""
    made = World(services, days, day)
    made.append(made.purged, range(10))
    archive_day(services, made.purged)
    clock.advance(days=8)
    purge_day(services, made.purged)
    made.append(made.purged, range(10, 13))
    made.append(made.archived, range(10))
    archive_day(services, made.archived)
    made.append(made.hot, range(5))
    made.append(made.hot, range(5, 7), sealed=False)
    return made


@pytest.fixture
def command(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """The command of the pipelines' login."""
    made = Command(monkeypatch, capsys, tmp_path)
    made.use(services.settings)
    if services.settings.audit_archive_keyring_file is not None:
        made.set(AUDIT_ARCHIVE_KEYRING_FILE=str(services.settings.audit_archive_keyring_file))
    return made


def found(out: str) -> list[dict[str, Any]]:
    """The objects of JSON lines."""
    return [json.loads(line) for line in out.splitlines()]
