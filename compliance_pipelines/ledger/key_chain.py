"""The chain of a ledger's keys, from a key that somebody trusts, and what each of them may have signed.

Here: linking the records of changes forwards and backwards, the key in charge at each size, the rules for notes. Not
here: the records (key_changes.py), where they come from (key_objects.py, store.py).

Nothing is believed about a record but what the two keys in it signed. Forwards: the key that is trusted says which one
follows it. Backwards: the key that is trusted says which one it followed. So the chain needs no other witness; whether
the records stand in the ledger, and whether all of them are known, is for those to check who read the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from compliance_pipelines.ledger.checkpoint import (
    NoteError,
    SignatureByAnotherKeyError,
    VerifierKey,
    checkpoint_of,
    parsed_note,
    signers_among,
)
from compliance_pipelines.ledger.errors import KeyRecordError
from compliance_pipelines.ledger.key_changes import KeyChange, MalformedKeyChangeError
from compliance_pipelines.ledger.records import Statement, StatementKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from compliance_pipelines.ledger.checkpoint import Checkpoint
    from compliance_pipelines.ledger.records import LedgerRecord


class RetiredKeyError(NoteError):
    """A key of the ledger signed what it may not sign any more, because another one follows it."""


@dataclass(frozen=True)
class KeyProblem:
    """A record that is no link of the chain.

    Attributes:
        seq: of the record.
        message: why it is none.
    """

    seq: int
    message: str


class KeyChain:
    """The keys of a ledger, oldest first.

    Args:
        trusted: the key that somebody trusts; the whole chain of a ledger whose key never changed.
        changes: from the oldest known key to the newest one, each from the key that the one before led to.

    Attributes:
        trusted: as given.
        changes: as given.
        keys: one more than there are changes.
    """

    def __init__(self, trusted: VerifierKey, changes: Sequence[KeyChange] = ()) -> None:
        self.trusted = trusted
        self.changes = tuple(changes)
        self.keys = (changes[0].old, *(change.new for change in changes)) if changes else (trusted,)

    @classmethod
    def linked(cls, trusted: VerifierKey, records: Iterable[LedgerRecord]) -> tuple[KeyChain, list[KeyProblem]]:
        """The chain that leads through the trusted key, and the records of the kind KEY that are no link of it.

        Args:
            trusted: where it starts, in both directions.
            records: of any kind, in any order.
        """
        valid: list[KeyChange] = []
        problems: list[KeyProblem] = []
        for record in filter(is_key_record, records):
            try:
                valid.append(KeyChange.of_record(record))
            except MalformedKeyChangeError as error:
                problems.append(KeyProblem(record.seq, str(error)))
        valid.sort(key=lambda change: change.seq)
        chain = _through(trusted, valid)
        problems += [KeyProblem(each.seq, _no_link(each, chain)) for each in valid if each not in chain]
        return cls(trusted, chain), sorted(problems, key=lambda problem: problem.seq)

    @classmethod
    def of(cls, trusted: VerifierKey, records: Iterable[LedgerRecord]) -> KeyChain:
        """The chain of the trusted key, for whoever does nothing where there is any doubt about it.

        Raises:
            KeyRecordError: a record is no link of the chain.
        """
        chain, problems = cls.linked(trusted, records)
        if problems and chain.changes:
            raise KeyRecordError(
                f"{problems[0].message}; nothing is done while it stands there: run `compliance verify --all`"
            )
        return chain

    @property
    def name(self) -> str:
        """The ledger's."""
        return self.trusted.name

    @property
    def current(self) -> VerifierKey:
        """The newest key."""
        return self.keys[-1]

    @property
    def first(self) -> VerifierKey:
        """The oldest key that is known."""
        return self.keys[0]

    def in_charge(self, size: int) -> VerifierKey:
        """The key that must have signed a checkpoint of some size."""
        return self.keys[self._at(size)]

    def change_to(self, key: VerifierKey) -> KeyChange | None:
        """The change by which a key came to be in charge; None where none is known."""
        return next((change for change in self.changes if change.new == key), None)

    def end_of(self, key: VerifierKey) -> KeyChange | None:
        """The change by which a key was followed by another; None where it was not."""
        return next((change for change in self.changes if change.old == key), None)

    def open_checkpoint(self, note: str) -> Checkpoint:
        """The checkpoint of a note that was signed by the key in charge at its size, and by nobody who may not.

        Raises:
            MalformedNoteError: this is not a signed note, or its text is not a checkpoint's.
            SignatureByAnotherKeyError: no key of the chain signed it, or only one that came later.
            BadSignatureError: it has a signature of a key of the chain, and it is not of this text.
            CheckpointOfAnotherLedgerError: its origin is not the name of the keys.
            RetiredKeyError: a key signed it that another one had followed before, except the last such key beside the
                one in charge.
        """
        text, signatures = parsed_note(note)
        signers = signers_among(self.keys, text, signatures)
        checkpoint = checkpoint_of(text, self.trusted)
        at = self._at(checkpoint.size)
        places = [self.keys.index(key) for key in signers]
        for place in places:
            change = self.changes[place] if place < at else None
            if change is not None and (place < at - 1 or change.revoked or at not in places):
                raise _retired(change, f"the checkpoint of {checkpoint.size} records is signed")
        if at not in places:
            raise SignatureByAnotherKeyError(
                f"the checkpoint of {checkpoint.size} records is not signed by {self.keys[at]}, but by {signers[0]}, "
                f"which signs those of more than {self.changes[places[0] - 1].seq}"
            )
        return checkpoint

    def refuse_late(self, note: str, size: int, sealed_at: datetime) -> None:
        """Let a checkpoint pass that no retired key signed beside the one in charge after the time for both.

        Args:
            note: a note that :meth:`open_checkpoint` opened.
            size: of the checkpoint.
            sealed_at: time of its last record; aware.

        Raises:
            RetiredKeyError: one did.
        """
        signatures = parsed_note(note)[1]
        for change in self.changes:
            if change.seq < size and sealed_at > change.until and any(each.is_by(change.old) for each in signatures):
                raise _retired(change, f"the checkpoint of {size} records is signed")

    def open_dated(self, note: str) -> tuple[str, tuple[VerifierKey, ...]]:
        """The text of a note that bears a time of its own, and the keys of the chain that signed it.

        Whoever has read the time calls :meth:`refuse_after_end`.

        Raises:
            MalformedNoteError: this is not a signed note.
            SignatureByAnotherKeyError: no key of the chain signed it.
            BadSignatureError: it has a signature of a key of the chain, and it is not of this text.
        """
        text, signatures = parsed_note(note)
        return text, signers_among(self.keys, text, signatures)

    def refuse_after_end(self, signers: Iterable[VerifierKey], moment: datetime) -> None:
        """Let pass what keys signed that were still allowed to at that moment.

        Raises:
            RetiredKeyError: one was not.
        """
        for key in signers:
            change = self.end_of(key)
            if change is not None and moment > change.until:
                raise _retired(change, f"what was made at {moment:%Y-%m-%d %H:%M:%S} UTC is signed")

    def _at(self, size: int) -> int:
        return sum(change.seq < size for change in self.changes)

    def __str__(self) -> str:
        return " -> ".join(map(str, self.keys))


