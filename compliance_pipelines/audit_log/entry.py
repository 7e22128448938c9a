"""An audit entry: what an application appends, and the columns in which it is kept.

Here: the entry, what makes one invalid, the columns and their Arrow types. Not here: how entries are stored, hashed or
read, and rules that depend on the clock or the database.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow as pa

from compliance_pipelines.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

# The order is that of the canonical encoding and must not change.
ENTRY_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("log_entry_id", pa.string(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("resource_type", pa.string()),
        pa.field("resource_id", pa.string()),
        pa.field("result", pa.string(), nullable=False),
        pa.field("metadata", pa.string()),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("tx_id", pa.int64(), nullable=False),
    ]
)
COLUMNS: Final[tuple[str, ...]] = tuple(ENTRY_SCHEMA.names)

MAX_ENTRY_BYTES: Final = 2**20
# A B-tree index of PostgreSQL takes at most 2,704 bytes a row, and a unique one holds the timestamp as well.
MAX_INDEXED_BYTES: Final = 2048
_INDEXED: Final = frozenset({"log_entry_id", "user_id", "action"})
# What PostgreSQL's numeric holds, and so JSONB: digits before and after the decimal point.
_MOST_WHOLE_DIGITS: Final = 131_072
_MOST_FRACTION_DIGITS: Final = 16_383
_MANY_DIGITS: Final = 1_000

_NUL_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SHOWN: Final = 80


class InvalidEntryError(ComplianceError):
    """An entry that the audit log cannot take as it is; nothing of it was stored."""


class JsonText(str):
    """Metadata that is JSON text already, so that its numbers keep every digit."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry, checked when it is made.

    Args:
        log_entry_id: what makes a repeat a repeat; not empty.
        timestamp: when it happened; aware. Kept in UTC.
        user_id: who did it.
        action: what was done.
        result: how it ended.
        resource_type: the kind of thing it was done to.
        resource_id: the thing it was done to.
        metadata: any JSON, as Python values or as :class:`JsonText`; None is the database's NULL, and the text `null`
            is JSON's.

    Attributes:
        metadata_text: `metadata` as JSON text, as it was when the entry was made; None where that is None.

    Raises:
        InvalidEntryError: PostgreSQL cannot hold a value, the timestamp is naive, or the text fields and the metadata
            are longer than 1 MiB together (UTF-8 bytes).
    """

    log_entry_id: str
    timestamp: datetime
    user_id: str
    action: str
    result: str
    resource_type: str | None = None
    resource_id: str | None = None
    metadata: JsonValue = None
    metadata_text: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            self._check()
        except _Flaw as flaw:
            shown = repr(self.log_entry_id)
            if len(shown) > _SHOWN:
                shown = shown[:_SHOWN] + "..."
            raise InvalidEntryError(f"entry {shown} is invalid: {flaw}") from flaw.__cause__

    def _check(self) -> None:
        size = self._text_bytes()
        object.__setattr__(self, "timestamp", _in_utc(self.timestamp))
        text, metadata_bytes = _json_text(self.metadata)
        object.__setattr__(self, "metadata_text", text)
        size += metadata_bytes
        if size > MAX_ENTRY_BYTES:
            raise _Flaw(f"it has {size:,} bytes, more than {MAX_ENTRY_BYTES:,}; store large content elsewhere")

    def _text_bytes(self) -> int:
        """All fields looked at together, which is enough for almost every entry; field by field where it is not."""
        resource_type = "" if self.resource_type is None else self.resource_type
        resource_id = "" if self.resource_id is None else self.resource_id
        try:
            together = "".join(  # noqa: FLY002 - join refuses what is no text
                (self.log_entry_id, self.user_id, self.action, self.result, resource_type, resource_id)
            )
        except TypeError:
            return self._each_text_bytes()
        if self.log_entry_id and len(together) <= MAX_INDEXED_BYTES and together.isascii() and "\0" not in together:
            return len(together)
        return self._each_text_bytes()

    def _each_text_bytes(self) -> int:
        size = 0
        for name, optional in _TEXT_FIELDS:
            value = getattr(self, name)
            if value is None and optional:
                continue
            if not isinstance(value, str):
                raise _Flaw(f"{name} is {type(value).__name__}, not text")
            if "\0" in value:
                raise _Flaw(f"{name} contains a NUL character, which PostgreSQL cannot store")
            length = _utf8_bytes(name, value)
            if length > MAX_INDEXED_BYTES and name in _INDEXED:
                raise _Flaw(f"{name} has {length:,} bytes, more than the {MAX_INDEXED_BYTES:,} that its index takes")
            size += length
        if not self.log_entry_id:
            raise _Flaw("log_entry_id is empty")
        return size


_TEXT_FIELDS: Final = (
    ("log_entry_id", False),
    ("user_id", False),
    ("action", False),
    ("result", False),
    ("resource_type", True),
    ("resource_id", True),
)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class _Flaw(Exception):  # noqa: N818 - becomes an InvalidEntryError, which names the entry
    """What is wrong with an entry."""


def _in_utc(timestamp: datetime) -> datetime:
    if not isinstance(timestamp, datetime):
        raise _Flaw(f"timestamp is {type(timestamp).__name__}, not a datetime")
    if timestamp.tzinfo is UTC:
        return timestamp
    if timestamp.utcoffset() is None:
        raise _Flaw("timestamp has no time zone; give it one, such as datetime.now(UTC)")
    try:
        return timestamp.astimezone(UTC)
    except OverflowError as error:
        raise _Flaw("timestamp lies outside the years 1 to 9999 in UTC") from error


def _json_text(metadata: JsonValue) -> tuple[str | None, int]:
    """Metadata as JSON text, and how many bytes PostgreSQL writes for it at least."""
    if metadata is None:
        return None, 0
    written_out = 0
    try:
        if isinstance(metadata, JsonText):
            text = str(metadata)
            numbers = _Numbers()
            parsed = json.loads(
                text,
                object_pairs_hook=_object,
                parse_constant=_refuse_constant,
                parse_float=numbers.check,
                parse_int=numbers.check,
            )
            written_out = numbers.written_out
            if _SURROGATE_ESCAPE.search(text):
                _utf8_bytes("metadata", _ENCODER.encode(parsed))
        else:
            text = _ENCODER.encode(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise _Flaw(f"metadata is not JSON: {error}") from error
    if "\\u0000" in text and _NUL_ESCAPE.search(text):
        raise _Flaw("metadata contains a NUL character, which PostgreSQL cannot store")
    return text, _utf8_bytes("metadata", text) + written_out


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these members; JSONB would keep the last of two with the same name, and lose the other."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the member {twice[:_SHOWN]!r} twice")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


class _Numbers:
    """The numbers of a JSON text.

    Attributes:
        written_out: bytes by which they grow when PostgreSQL writes them, as it does, without an exponent. A few bytes
            like 1e131071 would otherwise become more text than a query can return.
    """

    def __init__(self) -> None:
        self.written_out = 0

    def check(self, text: str) -> str:
        """The text itself: converted to a float it might lose digits.

        Raises:
            ValueError: PostgreSQL's numeric cannot hold the number.
        """
        if len(text) < _MANY_DIGITS and "e" not in text and "E" not in text:
            return text
        _, digits, exponent = Decimal(text).as_tuple()
        if isinstance(exponent, int):
            whole, fraction = max(len(digits) + exponent, 1), max(-exponent, 0)
            if whole <= _MOST_WHOLE_DIGITS and fraction <= _MOST_FRACTION_DIGITS:
                self.written_out += max(whole + fraction - len(text), 0)
                return text
        raise ValueError(f"PostgreSQL cannot hold the number {text[:_SHOWN]}")


def _utf8_bytes(name: str, text: str) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise _Flaw(f"{name} contains an unpaired surrogate, which has no UTF-8 encoding") from error
