"""Names that all databases of a server share: of roles, databases and prepared transactions.

Here: such a name as a text that can be shown, and as a literal for the database where it was made. Not here: who
has it.

PostgreSQL keeps each in the encoding of the database where it was made and hands it out as it is in every other one, so
that it may be no text of ours at all. Statements therefore read it with `textsend` or `namesend`, which give its bytes.
"""

from __future__ import annotations

from typing import Final

from compliance_pipelines.base.printable import printable

_UTF8: Final = "UTF8"
_ASCII: Final = 0x7F
_FOUR_DIGITS: Final = 0xFFFF


def shown(name: bytes) -> str:
    """A name for a message: what is not UTF-8 of it, or not printable, is escaped."""
    return printable(name.decode("utf-8", "backslashreplace"))


def shown_if_known(name: bytes | None) -> str | None:
    """The same for a name that may be unknown."""
    return None if name is None else shown(name)


def literal_in(encoding: str | None, name: bytes) -> str:
    """A name as a literal that means its bytes in every session of the database where it was made.

    Args:
        encoding: of that database, in PostgreSQL's words; None where it is unknown.
        name: as the server keeps it.
    """
    if encoding == _UTF8:
        return sql_literal(name.decode())
    text = name.decode("ascii", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return sql_literal(text)
    # Characters would be converted on their way to that database; bytes are not.
    return "E'" + "".join(_escaped(chr(byte)) if byte <= _ASCII else f"\\x{byte:02x}" for byte in name) + "'"


def sql_literal(value: str) -> str:
    """A text as a literal that means the same in every session, and does nothing to a terminal."""
    if value.isprintable() and "\\" not in value:
        return "'" + value.replace("'", "''") + "'"
    return "E'" + "".join(map(_escaped, value)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return character * 2
    if character.isprintable():
        return character
    number = ord(character)
    if number <= _ASCII:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= _FOUR_DIGITS else f"\\U{number:08x}"
