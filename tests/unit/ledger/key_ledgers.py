"""Ledgers made up for tests whose keys change, and what somebody with a key could write into them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint, sign_note
from compliance_pipelines.ledger.key_changes import KeyChange, key_change_record
from compliance_pipelines.ledger.log_reading import EMPTY_LOG
from compliance_pipelines.ledger.publication import publish
from compliance_pipelines.ledger.records import Statement, StatementKind
from tests.unit.ledger.logs import no_step, record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from compliance_pipelines.ledger.head import LedgerHead
    from compliance_pipelines.ledger.log_reading import LogHead
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.object_store.port import ObjectStore

NAME: Final = "tests.example/log"
BEGIN: Final = datetime(2026, 7, 1, tzinfo=UTC)
OVERLAP: Final = timedelta(days=2)


def key(number: int) -> SigningKey:
    """One of any number of keys of the ledger."""
    return SigningKey(NAME, number.to_bytes(32, "big"))


@dataclass
class KeyedLedger:
    """A ledger in a store, with the keys that signed so far; every pass is twelve hours after the one before.

    Attributes:
        signers: those of the newest checkpoint.
        keys: all, oldest first.
        ends: of the second newest key; None where there is none, or where it was revoked.
    """

    store: ObjectStore
    log: LogHead = EMPTY_LOG
    keys: list[SigningKey] = field(default_factory=lambda: [key(0)])
    ends: datetime | None = None
    now: datetime = BEGIN
    changes: list[Statement] = field(default_factory=list)

    @property
    def signers(self) -> tuple[SigningKey, ...]:
        """The key in charge, and the one before while both sign."""
        both = self.ends is not None and self.now <= self.ends
        return (self.keys[-1], self.keys[-2]) if both else (self.keys[-1],)

    def seal(self, count: int) -> None:
        """Append segments."""
        self.now += timedelta(hours=12)
        first = self.log.head.size
        self.append([record(seq, self.now) for seq in range(first, first + count)], *self.signers)

    def rotate(self, new: SigningKey, *, revoked: bool = False) -> None:
        """Let another key follow."""
        self.now += timedelta(hours=12)
        until = self.now if revoked else self.now + OVERLAP
        change = key_change_record(self.log.head, self.keys[-1], new, sealed_at=self.now, until=until, revoked=revoked)
        self.keys.append(new)
        self.ends = None if revoked else until
        self.changes.append(change)
        self.append([change], *self.signers)

    def append(self, records: Sequence[LedgerRecord], *signers: SigningKey) -> None:
        """Publish these records, signed by whoever."""
        head = self.log.head.extended(records)
        note = sign_checkpoint(Checkpoint(NAME, head.size, head.root), *signers)
        self.log = publish(self.store, self.log, records, note, no_step)


def forged(change: KeyChange, sealed_at: datetime, tx_to: int, *signers: SigningKey) -> Statement:
    """A record that says this, signed by whoever."""
    return Statement(change.seq, StatementKind.KEY, tx_to, sealed_at, sign_note(change.to_text(), *signers).encode())


def _change(head: LedgerHead, old: SigningKey, new: SigningKey, now: datetime) -> KeyChange:
    return KeyChange(head.size, old.verifier_key(), new.verifier_key(), head.root, now, revoked=False)


def forgeries() -> dict[str, Callable[[LedgerHead, list[SigningKey], datetime], Statement]]:
    """Records that are no change of the key, by what is wrong with them; each takes head, keys so far, and time."""
    new, other = key(1000), key(1001)

    def signed(
        *signers: int | SigningKey, old: int = -1, follows: int | SigningKey = new, **changed: object
    ) -> Callable[[LedgerHead, list[SigningKey], datetime], Statement]:
        def make(head: LedgerHead, keys: list[SigningKey], now: datetime) -> Statement:
            def one(which: int | SigningKey) -> SigningKey:
                return keys[which] if isinstance(which, int) else which

            change = replace(_change(head, one(old), one(follows), now), **changed)  # type: ignore[arg-type]
            place = replace(change, seq=head.size)
            statement = forged(change, now, head.tx_horizon, *map(one, signers))
            return replace(statement, seq=place.seq)

        return make

    stranger = SigningKey("other.example/log", bytes(32))
    return {
        "without the old key's signature": signed(new),
        "without the new key's signature": signed(-1),
        "signed by another key": signed(other, new),
        "signed by another new key": signed(-1, other),
        "signed in the other order": signed(new, -1),
        "with a third signature": signed(-1, new, other),
        "of a key that signed before": signed(-1, 0, follows=0),
        "of the key itself": signed(-1, -1, follows=-1),
        "of another name": signed(-1, stranger, follows=stranger),
        "of another ledger": signed(-1, new, root=bytes(32)),
        "for another place": signed(-1, new, seq=2**40),
        "that ended before it began": signed(-1, new, until=BEGIN - timedelta(days=1)),
        "revoked later than it says": signed(-1, new, until=BEGIN + timedelta(days=4000), revoked=True),
    }
