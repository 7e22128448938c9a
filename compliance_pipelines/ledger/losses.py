"""Losses that were accepted: segments of the signed ledger that no longer stand for entries, and who said so.

Here: what a statement about a loss says, its bytes, and which segments it and others void. Not here: how a loss is
found and accepted (recovery.py).

A loss takes no record out of the ledger: a segment that is void stays a leaf, and what was proved with it stays proved.
But nobody looks for its entries any more; those that were found again are in other segments of the same ranges of
transaction ids, so that an entry belongs to the one segment of its day and transaction id that is not void.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final, TypeGuard

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.records import MalformedRecordError, Statement, StatementKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compliance_pipelines.ledger.records import LedgerRecord

# Entries that were sealed, entries found, number of ranges; then each range; then author and reason.
_COUNTS: Final = struct.Struct(">qqi")
_RANGE: Final = struct.Struct(">qq")
_LENGTH: Final = struct.Struct(">i")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")

MOST_RANGES: Final = 3_000
"""More do not fit into a record; what is left is said by another one."""
MOST_AUTHOR_BYTES: Final = 1_000
MOST_REASON_BYTES: Final = 10_000


class InvalidLossError(ComplianceError):
    """A loss cannot be put on record as it is given: author or reason are missing, too long, or not printable."""


@dataclass(frozen=True)
class Loss:
    """What a statement about a loss says.

    Args:
        ranges: of the segments that are void, first seq and the one after the last; ascending, none touches another.
            There may be none: then a database was recovered without a loss.
        entries: how many entries were sealed in them.
        found: how many entries were found again in their ranges of transaction ids.
        author: who accepted it; 1 to 1,000 bytes of UTF-8 without control characters.
        reason: why; 1 to 10,000 bytes, likewise.

    Raises:
        InvalidLossError: a value is not possible.
    """

    ranges: tuple[tuple[int, int], ...]
    entries: int
    found: int
    author: str
    reason: str

    def __post_init__(self) -> None:
        _check_text("author", self.author, MOST_AUTHOR_BYTES)
        _check_text("reason", self.reason, MOST_REASON_BYTES)
        if self.entries < 0 or self.found < 0:
            raise InvalidLossError("a loss has no negative number of entries")
        if len(self.ranges) > MOST_RANGES:
            raise InvalidLossError(f"a loss has at most {MOST_RANGES} ranges of segments, not {len(self.ranges)}")
        end = -1
        for first, after in self.ranges:
            if not end < first < after:
                raise InvalidLossError(f"the ranges of a loss ascend and do not touch, which {first} to {after} does")
            end = after

    def to_body(self) -> bytes:
        """The body of its statement.

        Entries (8 bytes), found (8), number of ranges (4); first and after of each (8 and 8); length (4) and UTF-8 of
        author and of reason; numbers are big-endian, in two's complement.
        """
        texts = [text.encode() for text in (self.author, self.reason)]
        return b"".join(
            (
                _COUNTS.pack(self.entries, self.found, len(self.ranges)),
                *(_RANGE.pack(*each) for each in self.ranges),
                *(_LENGTH.pack(len(text)) + text for text in texts),
            )
        )

    @classmethod
    def of(cls, statement: Statement) -> Loss:
        """What a statement of this kind says; exactly one string of bytes is read as one loss.

        Raises:
            MalformedRecordError: nothing that could be read, or of segments that were not sealed before.
        """
        try:
            loss = cls._of_body(statement.body)
        except (struct.error, UnicodeDecodeError, InvalidLossError, ValueError) as error:
            raise MalformedRecordError(f"record {statement.seq} states no loss that can be read: {error}") from error
        if loss.ranges and loss.ranges[-1][1] > statement.seq:
            raise MalformedRecordError(f"record {statement.seq} states the loss of segments that came after it")
        return loss

    @classmethod
    def _of_body(cls, body: bytes) -> Loss:
        entries, found, count = _COUNTS.unpack_from(body)
        if not 0 <= count <= MOST_RANGES:
            raise InvalidLossError(f"it speaks of {count} ranges")
        at = _COUNTS.size
        ranges = tuple(_RANGE.unpack_from(body, at + _RANGE.size * number) for number in range(count))
        at += _RANGE.size * count
        texts = []
        for _ in range(2):
            (length,) = _LENGTH.unpack_from(body, at)
            at += _LENGTH.size
            if not 0 <= length <= len(body) - at:
                raise InvalidLossError("a text is longer than the record")
            texts.append(body[at : at + length].decode())
            at += length
        if at != len(body):
            raise InvalidLossError(f"{len(body) - at} bytes follow its end")
        return cls(ranges, entries, found, *texts)


def _check_text(name: str, text: str, most: int) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidLossError(f"the {name} of a loss has no UTF-8") from None
    if not text.strip() or length > most:
        raise InvalidLossError(
            f"the {name} of a loss has 1 to {most:,} bytes and is not blank: it is later judged by it"
        )
    if _CONTROL.search(text):
        raise InvalidLossError(f"the {name} of a loss has no line ends and no other control characters")


class Voids:
    """Which segments are void, by the losses of a signed ledger."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    @classmethod
    def of(cls, records: Iterable[LedgerRecord]) -> Voids:
        """What the losses among these records void.

        Raises:
            MalformedRecordError: one cannot be read.
        """
        voids = cls()
        voids.take_all(records)
        return voids

    def take_all(self, records: Iterable[LedgerRecord]) -> None:
        """See what records void, which most do not.

        Raises:
            MalformedRecordError: one states a loss that cannot be read.
        """
        for record in records:
            if is_loss(record):
                self.add(Loss.of(record).ranges)

    def add(self, ranges: Iterable[tuple[int, int]]) -> None:
        """These segments are void, too; first seq and the one after the last."""
        together: list[tuple[int, int]] = []
        for first, after in sorted([*self._ranges, *ranges]):
            if together and first <= together[-1][1]:
                together[-1] = (together[-1][0], max(after, together[-1][1]))
            else:
                together.append((first, after))
        self._ranges = together

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First and after of what is void, ascending."""
        return tuple(self._ranges)

    def covers(self, seq: int) -> bool:
        """Whether a segment is void."""
        place = bisect_right(self._ranges, seq, key=itemgetter(0)) - 1
        return place >= 0 and seq < self._ranges[place][1]


def is_loss(record: LedgerRecord) -> TypeGuard[Statement]:
    """Whether a record states a loss."""
    return isinstance(record, Statement) and record.kind is StatementKind.LOSS


def ranges_of(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """First and after of each run of consecutive numbers among ascending ones."""
    runs = groupby(enumerate(seqs), key=lambda each: each[1] - each[0])
    numbers = ([seq for _, seq in run] for _, run in runs)
    return [(run[0], run[-1] + 1) for run in numbers]
