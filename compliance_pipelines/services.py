"""What the domain works with: settings, database, cold store, key and clock, opened together.

Here: the bundle and its opening. Not here: anything that a domain does with it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.clock import system_clock
from compliance_pipelines.database import engine_from_settings
from compliance_pipelines.ledger.keys import load_signing_key
from compliance_pipelines.object_store import open_object_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.clock import Clock
    from compliance_pipelines.ledger.checkpoint import SigningKey, VerifierKey
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.settings import Settings


@dataclass(frozen=True)
class Services:
    """The opened resources of one process.

    `clock` decides what is due. What is recorded carries the database's time, so that a shifted clock never writes a
    false date.
    """

    settings: Settings
    engine: sqlalchemy.Engine
    store: ObjectStore
    signing_key: SigningKey
    clock: Clock = system_clock

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half of the signing key."""
        return self.signing_key.verifier_key()


@contextmanager
def open_services(settings: Settings, *, clock: Clock = system_clock) -> Iterator[Services]:
    """Open everything; the engine is closed at the end.

    Raises:
        ConfigurationError: a setting is missing or cannot be used.
    """
    store = open_object_store(settings)
    signing_key = load_signing_key(settings)
    engine = engine_from_settings(settings)
    try:
        yield Services(settings=settings, engine=engine, store=store, signing_key=signing_key, clock=clock)
    finally:
        engine.dispose()
