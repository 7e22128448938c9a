"""Parts whose retention is over and that are removed from the cold store: what the ledger says about each.

Here: what a statement about an expiry says, and its bytes. Not here: removing a part (archive/expiry.py), judging what
was stated (verification/expiries.py).

An expiry takes no record out of the ledger: the segments of the part stay leaves, and what was proved with them stays
proved. But nobody looks for their entries any more. It is stated before anything is removed, so that whoever has a copy
of the bucket alone tells what expired from what was taken away.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, TypeGuard

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.object_retention import retention_end
from compliance_pipelines.ledger.records import MalformedRecordError, Statement, StatementKind

if TYPE_CHECKING:
    from datetime import datetime

    from compliance_pipelines.ledger.records import LedgerRecord

_EPOCH: Final = date(1970, 1, 1)
_BODY: Final = struct.Struct(">iiiqqqqq32s32s")
_DIGEST_BYTES: Final = 32


class InvalidExpiryError(ComplianceError):
    """An expiry cannot be stated as it is given."""


@dataclass(frozen=True)
class Expiry:
    """What a statement about an expiry says.

    Args:
        day: the UTC day of the part.
        part: its number, from 1.
        years: for which archives were kept, 1 or more.
        entries: how many it held, 1 or more.
        object_bytes: of its object, 1 or more.
        first_seq: of its first segment.
        last_seq: of its last one.
        segments: how many it held: all of the day from the first to the last.
        root: of the part, 32 bytes: over the leaves of these segments.
        object_sha256: of its object, 32 bytes.

    Raises:
        InvalidExpiryError: a value is not possible.
    """

    day: date
    part: int
    years: int
    entries: int
    object_bytes: int
    first_seq: int
    last_seq: int
    segments: int
    root: bytes
    object_sha256: bytes

    def __post_init__(self) -> None:
        if min(self.part, self.years, self.entries, self.object_bytes, self.segments) < 1:
            raise InvalidExpiryError("a part that expires has a number, years, entries, bytes and segments")
        if not 0 <= self.first_seq <= self.last_seq or self.segments > self.last_seq - self.first_seq + 1:
            raise InvalidExpiryError(f"there are no {self.segments} segments from {self.first_seq} to {self.last_seq}")
        if len(self.root) != _DIGEST_BYTES or len(self.object_sha256) != _DIGEST_BYTES:
            raise InvalidExpiryError("a root and a SHA-256 have 32 bytes each")

    @property
    def kept_until(self) -> datetime:
        """When the retention ended, by the years that it states.

        Raises:
            OverflowError, ValueError: there is no such year.
        """
        return retention_end(self.day, self.years)

    def to_body(self) -> bytes:
        """The body of its statement.

        Day (days since 1970-01-01; 4 bytes), part (4), years (4); entries, bytes of the object, first and last seq,
        number of segments (8 each); root (32), SHA-256 (32); numbers are big-endian, in two's complement.
        """
        return _BODY.pack(
            (self.day - _EPOCH).days,
            self.part,
            self.years,
            self.entries,
            self.object_bytes,
            self.first_seq,
            self.last_seq,
            self.segments,
            self.root,
            self.object_sha256,
        )

    @classmethod
    def of(cls, statement: Statement) -> Expiry:
        """What a statement of this kind says; exactly one string of bytes is read as one expiry.

        Raises:
            MalformedRecordError: nothing that could be read, or of segments that were not sealed before.
        """
        try:
            day, *values = _BODY.unpack(statement.body)
            expiry = cls(_EPOCH + timedelta(days=day), *values)
        except (struct.error, InvalidExpiryError, OverflowError) as error:
            raise MalformedRecordError(f"record {statement.seq} states no expiry that can be read: {error}") from error
        if expiry.last_seq >= statement.seq:
            raise MalformedRecordError(f"record {statement.seq} states the expiry of segments that came after it")
        return expiry


def is_expiry(record: LedgerRecord) -> TypeGuard[Statement]:
    """Whether a record states an expiry."""
    return isinstance(record, Statement) and record.kind is StatementKind.EXPIRY
