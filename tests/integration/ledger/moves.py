"""What happens to ledgers: passes that stop half-way, databases that move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.ledger.sealing import SealStep
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days


class StoppedError(Exception):
    """The pass was stopped by the test."""


def seal_without_publishing(services: Services) -> None:
    """Stop a pass between the commit and the cold store."""

    def step(done: str) -> None:
        if done == SealStep.COMMITTED:
            raise StoppedError

    with pytest.raises(StoppedError):
        seal_all(services, step=step)


def move_to_another_cluster(days: Days) -> None:
    """As far as the database can tell: the ledger was begun under another system identifier."""
    days.execute("UPDATE ledger_clusters SET system_identifier = system_identifier - 1")
