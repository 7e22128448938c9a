"""Sealing in tests that share a PostgreSQL: its oldest transaction holds sealing back, in whatever database it runs."""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from compliance_pipelines.ledger.sealing import SealResult, seal

if TYPE_CHECKING:
    from compliance_pipelines.services import Services

_PATIENCE_SECONDS: Final = 900
_POLL_SECONDS: Final = 0.01
_EVERYTHING_HAS_ENDED: Final = text("SELECT audit_tx_horizon() > coalesce((SELECT max(tx_id) FROM audit_logs), 0)")


def settle(services: Services) -> None:
    """Wait until one pass seals all that was committed so far."""
    deadline = monotonic() + _PATIENCE_SECONDS
    with services.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.execute(_EVERYTHING_HAS_ENDED).scalar_one():
            assert monotonic() < deadline, "a transaction of another test does not end"
            sleep(_POLL_SECONDS)


def seal_all(services: Services, **options: Any) -> SealResult:  # noqa: ANN401 - those of `seal`
    """Seal all that was committed so far, in one pass."""
    settle(services)
    return seal(services, **options)
