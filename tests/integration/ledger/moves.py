"""What happens to ledgers: passes that stop half-way, databases that move."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.ledger.sealing import SealStep
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days


FAR_AHEAD: Final = 1_000_000
"""More transaction ids than other tests of the same cluster use up meanwhile."""


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


def set_transaction_ids(days: Days, ahead: int) -> None:
    """Give new entries the cluster's own transaction ids and `ahead`; less than before is a counter that went back."""
    for function in ("audit_tx_id", "audit_tx_horizon"):
        (definition,) = days.execute(f"SELECT pg_get_functiondef('{function}'::regproc)")[0]
        days.execute(re.sub(r"\+ \d+", f"+ {ahead}", str(definition)))
