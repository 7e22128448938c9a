"""The records of the ledger: segments, and statements about the ledger itself.

Here: which kinds there are, the bytes that all statements share, and reading a record of any kind. Not here: segments
(segments.py), what the body of a statement of some kind says.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final, TypeAlias

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.merkle import hash_leaf
from compliance_pipelines.ledger.segments import MalformedSegmentError, Segment

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Kind, seq, tx_to, sealed_at.
_HEADER: Final = struct.Struct(">Bqqq")
MOST_BODY_BYTES: Final = 2**16 - 1 - _HEADER.size
"""An entry of a bundle has at most 65,535 bytes (tlog-tiles, section "Log entries")."""


class MalformedRecordError(ComplianceError):
    """Something that should be a record of the ledger is none."""


class StatementKind(IntEnum):
    """What a statement is about: the first byte of its record; 1 is that of segments."""

    KEY = 2
    LOSS = 3
    EXPIRY = 4


_KINDS_OF_STATEMENTS: Final = frozenset(bytes([kind]) for kind in StatementKind)


@dataclass(frozen=True)
class Statement:
    """A record that holds no entries: something that the ledger says about itself.

    Attributes:
        seq: the record's index in the ledger, from 0.
        kind: what it is about.
        tx_to: every entry with a smaller transaction id is in a segment before, or stated to be lost.
        sealed_at: when it was made; aware, microseconds.
        body: what it says, in the form of its kind.
    """

    seq: int
    kind: StatementKind
    tx_to: int
    sealed_at: datetime
    body: bytes

    def record_bytes(self) -> bytes:
        """What the ledger hashes.

        Kind (1 byte), seq (8), tx_to (8), sealed_at in microseconds since 1970-01-01T00:00:00Z (8), big-endian, in
        two's complement; then the body, to the end.
        """
        return _HEADER.pack(self.kind, self.seq, self.tx_to, (self.sealed_at - _EPOCH) // _MICROSECOND) + self.body

    def leaf_hash(self) -> bytes:
        """The record's leaf in the ledger: SHA-256(0x00 || record), RFC 6962 section 2.1."""
        return hash_leaf(self.record_bytes())

    @classmethod
    def from_record(cls, data: bytes) -> Statement:
        """The record that these bytes are; exactly one string of bytes is read as a record.

        Raises:
            MalformedRecordError: they are none, or of a kind that is not known.
        """
        if not _HEADER.size <= len(data) <= _HEADER.size + MOST_BODY_BYTES:
            raise MalformedRecordError(f"a statement has {_HEADER.size} bytes and more, not {len(data)}")
        kind, seq, tx_to, sealed_at = _HEADER.unpack_from(data)
        try:
            return cls(seq, StatementKind(kind), tx_to, _EPOCH + sealed_at * _MICROSECOND, data[_HEADER.size :])
        except (ValueError, OverflowError) as error:
            raise MalformedRecordError(f"this is no statement: {error}") from error


LedgerRecord: TypeAlias = Segment | Statement
"""A leaf of the ledger."""


def record_of(data: bytes) -> LedgerRecord:
    """The record that these bytes are; exactly one string of bytes is read as a record.

    Raises:
        MalformedRecordError: they are none, or of a kind that is not known.
    """
    if data[:1] in _KINDS_OF_STATEMENTS:
        return Statement.from_record(data)
    try:
        return Segment.from_record(data)
    except MalformedSegmentError as error:
        raise MalformedRecordError(str(error)) from error
