"""Segment records: what one sealing pass says about one day.

Here: the record, its bytes, its leaf hash, its JSON. Not here: how the root of its entries is computed (hashing.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.hashing import DIGEST_BYTES
from compliance_pipelines.ledger.merkle import hash_leaf

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

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
        """What the ledger hashes: the text of each value of :meth:`to_json`, in its order, as `<length>:<bytes>`."""
        texts = (str(value).encode("ascii") for value in self.to_json().values())
        return b"".join(b"%d:%b" % (len(text), text) for text in texts)

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
            "sealed_at": (self.sealed_at - _EPOCH) // _MICROSECOND,
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
