"""One line of an import file: a JSON object with an entry's fields.

Here: what a valid line is. Not here: reading files (import_source.py), rules that need the database (importing.py).

The fields are `log_entry_id`, `timestamp`, `user_id`, `action`, `result`, and, absent or null where there is none,
`resource_type`, `resource_id`, `metadata`. Nothing else: a field that the table has no place for would be lost, so the
line is refused; what belongs to the event and has no field goes into `metadata`.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.audit_log.entry import AuditEntry, InvalidEntryError, JsonText
from compliance_pipelines.base.clock import utc_day

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.audit_log.appending import Acceptance

MAX_LINE_BYTES: Final = 2**20
"""Length of the longest line that is taken, without its end."""

_REQUIRED: Final = ("log_entry_id", "timestamp", "user_id", "action", "result")
_FIELDS: Final = frozenset((*_REQUIRED, "resource_type", "resource_id", "metadata"))
_SPACE: Final = " \t\n\r"
_SPACED: Final = {character: re.compile(f"[{_SPACE}]*{re.escape(character)}[{_SPACE}]*").match for character in "{:,}"}
# RFC 3339 section 5.6, with the space that its note allows.
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6}0*)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MORE_DIGITS: Final = re.compile(r"\.\d{6}\d*[1-9]")
_SHOWN: Final = 80


class InvalidLineError(InvalidEntryError):
    """A line is no valid entry; the message says why, not where."""


def _number(_text: str) -> int:
    """Any number: only its being one matters, and nobody's digits are converted for that."""
    return 0


_decode: Final = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=_number).raw_decode


def entry_from_line(line: str, accept: Acceptance, latest: datetime) -> AuditEntry:
    """The entry that a line holds.

    Args:
        line: with or without its end.
        accept: from which day on entries are taken.
        latest: the latest timestamp that is taken.

    Raises:
        InvalidEntryError: the line is refused.
    """
    fields = _fields(line)
    for name in _REQUIRED:
        if fields.get(name) is None:
            raise InvalidLineError(f"the field {name} is {'null' if name in fields else 'missing'}")
    entry = AuditEntry(**{**fields, "timestamp": _timestamp(fields["timestamp"])})
    accept.check_day(utc_day(entry.timestamp), entry.log_entry_id)
    if entry.timestamp > latest:
        raise InvalidLineError(
            f"timestamp {entry.timestamp.isoformat()} is more than 5 minutes in the future: set the clock of its "
            "sender, or of the database, right"
        )
    return entry


def _fields(line: str) -> dict[str, Any]:
    """The object's members; metadata as the text that stands there, so that its numbers keep every digit."""
    try:
        return dict(_members(line))
    except RecursionError:
        raise InvalidLineError("it is not JSON that can be read: it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidLineError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None


def _members(line: str) -> Iterator[tuple[str, str | None]]:
    """RFC 8259 section 4, in which every name is known and stands there once."""
    seen: set[str] = set()
    position = _after("{", line, 0)
    more = not line.startswith("}", position)
    while more:
        if not line.startswith('"', position):
            raise json.JSONDecodeError("Expecting '\"'", line, position)
        name, position = _decode(line, position)
        if name not in _FIELDS:
            raise InvalidLineError(f"the field {name[:_SHOWN]!r} is unknown: put what it says into metadata")
        if name in seen:
            raise InvalidLineError(f"the field {name} stands there twice")
        seen.add(name)
        start = _after(":", line, position)
        value, position = _decode(line, start)
        if name == "metadata":
            yield name, None if value is None else JsonText(line[start:position])
        elif value is None or isinstance(value, str):
            yield name, value
        else:
            raise InvalidLineError(f"the field {name} is not text")
        comma = _SPACED[","](line, position)
        more = comma is not None
        position = position if comma is None else comma.end()
    end = _after("}", line, position)
    if end != len(line):
        raise json.JSONDecodeError("Extra data", line, end)


def _after(character: str, line: str, position: int) -> int:
    """Where something begins again after a character that must come next, with or without space around it."""
    found = _SPACED[character](line, position)
    if found is None:
        rest = line[position:]
        raise json.JSONDecodeError(f"Expecting {character!r}", line, position + len(rest) - len(rest.lstrip(_SPACE)))
    return found.end()


def _timestamp(text: str) -> datetime:
    if not _TIMESTAMP.fullmatch(text):
        if _MORE_DIGITS.search(text):
            raise InvalidLineError(
                f"timestamp {text[:_SHOWN]!r} has more than six digits after the second, of which PostgreSQL keeps six"
            )
        raise InvalidLineError(
            f"timestamp {text[:_SHOWN]!r} is not of the form 2025-10-01T12:00:00.000000Z (RFC 3339, with a time zone)"
        )
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidLineError(f"timestamp {text!r} is no moment: {error}") from None
