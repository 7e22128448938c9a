"""Segment records: what one sealing pass says about one day.

Here: the record, its bytes, its leaf hash, its JSON. Not here: how the root of its entries is computed (hashing.py).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.merkle import hash_leaf

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = _EPOCH.date().toordinal()
_MICROSECOND: Final = timedelta(microseconds=1)

# Kind, seq, day, tx_from, tx_to, first_id, last_id, entry_count, root, sealed_at.
_RECORD: Final = struct.Struct(f">Bqiqqqqq{DIGEST_BYTES}sq")
_KIND: Final = 1
RECORD_BYTES: Final = _RECORD.size
"""Every segment record has as many bytes."""

_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_JSON_TYPES: Final = {
    "seq": int,
    "day": str,
    "tx_from": int,
    "tx_to": int,
    "first_id": int,
    "last_id": int,
    "entry_count": int,
    "root": str,
    "sealed_at": int,
}


class MalformedSegmentError(ComplianceError):
    """Something that should be a segment record is none."""


@dataclass(frozen=True)
class Segment:
    """The record of a segment: entries of `day` with transaction ids in [tx_from, tx_to), ordered by id and timestamp.

    Attributes:
        seq: the record's index in the ledger, from 0.
        root: root of the tree over the entries' leaf hashes, 32 bytes.
        sealed_at: aware, microseconds.
    """

    seq: int
    day: date
    tx_from: int
    tx_to: int
    first_id: int
    last_id: int
    entry_count: int
    root: bytes
    sealed_at: datetime

    def record_bytes(self) -> bytes:
        """What the ledger hashes: the record's kind, 1, and its values, big-endian and of fixed width.

        93 bytes: kind (1), seq (8), day as days since 1970-01-01 (4), tx_from, tx_to, first_id, last_id, entry_count (8
        each), root (32), sealed_at in microseconds since 1970-01-01T00:00:00Z (8); numbers in two's complement.
        """
        return _RECORD.pack(
            _KIND,
            self.seq,
            self.day.toordinal() - _EPOCH_DAY,
            self.tx_from,
            self.tx_to,
            self.first_id,
            self.last_id,
            self.entry_count,
            self.root,
            _microseconds(self.sealed_at),
        )

    @classmethod
    def from_record(cls, data: bytes) -> Segment:
        """The record that these bytes are; exactly one string of bytes is read as a record.

        Raises:
            MalformedSegmentError: they are none, or of a kind that is not known.
        """
        if len(data) != RECORD_BYTES or data[0] != _KIND:
            kind = f"{len(data)} bytes of kind {data[0]}" if data else "no bytes"
            raise MalformedSegmentError(f"a segment record has {RECORD_BYTES} bytes of kind {_KIND}, not {kind}")
        _, seq, day, tx_from, tx_to, first_id, last_id, entry_count, root, sealed_at = _RECORD.unpack(data)
        try:
            return cls(
                seq=seq,
                day=date.fromordinal(day + _EPOCH_DAY),
                tx_from=tx_from,
                tx_to=tx_to,
                first_id=first_id,
                last_id=last_id,
                entry_count=entry_count,
                root=root,
                sealed_at=_EPOCH + sealed_at * _MICROSECOND,
            )
        except (ValueError, OverflowError) as error:
            raise MalformedSegmentError(f"the segment record {seq} has an impossible time: {error}") from error

    def leaf_hash(self) -> bytes:
        """The record's leaf in the ledger: SHA-256(0x00 || record), RFC 6962 section 2.1."""
        return hash_leaf(self.record_bytes())

    def covers(self, tx_id: int) -> bool:
        """Whether an entry of the segment's day with this transaction id belongs to the segment."""
        return self.tx_from <= tx_id < self.tx_to

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values; `sealed_at` in microseconds since 1970-01-01T00:00:00Z."""
        return {
            "seq": self.seq,
            "day": self.day.isoformat(),
            "tx_from": self.tx_from,
            "tx_to": self.tx_to,
            "first_id": self.first_id,
            "last_id": self.last_id,
            "entry_count": self.entry_count,
            "root": self.root.hex(),
            "sealed_at": _microseconds(self.sealed_at),
        }

    @classmethod
    def from_json(cls, values: object) -> Segment:
        """The record of these JSON values, which must be written exactly as :meth:`to_json` writes them.

        Raises:
            MalformedSegmentError: a field is missing, unknown, or has another form.
        """
        if not isinstance(values, dict) or {name: type(value) for name, value in values.items()} != _JSON_TYPES:
            raise MalformedSegmentError(
                f"this is no segment record, which has whole numbers and texts named {', '.join(_JSON_TYPES)}"
            )
        if not all(_LEAST <= value <= _MOST for value in values.values() if isinstance(value, int)):
            raise MalformedSegmentError("this is no segment record: a number has more than 64 bits")
        try:
            segment = cls(
                **values
                | {
                    "day": date.fromisoformat(values["day"]),
                    "root": bytes.fromhex(values["root"]),
                    "sealed_at": _EPOCH + values["sealed_at"] * _MICROSECOND,
                }
            )
        except (ValueError, OverflowError) as error:
            raise MalformedSegmentError(f"this is no segment record: {error}") from error
        if segment.to_json() != values or len(segment.root) != DIGEST_BYTES:
            raise MalformedSegmentError(f"the segment record {segment.seq} is not written as the format wants it")
        return segment


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