def chain_of(key: VerifierKey | KeyChain) -> KeyChain:
    """A chain as it is, or the one of a key alone."""
    return key if isinstance(key, KeyChain) else KeyChain(key)


def is_key_record(record: LedgerRecord) -> TypeGuard[Statement]:
    """Whether a record is about a key."""
    return isinstance(record, Statement) and record.kind is StatementKind.KEY


def _through(trusted: VerifierKey, valid: Sequence[KeyChange]) -> list[KeyChange]:
    """The links of the chain that the trusted key is in; the first one where several are possible."""
    chains: list[list[KeyChange]] = []
    for change in valid:
        ends = [chain for chain in chains if chain[-1].new == change.old]
        if not ends:
            ends = [_up_to(change.old, chains)]
            chains += ends
        for chain in ends:
            before = {each.old for each in chain}
            if change.new not in before and (not chain or chain[-1].seq < change.seq):
                chain.append(change)
        chains = [chain for chain in chains if chain]
    with_it = (chain for chain in chains if any(trusted in {each.old, each.new} for each in chain))
    return next(with_it, [])


def _up_to(key: VerifierKey, chains: Sequence[Sequence[KeyChange]]) -> list[KeyChange]:
    """The beginning of a chain that leads to a key which another one follows there; empty where there is none."""
    for chain in chains:
        for place, change in enumerate(chain):
            if change.old == key:
                return list(chain[:place])
    return []


def _no_link(change: KeyChange, chain: Sequence[KeyChange]) -> str:
    keys = {each.old for each in chain} | {each.new for each in chain}
    which = f"record {change.seq}, by which {change.new} would follow {change.old},"
    if change.new in keys and change.old in keys:
        return f"{which} brings back a key that signed before"
    if change.old in keys:
        return f"{which} is not the ledger's: another key follows {change.old}"
    return f"{which} does not belong to the chain of the ledger's keys"


def _retired(change: KeyChange, what: str) -> RetiredKeyError:
    end = "was revoked" if change.revoked else f"was followed by {change.new}, with time for both until {change.until}"
    return RetiredKeyError(f"{what} by {change.old}, which {end} in record {change.seq}")
