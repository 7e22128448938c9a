"""Making a cold store, and binding a database to it: the one explicit act that does either.

Here: what must hold before a store gets its identity, and what an interruption leaves. Not here: the identity and its
comparison (ledger/store_identity.py).

The identity is put before the database knows of it. Whoever is killed in between leaves a store that holds nothing but
an identity with the id of this database's environment, and the next call binds it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.catalogue import all_parts
from compliance_pipelines.archive.errors import ArchiveError
from compliance_pipelines.audit_log.environment import ensure_environment
from compliance_pipelines.ledger import sql as ledger_sql
from compliance_pipelines.ledger import store as ledger_store
from compliance_pipelines.ledger.anchor import check_anchor
from compliance_pipelines.ledger.log_reading import read_chain
from compliance_pipelines.ledger.signing import signer_in_charge
from compliance_pipelines.ledger.store_identity import (
    IDENTITY_KEY,
    Binding,
    StoreIdentity,
    check_identity,
    check_key,
    read_binding,
    read_identity,
)
from compliance_pipelines.object_store.port import ObjectExistsError
from compliance_pipelines.object_store.promises import PROBES
from compliance_pipelines.postgres.locks import process_lock

if TYPE_CHECKING:
    from uuid import UUID

    import sqlalchemy

    from compliance_pipelines.services import Services


class StoreInitRefusedError(ArchiveError):
    """The cold store was neither made nor adopted; nothing was written to it, and the database knows nothing of it."""


@dataclass(frozen=True)
class InitialisedStore:
    """A cold store that the database is bound to.

    Attributes:
        identity: of the store.
        new: whether this call bound it; False where it was bound before.
        adopted: whether it held archives or checkpoints that were there before its identity, or its database.
    """

    identity: StoreIdentity
    new: bool
    adopted: bool = False


def init_store(services: Services, *, adopt_existing: bool = False) -> InitialisedStore:
    """Make the cold store of the settings, and bind the database and the ledger's key to it, for good.

    Args:
        services: the opened services, with the signing key.
        adopt_existing: take a store that holds objects of this ledger already, and has no identity or lost it. They
            must be what the database says: its last published checkpoint, and every part that it knows, by name and
            size. Where it had none, whatever was verified before is verified again before it is purged. `compliance
            verify --all` tells more.

    Returns:
        The store. Where the database was bound to it before, nothing was changed.

    Raises:
        StoreInitRefusedError: the store holds something, or the database has published elsewhere.
        LedgerError: the key, the database or the store are of different ledgers, or of different stores.
        ObjectStoreError: the store failed, or cannot be made.
        LockBusyError: another process is at it.
    """
    with (
        services.engine.connect() as connection,
        process_lock(connection, "store init", doing="`compliance store init`"),
    ):
        with connection.begin():
            binding = read_binding(connection)
            published = ledger_store.last_published_size(connection)
            if binding is not None:
                check_key(connection, binding, services.verifier_key)
            if published is None and (binding is None or adopt_existing):
                # There is nothing yet that could be somewhere else.
                services.store.create()
            lost = adopt_existing and _identity(services) is None
            if binding is not None and not lost:
                return InitialisedStore(check_identity(services, connection), new=False)
        if published is not None and not adopt_existing:
            raise StoreInitRefusedError(
                f"no store was made at {services.store.uri}: this database has published {published:,} records, so "
                "that its cold store is there already, without an identity. Set AUDIT_COLD_STORAGE_PATH to it and run "
                "`compliance store init --adopt-existing`"
            )
        with connection.begin():
            environment = ensure_environment(connection)
        return _Init(services, connection, environment, adopt_existing=adopt_existing).run(binding, published)


def _identity(services: Services) -> StoreIdentity | None:
    return read_identity(services.store, read_chain(services.store, services.verifier_key))


class _Init:
    """One call for a database that has no store, or whose store lost its identity, under its lock."""

    def __init__(
        self, services: Services, connection: sqlalchemy.Connection, environment: UUID, *, adopt_existing: bool
    ) -> None:
        self._services = services
        self._connection = connection
        self._environment = environment
        self._adopt_existing = adopt_existing

    def run(self, binding: Binding | None, published: int | None) -> InitialisedStore:
        store = self._services.store
        identity = _identity(self._services)
        ours = identity is not None and identity.environment_id == self._environment
        # Locked probes of a trial stay for two minutes, and say nothing about the store.
        keys = (info.key for info in store.list("") if not info.key.startswith(PROBES))
        holds = next((key for key in keys if key != IDENTITY_KEY), None)
        adopted = published is not None or holds is not None or (identity is not None and not ours)
        if adopted:
            self._refuse_unknown(identity, holds, published)
        if identity is None:
            identity = self._put(uuid.uuid4() if binding is None else binding.store_id)
        if binding is None:
            self._bind(identity)
        return InitialisedStore(identity, new=True, adopted=adopted)

    def _refuse_unknown(self, identity: StoreIdentity | None, holds: str | None, published: int | None) -> None:
        """Let only what this database has published and archived pass, and only if somebody said so."""
        what = f"{self._services.store.uri} " + (
            f"holds objects ({holds}, for one)"
            if identity is None
            else f"is the {identity}, which another database made"
        )
        if not self._adopt_existing:
            raise StoreInitRefusedError(
                f"{what}: give an empty directory to a new store; if these are this database's archives, run "
                "`compliance store init --adopt-existing`"
            )
        if published is None:
            raise StoreInitRefusedError(
                f"{what}, and this database has published no checkpoint, so that nothing says that they are its own: "
                "give it a store of its own; if the database that made them is lost, `compliance db rebuild` makes "
                "this one anew from them"
            )
        with self._connection.begin():
            check_anchor(self._services, self._connection)
            parts = [part for part in all_parts(self._connection) if part.expired_at is None]
        for part in parts:
            found = self._services.store.stat(part.object_key)
            manifest = self._services.store.stat(part.manifest_key)
            if found is None or manifest is None or found.size != part.object_bytes:
                raise StoreInitRefusedError(
                    f"{self._services.store.uri} does not hold part {part.part} of {part.day} as this database has it "
                    f"({part.object_key}): it is another store, or an incomplete copy"
                )

    def _put(self, store_id: UUID) -> StoreIdentity:
        services = self._services
        made = StoreIdentity(services.verifier_key.name, store_id, self._environment, datetime.now(UTC))
        try:
            services.store.put_bytes(IDENTITY_KEY, made.to_note(signer_in_charge(services)))
        except ObjectExistsError:
            # The answer to a put that the store's client repeated was lost, or another database was faster.
            found = _identity(services)
            if found is None or found.environment_id != self._environment:
                raise StoreInitRefusedError(
                    f"{services.store.uri} was made another database's store meanwhile"
                ) from None
            return found
        return made

    def _bind(self, identity: StoreIdentity) -> None:
        services = self._services
        with self._connection.begin():
            self._connection.execute(
                ledger_sql.BIND_STORE,
                {
                    "store_id": identity.store_id,
                    "ledger_key": services.verifier_key.to_note_string(),
                    "location": services.store.uri,
                },
            )
            # They were made before anybody could tell which store was read.
            self._connection.execute(sql.FORGET_VERIFICATIONS)
