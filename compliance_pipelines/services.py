"""What the domain works with: settings, database, cold store, keys and clock, opened together.

Here: the bundle and its opening. Not here: anything that a domain does with it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.encryption.data_keys import DataKeys
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.object_retention import ObjectRetention
from compliance_pipelines.object_store import open_object_store
from compliance_pipelines.object_store.deferred import DeferredObjectStore
from compliance_pipelines.postgres.engine import engine_from_settings
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.base.clock import Clock
    from compliance_pipelines.ledger.checkpoint import Signer, VerifierKey
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
    keys: Keyring
    clock: Clock = system_clock

    @cached_property
    def data_keys(self) -> DataKeys:
        """The keys of encrypted archives; nothing is opened before one is asked for."""
        return DataKeys(self.store, KeyEncryptionKeys.from_settings(self.settings), self.engine)

    @property
    def signing_key(self) -> Signer:
        """The key that signs, opened at its first use, because most of what is done signs nothing.

        Raises:
            ConfigurationError: there is none, or it cannot be used.
        """
        return self.keys.signing_key

    @property
    def verifier_key(self) -> VerifierKey:
        """The key that checks signatures, opened at its first use.

        Raises:
            ConfigurationError: there is none, or it cannot be used.
        """
        return self.keys.verifier_key


def open_cold_store(settings: Settings) -> ObjectStore:
    """The cold store of the settings, whose objects are locked until their retention ends where it can lock.

    Raises:
        ConfigurationError: a setting is missing or cannot be used.
        ObjectStoreError: the path of a local one is not a directory.
    """
    return open_object_store(settings, ObjectRetention(settings.audit_cold_storage_retention_years))


@contextmanager
def open_services(
    settings: Settings, *, clock: Clock = system_clock, signs: bool = True, stores: bool = True
) -> Iterator[Services]:
    """Open what is needed; the engine is closed at the end.

    Args:
        settings: what to open.
        clock: decides what is due.
        signs: whether checkpoints or manifests will be signed. If so the keys are opened now, so that a missing or a
            wrong one is found before the work and not after it; else they are left alone until somebody asks.
        stores: whether the cold store will be used. If not, it need not be configured; whoever uses it after all opens
            it.

    Raises:
        ConfigurationError: a setting is missing or cannot be used, or the clock is not the machine's although this is
            not the embedded stack.
    """
    if clock is not system_clock and not settings.compliance_local_stack:
        raise ConfigurationError(
            "the clock that decides what is due can be moved on the embedded stack only, which sets "
            "COMPLIANCE_LOCAL_STACK"
        )
    store = open_cold_store(settings) if stores else DeferredObjectStore(partial(open_cold_store, settings))
    services = Services(settings, engine_from_settings(settings), store, Keyring.from_settings(settings), clock)
    try:
        if signs:
            # The public key too: one that is not the signing key's half is refused.
            _ = services.keys.signers, services.verifier_key
        yield services
    finally:
        services.engine.dispose()
