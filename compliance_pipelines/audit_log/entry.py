"""An audit entry: what an application appends, and the columns in which it is kept.

Here: the entry, what makes one invalid, the columns and their Arrow types. Not here: how entries are stored, hashed or
read, and rules that depend on the clock or the database.

Every rule here is a constraint of `audit_logs` too, and of the function audit_entry_flaw(), so that an INSERT that does
not come through here is held to the same. Both measure what is read later: PostgreSQL's text of the metadata.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import pyarrow as pa

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

# As entries are read to be sealed, archived and proved. Blinding will leave user_id and nonce NULL and a commitment in
# their place; until then no entry has one.
ENTRY_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("log_entry_id", pa.string(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("user_id", pa.string()),
        pa.field("action", pa.string(), nullable=False),
        pa.field("resource_type", pa.string()),
        pa.field("resource_id", pa.string()),
        pa.field("result", pa.string(), nullable=False),
        pa.field("metadata", pa.string()),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("tx_id", pa.int64(), nullable=False),
        pa.field("nonce", pa.binary(16)),
        pa.field("commitment", pa.binary(32)),
    ]
)
COLUMNS: Final[tuple[str, ...]] = tuple(ENTRY_SCHEMA.names)
FILLED_BY_THE_DATABASE: Final = ("id", "created_at", "tx_id", "nonce", "commitment")
"""Columns that no application gives: it could slip past sealing by one, and undo blinding by another."""

FIRST_YEAR: Final = 1000
LAST_YEAR: Final = 9998
"""Years that names, keys and partitions write with four digits, and after whose last day another one exists."""

MAX_ENTRY_BYTES: Final = 2**20
MAX_METADATA_DEPTH: Final = 128
# A B-tree index of PostgreSQL takes at most 2,704 bytes a row, and a unique one holds the timestamp as well.
MAX_INDEXED_BYTES: Final = 2048
_INDEXED: Final = frozenset({"log_entry_id", "user_id", "action"})
# What PostgreSQL's numeric holds, and so JSONB: digits before and after the decimal point, and an exponent of zero.
_MOST_WHOLE_DIGITS: Final = 131_072
_MOST_FRACTION_DIGITS: Final = 16_383
_LARGEST_EXPONENT: Final = 2**30 - 1
_MANY_DIGITS: Final = 1_000
_NUMBER: Final = re.compile(r"-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
# PostgreSQL writes Python's longest number with an exponent, -5e-324, with this many bytes, and two for a comma or a
# colon.
_MOST_FLOAT_BYTES: Final = 330

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
        InvalidEntryError: PostgreSQL cannot hold a value, the timestamp is naive or outside the years 1000 to 9998 in
            UTC, a value of the metadata lies in more than 128 arrays and objects, or the text fields and the metadata,
            as PostgreSQL writes it, are longer than 1 MiB together (UTF-8 bytes).
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
        text, most_bytes = _json_text(self.metadata)
        object.__setattr__(self, "metadata_text", text)
        if text is not None and size + most_bytes > MAX_ENTRY_BYTES:
            size += _parsed(text).written_bytes()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class UndatedEntry:
    """An entry of the present whose time is taken from the database's clock, where it is judged, when it is appended.

    The clock of whoever appends may be wrong, and a transaction may have begun long ago. Fields as in AuditEntry.
    """

    log_entry_id: str
    user_id: str
    action: str
    result: str
    resource_type: str | None = None
    resource_id: str | None = None
    metadata: JsonValue = None

    def at(self, moment: datetime) -> AuditEntry:
        """The entry of this moment.

        Raises:
            InvalidEntryError: as for :class:`AuditEntry`.
        """
        return AuditEntry(
            log_entry_id=self.log_entry_id,
            timestamp=moment,
            user_id=self.user_id,
            action=self.action,
            result=self.result,
            resource_type=self.resource_type,
            resource_id=self.resource_id,
            metadata=self.metadata,
        )


_TEXT_FIELDS: Final = (
    ("log_entry_id", False),
    ("user_id", False),
    ("action", False),
    ("result", False),
    ("resource_type", True),
    ("resource_id", True),
)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_AS_POSTGRESQL: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(", ", ": "))


class _Flaw(Exception):  # noqa: N818 - becomes an InvalidEntryError, which names the entry
    """What is wrong with an entry."""


def _in_utc(timestamp: datetime) -> datetime:
    if not isinstance(timestamp, datetime):
        raise _Flaw(f"timestamp is {type(timestamp).__name__}, not a datetime")
    if timestamp.tzinfo is not UTC:
        if timestamp.utcoffset() is None:
            raise _Flaw("timestamp has no time zone; give it one, such as datetime.now(UTC)")
        try:
            timestamp = timestamp.astimezone(UTC)
        except OverflowError as error:
            raise _Flaw(_OUTSIDE_YEARS) from error
    if not FIRST_YEAR <= timestamp.year <= LAST_YEAR:
        raise _Flaw(_OUTSIDE_YEARS)
    return timestamp


_OUTSIDE_YEARS: Final = f"timestamp lies outside the years {FIRST_YEAR} to {LAST_YEAR} in UTC"


def _json_text(metadata: JsonValue) -> tuple[str | None, int]:
    """Metadata as JSON text, and how many bytes PostgreSQL writes for it at most."""
    if metadata is None:
        return None, 0
    try:
        if isinstance(metadata, JsonText):
            text = str(metadata)
            parsed = _parsed(text)
            most_bytes = _utf8_bytes("metadata", text) + text.count(",") + text.count(":") + parsed.numbers.grown
            if _SURROGATE_ESCAPE.search(text):
                _utf8_bytes("metadata", _ENCODER.encode(parsed.value))
        else:
            text = _ENCODER.encode(metadata)
            most_bytes = _utf8_bytes("metadata", text)
            if most_bytes * _MOST_FLOAT_BYTES > MAX_ENTRY_BYTES:
                exponents = text.count("e+") + text.count("e-")
                most_bytes += text.count(",") + text.count(":") + exponents * _MOST_FLOAT_BYTES
            else:
                most_bytes *= _MOST_FLOAT_BYTES
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(error) from error
    if "\\u0000" in text and _NUL_ESCAPE.search(text):
        raise _Flaw("metadata contains a NUL character, which PostgreSQL cannot store")
    if text.count("[") + text.count("{") > MAX_METADATA_DEPTH and _depth(_parsed(text).value) > MAX_METADATA_DEPTH:
        raise _Flaw(f"a value of its metadata lies in more than {MAX_METADATA_DEPTH} arrays and objects")
    return text, most_bytes


@dataclass(frozen=True)
class _Parsed:
    """A JSON text as JSONB holds it: its value, with numbers as texts, and what is known of these numbers."""

    value: object
    numbers: _Numbers

    def written_bytes(self) -> int:
        """How many bytes PostgreSQL writes for it."""
        return len(_AS_POSTGRESQL.encode(self.value).encode()) + self.numbers.longer


def _parsed(text: str) -> _Parsed:
    """What becomes of a JSON text in PostgreSQL, if it is one that JSONB can hold."""
    numbers = _Numbers()
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=numbers.check,
            parse_int=numbers.check,
        )
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from error
    return _Parsed(value, numbers)


def _not_json(error: Exception) -> _Flaw:
    return _Flaw(f"metadata is not JSON: {error}")


def _depth(value: object) -> int:
    """How many arrays and objects the innermost value lies in."""
    depth, level = -1, [value]
    while level:
        depth += 1
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = inner
    return depth


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

    PostgreSQL writes no exponent: a few bytes like 1e131071 become more text than a query can return.

    Attributes:
        grown: bytes by which those grow that do.
        longer: bytes by which all of them are longer than their texts in quotes; less than 0 where they are shorter.
    """

    def __init__(self) -> None:
        self.grown = 0
        self.longer = 0

    def check(self, text: str) -> str:
        """The text itself: converted to a float it might lose digits.

        Raises:
            ValueError: PostgreSQL's numeric cannot hold the number.
        """
        growth = _number_bytes(text) - len(text)
        self.grown += max(growth, 0)
        self.longer += growth - 2
        return text


def _number_bytes(text: str) -> int:
    """How many bytes PostgreSQL writes for a JSON number: all digits, no exponent, no sign of zero."""
    if text[0] != "-" and len(text) < _MANY_DIGITS and "e" not in text and "E" not in text:
        return len(text)
    number = _NUMBER.fullmatch(text)
    if number is None:
        raise ValueError(f"{text[:_SHOWN]} is no JSON number")
    whole, fraction, exponent = number[1], number[2] or "", int(number[3] or 0)
    significant = (whole + fraction).lstrip("0")
    decimals = max(len(fraction) - exponent, 0)
    digits = max(len(significant) + exponent - len(fraction), 1) if significant else 1
    if digits > _MOST_WHOLE_DIGITS or decimals > _MOST_FRACTION_DIGITS or abs(exponent) > _LARGEST_EXPONENT:
        raise ValueError(f"PostgreSQL cannot hold the number {text[:_SHOWN]}")
    sign = 1 if text[0] == "-" and significant else 0
    return sign + digits + (decimals + 1 if decimals else 0)


def _utf8_bytes(name: str, text: str) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise _Flaw(f"{name} contains an unpaired surrogate, which has no UTF-8 encoding") from error
