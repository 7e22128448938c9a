"""The identity of a cold store: which one it is, of which ledger, and that it is the one this database archives into.

Here: the identity object, and the comparison of the store, the database and the key. Not here: making a store
(archive/store_init.py), and whether the checkpoints in it are the database's (anchor.py).

A directory that is mistyped, a volume that is not mounted and another environment's bucket look like any other place to
write to. So nothing is archived into, verified against or purged because of a store that does not say, under the
ledger's signature, that it is the one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.checkpoint import (
    BadSignatureError,
    MalformedNoteError,
    SignatureByAnotherKeyError,
    VerifierKey,
    sign_note,
)
from compliance_pipelines.ledger.errors import FormerFormatError, LedgerError
from compliance_pipelines.ledger.key_chain import KeyChain, RetiredKeyError, chain_of
from compliance_pipelines.ledger.log_reading import read_chain

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.ledger.checkpoint import Signer
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services

IDENTITY_KEY: Final = "audit-store/identity"
_FORMAT: Final = "audit-store-identity/2"
_FORMER_FORMAT: Final = "audit-store-identity/1"
_MOMENT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_MOST_BYTES: Final = 4096


class StoreIdentityError(LedgerError):
    """The cold store is not the one that belongs here, or does not say which one it is; nothing was done with it."""


class StoreIdentityAlteredError(StoreIdentityError):
    """The identity of the cold store is not what was signed."""


class LedgerIdentityError(LedgerError):
    """The key is of another ledger than the database."""


@dataclass(frozen=True)
class StoreIdentity:
    """What a cold store says about itself.

    Attributes:
        ledger: name of the ledger's key.
        store_id: random, for this store alone; a full copy of the store has the same.
        environment_id: of the database that made the store.
        created_at: when, UTC.
    """

    ledger: str
    store_id: UUID
    environment_id: UUID
    created_at: datetime

    def to_note(self, key: Signer) -> bytes:
        """The object's bytes: a signed note (https://c2sp.org/signed-note)."""
        return sign_note(self._text(), key).encode()

    def _text(self) -> str:
        lines = (_FORMAT, self.ledger, self.store_id, self.environment_id, self.created_at.strftime(_MOMENT))
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def claimed_by(cls, note: str) -> StoreIdentity:
        """What a note claims; its signature is not checked.

        Raises:
            MalformedNoteError: it is not written exactly as :meth:`to_note` writes it.
        """
        text = note.rpartition("\n\n")[0] + "\n"
        try:
            form, ledger, store_id, environment_id, created_at = text.removesuffix("\n").split("\n")
            moment = datetime.strptime(created_at, _MOMENT).replace(tzinfo=UTC)
            identity = cls(ledger, UUID(store_id), UUID(environment_id), moment)
        except ValueError as error:
            raise MalformedNoteError(f"it is no identity of a cold store: {error}") from error
        if form != _FORMAT or identity._text() != text:
            raise MalformedNoteError(f"it is no identity of a cold store, which begins with {_FORMAT}")
        return identity

    def __str__(self) -> str:
        return f"store {self.store_id} of ledger {self.ledger}"


class Binding(NamedTuple):
    """What the database says: which store it archives into, and the public key of its ledger."""

    store_id: UUID
    ledger_key: str

    @property
    def ledger(self) -> str:
        """The ledger's name and the key's hash, without the key."""
        return str(VerifierKey.from_note_string(self.ledger_key))

    def __str__(self) -> str:
        return f"store {self.store_id} of ledger {self.ledger.partition('+')[0]}"


def read_binding(connection: sqlalchemy.Connection) -> Binding | None:
    """The store of the database; None where `compliance store init` was not run."""
    row = connection.execute(sql.STORE_BINDING).one_or_none()
    return None if row is None else Binding(row.store_id, row.ledger_key)


