"""What a record of the kind KEY says: one key of the ledger follows another.

Here: making and strictly reading one such statement, by itself. Not here: which of them make the chain of a ledger's
keys (key_chain.py), and where they lie in the cold store (key_objects.py). docs/ledger.md specifies the bytes.

The body is a signed note (https://c2sp.org/signed-note) by both keys. The old one says that the new one follows it, so
that whoever trusts the old one can go on. The new one says which one it follows, so that whoever trusts the new one can
go back, and that somebody has its private half.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.checkpoint import NoteError, VerifierKey, parsed_note, sign_note
from compliance_pipelines.ledger.records import Statement, StatementKind

if TYPE_CHECKING:
    from compliance_pipelines.ledger.checkpoint import NoteSignature, Signer
    from compliance_pipelines.ledger.head import LedgerHead

_PURPOSE: Final = "audit-ledger-key/1"
_RETIRED: Final = "retired"
_REVOKED: Final = "revoked"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LINES: Final = 7
MOST_RECORD_BYTES: Final = 4096
"""No record about a key has more bytes."""


class MalformedKeyChangeError(ComplianceError):
    """A record of the kind KEY is not such a statement as both keys signed."""


@dataclass(frozen=True)
class KeyChange:
    """One key follows another.

    Attributes:
        seq: the record's place in the ledger: checkpoints of more records are signed by the new key.
        old: the key that signed so far.
        new: the key that signs from here on; of the same name.
        root: of the ledger of the first `seq` records, 32 bytes.
        until: up to when the old key may sign beside the new one, and sign what bears a time of its own; aware.
        revoked: whether the old key became known to others, so that it is believed nowhere by itself.
    """

    seq: int
    old: VerifierKey
    new: VerifierKey
    root: bytes
    until: datetime
    revoked: bool

    def to_text(self) -> str:
        """The text that both keys sign."""
        lines = (
            _PURPOSE,
            self.old.to_note_string(),
            self.new.to_note_string(),
            self.seq,
            base64.b64encode(self.root).decode(),
            (self.until - _EPOCH) // _MICROSECOND,
            _REVOKED if self.revoked else _RETIRED,
        )
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def of_record(cls, record: Statement) -> KeyChange:
        """What a record says, both signatures checked.

        Raises:
            MalformedKeyChangeError: it is no such statement, or not validly signed by both keys.
        """
        if len(record.record_bytes()) > MOST_RECORD_BYTES:
            raise _malformed(record.seq, f"it has more than {MOST_RECORD_BYTES:,} bytes")
        try:
            text, signatures = parsed_note(record.body.decode())
            change = cls._of_text(text)
        except (NoteError, ValueError, OverflowError, binascii.Error) as error:
            raise _malformed(record.seq, str(error)) from error
        if record.kind is not StatementKind.KEY or change.to_text() != text:
            raise _malformed(record.seq, "it is written in another way")
        if change.seq != record.seq:
            raise _malformed(record.seq, f"what the keys signed is for record {change.seq}")
        if change.old.name != change.new.name or change.old == change.new:
            raise _malformed(record.seq, f"{change.new} cannot follow {change.old}: same name, another key")
        if change.until < record.sealed_at or (change.revoked and change.until != record.sealed_at):
            raise _malformed(record.seq, "the old key's end is not at or after the time of the record")
        if not _signed_in_order(text, signatures, change.old, change.new):
            raise _malformed(record.seq, f"it is not signed by {change.old} and then {change.new}, and nobody else")
        return change

    @classmethod
    def _of_text(cls, text: str) -> KeyChange:
        lines = text.removesuffix("\n").split("\n")
        if len(lines) != _LINES or lines[0] != _PURPOSE:
            raise ValueError(f"it has not {_LINES} lines that begin with {_PURPOSE}")
        _, old, new, seq, root, until, end = lines
        if not _NUMBER.fullmatch(seq) or not _NUMBER.fullmatch(until) or end not in {_RETIRED, _REVOKED}:
            raise ValueError("a number, a time, or what becomes of the old key is not written as it should be")
        digest = base64.b64decode(root, validate=True)
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a root has {DIGEST_BYTES} bytes, not {len(digest)}")
        return cls(
            int(seq),
            VerifierKey.from_note_string(old),
            VerifierKey.from_note_string(new),
            digest,
            _EPOCH + int(until) * _MICROSECOND,
            end == _REVOKED,
        )


def key_change_record(  # noqa: PLR0913 - what the statement says
    head: LedgerHead, old: Signer, new: Signer, *, sealed_at: datetime, until: datetime, revoked: bool = False
) -> Statement:
    """The record that lets `new` follow `old`, as the next one of the ledger.

    Args:
        head: the ledger before it.
        old: signs first.
        new: signs second.
        sealed_at: when it is made; aware.
        until: the end of the time in which both sign; `sealed_at` where there is none.
        revoked: whether the old key became known to others.
    """
    change = KeyChange(head.size, old.verifier_key(), new.verifier_key(), head.root, until, revoked)
    body = sign_note(change.to_text(), old, new).encode()
    return Statement(head.size, StatementKind.KEY, head.tx_horizon, sealed_at, body)


def _signed_in_order(text: str, signatures: tuple[NoteSignature, ...], *keys: VerifierKey) -> bool:
    return len(signatures) == len(keys) and all(
        each.is_by(key) and key.verify(text, each.signature) for each, key in zip(signatures, keys, strict=True)
    )


def _malformed(seq: int, how: str) -> MalformedKeyChangeError:
    return MalformedKeyChangeError(f"record {seq} is no change of the ledger's key: {how}")
