"""Cosignatures of witnesses, in the format of C2SP tlog-cosignature (https://c2sp.org/tlog-cosignature), Ed25519.

Here: a witness's key, checking a cosignature, and which lines of a note are whose. Not here: which witnesses there are
and how many must agree (witnesses.py), asking them (witness_client.py).

A cosignature says: at this time, this was the largest tree of this ledger that the witness had seen, and it extends
every one that it saw before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance_pipelines.ledger.checkpoint import (
    MalformedNoteError,
    NoteError,
    NoteKey,
    parsed_note,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from compliance_pipelines.ledger.checkpoint import NoteSignature

_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = _TIME_BYTES + 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BadCosignatureError(NoteError):
    """A line claims to be a witness's, and it is not that witness's signature of the note's text."""


class WitnessKey(NoteKey):
    """The public key of a witness, of the type 0x04."""

    algorithm = b"\x04"
    title = "witness's key"

    def time_of(self, text: str, signature: NoteSignature) -> datetime:
        """When this key cosigned a text, to the second.

        Args:
            text: the note's, each line with its newline.
            signature: a line that claims to be this key's.

        Raises:
            BadCosignatureError: it is not this key's signature of this text.
        """
        if len(signature.signature) != _SIGNATURE_BYTES:
            raise BadCosignatureError(f"a cosignature has {_SIGNATURE_BYTES} bytes, not {len(signature.signature)}")
        seconds = int.from_bytes(signature.signature[:_TIME_BYTES], "big")
        message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature.signature[_TIME_BYTES:], message)
            return _EPOCH + timedelta(seconds=seconds)
        except InvalidSignature as error:
            raise BadCosignatureError(
                f"the cosignature of {self} does not fit: the note or the cosignature was altered"
            ) from error
        except OverflowError as error:
            raise BadCosignatureError(f"the cosignature of {self} is of no time: {seconds} s after 1970") from error


@dataclass(frozen=True)
class Cosigned:
    """What the known witnesses say in the signature lines of a note.

    Attributes:
        text: the note's text, which they cosigned.
        times: when each of them did; of several lines of one key, the latest.
        bad: those whose line is not their signature of the text, and how.
    """

    text: str
    times: dict[WitnessKey, datetime]
    bad: dict[WitnessKey, str]


def cosigned(note: str, keys: Iterable[WitnessKey]) -> Cosigned:
    """Look at the lines of known witnesses; all others are passed over.

    A witness one of whose lines is bad counts for nothing, whatever other lines it has.

    Raises:
        MalformedNoteError: this is not a signed note.
    """
    text, signatures = parsed_note(note)
    said = Cosigned(text, {}, {})
    for key in keys:
        for signature in (each for each in signatures if each.is_by(key)):
            try:
                time = key.time_of(text, signature)
            except BadCosignatureError as error:
                said.bad[key] = str(error)
            else:
                said.times[key] = max(time, said.times.get(key, time))
    for key in said.bad:
        said.times.pop(key, None)
    return said


def with_cosignatures(note: str, added: Collection[NoteSignature]) -> str:
    """The note with further signature lines, each in the place of all that the same key had there.

    Raises:
        MalformedNoteError: this is not a signed note, or it would have too many lines.
    """
    if not added:
        return note
    text, signatures = parsed_note(note)
    keys = {(each.name, each.key_hash) for each in added}
    kept = [each for each in signatures if (each.name, each.key_hash) not in keys]
    joined = text + "\n" + "".join(each.line for each in (*kept, *added))
    try:
        parsed_note(joined)
    except MalformedNoteError as error:
        raise MalformedNoteError(f"no further signature has a place in the note: {error}") from error
    return joined


def lines_of(note: str, keys: Collection[WitnessKey]) -> Iterator[NoteSignature]:
    """The signature lines that claim to be those of certain keys.

    Raises:
        MalformedNoteError: this is not a signed note.
    """
    _, signatures = parsed_note(note)
    return (each for each in signatures if any(each.is_by(key) for key in keys))