def read_identity(cold: ObjectStore, key: VerifierKey | KeyChain) -> StoreIdentity | None:
    """The identity of a store, its signature checked; None where it has none.

    Args:
        cold: the store.
        key: a key of the ledger, or the chain of them all, of which any may have signed it in its time.

    Raises:
        StoreIdentityError: it is of another ledger.
        StoreIdentityAlteredError: it was altered.
        FormerFormatError: it is a store of format 1.
        ObjectStoreError: the store failed, or is not there at all.
    """
    chain = chain_of(key)
    info = cold.stat(IDENTITY_KEY)
    if info is None:
        return None
    if info.size > _MOST_BYTES:
        raise _altered(cold, f"it has {info.size} bytes")
    try:
        note = cold.get_bytes(IDENTITY_KEY).decode()
        if note.startswith(f"{_FORMER_FORMAT}\n"):
            raise FormerFormatError(
                f"the cold store at {cold.uri} is of format 1, which this version does not read: begin a new database "
                "with a cold store of its own, and keep this one with the version that wrote it"
            )
        identity = StoreIdentity.claimed_by(note)
        chain.refuse_after_end(chain.open_dated(note)[1], identity.created_at)
    except SignatureByAnotherKeyError as error:
        raise StoreIdentityError(
            f"the cold store at {cold.uri} is the {identity}, and the key in use is of ledger {chain.trusted}: {error}"
            ". Set the key or the store that belongs here"
        ) from error
    except (UnicodeDecodeError, MalformedNoteError, BadSignatureError, RetiredKeyError) as error:
        raise _altered(cold, str(error)) from error
    if identity.ledger != chain.name:
        raise StoreIdentityError(f"the cold store at {cold.uri} is the {identity}, signed by the key of {chain}")
    return identity


def _altered(cold: ObjectStore, how: str) -> StoreIdentityAlteredError:
    return StoreIdentityAlteredError(
        f"{cold.locate(IDENTITY_KEY)}, the identity of the cold store, was altered: {how}; bring the object back from "
        "the versions of the bucket or a copy, and find out who changed it"
    )


def check_key(connection: sqlalchemy.Connection, binding: Binding, key: VerifierKey) -> None:
    """Let a key of the database's ledger pass: the first one, or one that both keys of each step say follows it.

    Args:
        connection: to the database, whose records about keys are asked where it is not the first one.
        binding: names the first key.
        key: in use.

    Raises:
        LedgerIdentityError: it is another ledger's.
    """
    if binding.ledger_key == key.to_note_string():
        return
    chain, _ = KeyChain.linked(key, store.key_records(connection))
    if binding.ledger_key not in {each.to_note_string() for each in chain.keys}:
        raise LedgerIdentityError(
            f"the key in use is of ledger {key}, and the database is of ledger {binding.ledger}: set "
            "LEDGER_SIGNING_KEY (LEDGER_PUBLIC_KEY where nothing is signed) or AUDIT_LOG_DATABASE_URL to those that "
            "belong together"
        )


def check_identity(
    services: Services, connection: sqlalchemy.Connection, keys: KeyChain | None = None
) -> StoreIdentity:
    """Whether the key, the database and the cold store belong together; small objects are read, and never remembered.

    Args:
        services: the opened services.
        connection: to the database.
        keys: of the ledger; None for those that the cold store says, if there is no doubt about them.

    Returns:
        The identity of the store.

    Raises:
        LedgerIdentityError: the key is of another ledger than the database.
        StoreIdentityError: the store is another one than the database's, has no identity, or the database has no store.
        ObjectStoreError: the store failed, or is not there at all.
    """
    binding = read_binding(connection)
    if binding is None:
        raise StoreIdentityError(
            f"this database has no cold store yet: run `compliance store init`, which makes the one at "
            f"{services.store.uri}; where archives are there already, `compliance store init --adopt-existing`"
        )
    check_key(connection, binding, services.verifier_key)
    chain = read_chain(services.store, services.verifier_key) if keys is None else keys
    identity = read_identity(services.store, chain)
    if identity is None:
        raise StoreIdentityError(
            f"the cold store at {services.store.uri} has no identity ({IDENTITY_KEY}): it is empty, the wrong place, "
            f"or its volume is not mounted; this database archives into {binding}. Correct AUDIT_COLD_STORAGE_PATH, "
            "or mount the volume; if this one object was lost, bring it back from a copy or run `compliance store init "
            "--adopt-existing`"
        )
    if identity.store_id != binding.store_id:
        raise StoreIdentityError(
            f"the cold store at {services.store.uri} is the {identity}; this database archives into {binding}. "
            "Correct AUDIT_COLD_STORAGE_PATH, or AUDIT_LOG_DATABASE_URL"
        )
    return identity
