"""Signed notes and the ledger's checkpoints, in the formats of C2SP.

Here: Ed25519 keys in the note format, signing and opening of notes (https://c2sp.org/signed-note), and the tree head
that the note of a checkpoint states (https://c2sp.org/tlog-checkpoint). Not here: where keys are kept, and which
checkpoint may be signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

_ED25519: Final = b"\x01"
# Of all characters below U+0020, a note has line feeds alone.
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f]")
_KEY_BYTES: Final = 32
_KEY_HASH_BYTES: Final = 4
_SIGNING_KEY_PREFIX: Final = "PRIVATE+KEY+"

_BLANK_LINE: Final = "\n\n"
_SIGNATURE_LINE: Final = re.compile(r"\u2014 (?P<name>[^ ]+) (?P<signature>[^ ]+)")
# The format asks for at least 16 and for some limit.
_MOST_SIGNATURES: Final = 100

_ROOT_BYTES: Final = 32
_MOST_LEAVES: Final = 2**64 - 1
_TREE_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_LINES_OF_A_CHECKPOINT: Final = 3

# Of a text that may have no end, as much as tells it apart in a message.
_SHOWN: Final = 100
_SHOWN_SIGNERS: Final = 5


class NoteError(ComplianceError):
    """A key, a note or a checkpoint cannot be used."""


class MalformedKeyError(NoteError):
    """A text is not a key in the note format."""


class MalformedNoteError(NoteError):
    """A text is not a signed note, or its text is not a checkpoint."""


class SignatureByAnotherKeyError(NoteError):
    """A note is well-formed, and the given key is not among those that signed it."""


class BadSignatureError(NoteError):
    """A note claims to be signed by the given key, and its text is not what that key signed."""


class CheckpointOfAnotherLedgerError(NoteError):
    """A key signed the checkpoint of a ledger that does not bear the key's name."""


class NoteKey:
    """A public key by which signature lines of notes are checked: a name and an Ed25519 public key.

    Args:
        name: who signs; not empty, without spaces, control characters and `+`.
        public_key: 32 bytes (RFC 8032).

    Attributes:
        algorithm: the byte that stands before the key, and tells what it signs.
        title: what such a key is called in messages.
        key_hash: 4 bytes that identify the key beside its name.

    Raises:
        MalformedKeyError: the name or the key's length is not possible.
    """

    algorithm: ClassVar[bytes]
    title: ClassVar[str]

    def __init__(self, name: str, public_key: bytes) -> None:
        if not _is_key_name(name):
            raise MalformedKeyError(f"{name!r} is no key name: it must not be empty or contain spaces or `+`")
        if len(public_key) != _KEY_BYTES:
            raise MalformedKeyError(f"an Ed25519 key has {_KEY_BYTES} bytes, not {len(public_key)}")
        self.name = name
        self.public_key = public_key
        named = name.encode() + b"\n" + self.algorithm + public_key
        self.key_hash = hashlib.sha256(named).digest()[:_KEY_HASH_BYTES]

    @classmethod
    def from_note_string(cls, text: str) -> Self:
        """Read `<name>+<hash>+<base64>`.

        Raises:
            MalformedKeyError: the text has another form, is for another algorithm, or the hash is not the key's.
        """
        name, key_hash, public_key = _parsed_key(text, cls.title, cls.algorithm)
        key = cls(name, public_key)
        if key.key_hash.hex() != key_hash:
            raise MalformedKeyError(f"the {cls.title} {name} is damaged: its hash is not that of its name and key")
        return key

    def to_note_string(self) -> str:
        """`<name>+<hash>+<base64>`, which may be published."""
        return f"{self}+{_base64(self.algorithm + self.public_key)}"

    def __str__(self) -> str:
        return f"{self.name}+{self.key_hash.hex()}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_note_string()!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoteKey) and (self.algorithm, self.name, self.public_key) == (
            other.algorithm,
            other.name,
            other.public_key,
        )

    def __hash__(self) -> int:
        return hash((self.name, self.public_key))


class VerifierKey(NoteKey):
    """The public half of a ledger's key."""

    algorithm = _ED25519
    title = "verifier key"

    def verify(self, text: str, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's of exactly this text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """Whatever signs for a ledger: a key in this process, or one that a service keeps and never gives away."""

    @property
    def name(self) -> str:
        """Who signs."""

    def verifier_key(self) -> VerifierKey:
        """The public half."""

    def sign(self, text: str) -> bytes:
        """The Ed25519 signature (64 bytes, RFC 8032) of the text in UTF-8."""


class SigningKey:
    """A key that signs: a name and an Ed25519 seed. Neither its repr nor its errors show the seed.

    Args:
        name: as for :class:`VerifierKey`.
        seed: 32 random bytes (RFC 8032).

    Raises:
        MalformedKeyError: the name or the seed's length is not possible.
    """

    def __init__(self, name: str, seed: bytes) -> None:
        if len(seed) != _KEY_BYTES:
            raise MalformedKeyError(f"an Ed25519 key has {_KEY_BYTES} bytes, not {len(seed)}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._verifier_key = VerifierKey(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> SigningKey:
        """Make a new key from the system's randomness.

        Raises:
            MalformedKeyError: the name is not possible.
        """
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_note_string(cls, text: str) -> SigningKey:
        """Read `PRIVATE+KEY+<name>+<hash>+<base64>`.

        Raises:
            MalformedKeyError: the text has another form, is for another algorithm, or the hash is not the key's.
        """
        if not text.startswith(_SIGNING_KEY_PREFIX):
            raise MalformedKeyError(f"a signing key begins with {_SIGNING_KEY_PREFIX}")
        name, key_hash, seed = _parsed_key(text.removeprefix(_SIGNING_KEY_PREFIX), "signing key")
        key = cls(name, seed)
        if key.verifier_key().key_hash.hex() != key_hash:
            raise MalformedKeyError(f"the signing key {name} is damaged: its hash is not that of its name and key")
        return key

    def to_note_string(self) -> str:
        """`PRIVATE+KEY+<name>+<hash>+<base64>`, which is secret."""
        return f"{_SIGNING_KEY_PREFIX}{self._verifier_key}+{_base64(_ED25519 + self._key.private_bytes_raw())}"

    @property
    def name(self) -> str:
        """Who signs."""
        return self._verifier_key.name

    def verifier_key(self) -> VerifierKey:
        """The public half."""
        return self._verifier_key

    def sign(self, text: str) -> bytes:
        """The signature (64 bytes) of the text in UTF-8."""
        return self._key.sign(text.encode())

    def __repr__(self) -> str:
        return f"SigningKey({str(self._verifier_key)!r})"


@dataclass(frozen=True)
class Checkpoint:
    """The head of a ledger at one size.

    Args:
        origin: which ledger; one line, not empty.
        size: how many leaves its tree has.
        root: the tree's root, 32 bytes.

    Raises:
        MalformedNoteError: a value is not possible.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or not _is_note_text(self.origin) or "\n" in self.origin:
            raise MalformedNoteError(
                f"{self.origin[:_SHOWN]!r} is no origin of a checkpoint: it must be one line, not empty"
            )
        if not 0 <= self.size <= _MOST_LEAVES:
            raise MalformedNoteError(f"{self.size} is no tree size")
        if len(self.root) != _ROOT_BYTES:
            raise MalformedNoteError(f"the root of a checkpoint has {_ROOT_BYTES} bytes, not {len(self.root)}")

    def to_text(self) -> str:
        """The text of its note, without extension lines."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Read the text of a note; extension lines are passed over.

        Raises:
            MalformedNoteError: the text is not a checkpoint's.
        """
        *lines, end = text.split("\n")
        if end or len(lines) < _LINES_OF_A_CHECKPOINT or not all(lines):
            raise MalformedNoteError("a checkpoint has three lines or more, none empty, each ended by a newline")
        origin, size, root = lines[:_LINES_OF_A_CHECKPOINT]
        if not _TREE_SIZE.fullmatch(size):
            raise MalformedNoteError(
                f"the checkpoint of {origin[:_SHOWN]!r} has {size[:_SHOWN]!r} in place of a tree size"
            )
        decoded = _from_base64(root)
        if decoded is None:
            raise MalformedNoteError(
                f"the checkpoint of {origin[:_SHOWN]!r} has {root[:_SHOWN]!r} in place of a root in base64"
            )
        return cls(origin, int(size), decoded)


class NoteSignature(NamedTuple):
    """A signature line of a note, read and not checked: whose it claims to be, and the signature."""

    name: str
    key_hash: bytes
    signature: bytes

    def is_by(self, key: NoteKey) -> bool:
        """Whether it claims to be by this key."""
        return (self.name, self.key_hash) == (key.name, key.key_hash)

    @property
    def line(self) -> str:
        """As it stands in a note."""
        return f"\u2014 {self.name} {_base64(self.key_hash + self.signature)}\n"

    def __str__(self) -> str:
        return f"{printable(self.name, _SHOWN)}+{self.key_hash.hex()}"


def sign_note(text: str, *keys: Signer) -> str:
    """The note that says `text`, with a signature line of each of the keys.

    Args:
        text: one line or more, each ended by a newline, without other control characters.
        keys: whose signatures the note carries, in this order; at least one.

    Raises:
        MalformedNoteError: the text cannot stand in a note.
    """
    if not text.endswith("\n") or not _is_note_text(text):
        raise MalformedNoteError("the text of a note ends in a newline and has no other control characters")
    signed = ((key.name, _base64(key.verifier_key().key_hash + key.sign(text))) for key in keys)
    return f"{text}\n" + "".join(f"\u2014 {name} {signature}\n" for name, signature in signed)


def parsed_note(note: str) -> tuple[str, tuple[NoteSignature, ...]]:
    """The text of a note and its signatures, none of which is checked.

    Raises:
        MalformedNoteError: this is not a signed note.
    """
    if not _is_note_text(note):
        raise MalformedNoteError("a note has no control characters but newlines")
    # The text may hold empty lines itself: the last one divides.
    text, blank_line, signature_lines = note.rpartition(_BLANK_LINE)
    if not blank_line:
        raise MalformedNoteError("a note is a text, an empty line and signature lines, each ended by a newline")
    return text + "\n", parsed_signatures(signature_lines)


def parsed_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Signature lines, none of which is checked.

    Raises:
        MalformedNoteError: they are none, or too many.
    """
    if not lines.endswith("\n") or not _is_note_text(lines):
        raise MalformedNoteError("a note is a text, an empty line and signature lines, each ended by a newline")
    if lines.count("\n") > _MOST_SIGNATURES:
        raise MalformedNoteError(f"a note with more than {_MOST_SIGNATURES} signatures is not read")
    return tuple(map(_parsed_signature, lines.removesuffix("\n").split("\n")))


def open_note(note: str, *keys: VerifierKey) -> str:
    """The text of a note that one of the keys signed. Signatures by other keys are neither needed nor checked.

    Args:
        note: the note.
        keys: at least one.

    Raises:
        MalformedNoteError: this is not a signed note.
        SignatureByAnotherKeyError: none of the keys signed it.
        BadSignatureError: the note has a signature of one of the keys, and it is not of this text.
    """
    text, signatures = parsed_note(note)
    signers_among(keys, text, signatures)
    return text


def signers_among(
    keys: Sequence[VerifierKey], text: str, signatures: Sequence[NoteSignature]
) -> tuple[VerifierKey, ...]:
    """Those of the keys that signed a note, in the order of `keys`; there is at least one.

    Raises:
        SignatureByAnotherKeyError: none of them did.
        BadSignatureError: the note has a signature of one of them, and it is not of this text.
    """
    signers = tuple(key for key in keys if any(each.is_by(key) for each in signatures))
    if not signers:
        others = ", ".join(map(str, signatures[:_SHOWN_SIGNERS]))
        raise SignatureByAnotherKeyError(f"the note is not signed by {keys[-1]}, but by {others}")
    for key in signers:
        if not all(key.verify(text, each.signature) for each in signatures if each.is_by(key)):
            raise BadSignatureError(f"the signature of {key} does not fit: the note or the signature was altered")
    return signers


def sign_checkpoint(checkpoint: Checkpoint, *keys: Signer) -> str:
    """The note of a checkpoint, signed by each of the keys."""
    return sign_note(checkpoint.to_text(), *keys)


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """The checkpoint that `key` signed. A ledger bears the name of its key.

    Raises:
        MalformedNoteError: this is not a signed note, or its text is not a checkpoint's.
        SignatureByAnotherKeyError: the key did not sign it.
        BadSignatureError: the note has a signature of this key, and it is not of this text.
        CheckpointOfAnotherLedgerError: its origin is not the key's name.
    """
    return checkpoint_of(open_note(note, key), key)


def checkpoint_of(text: str, key: VerifierKey) -> Checkpoint:
    """The checkpoint that a text states, which the key signed.

    Raises:
        MalformedNoteError: it states none.
        CheckpointOfAnotherLedgerError: its origin is not the key's name.
    """
    checkpoint = Checkpoint.from_text(text)
    if checkpoint.origin != key.name:
        raise CheckpointOfAnotherLedgerError(
            f"the checkpoint is of {checkpoint.origin[:_SHOWN]!r}, and {key} is another's key"
        )
    return checkpoint


def _parsed_signature(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    signature = match and _from_base64(match["signature"])
    if not match or not signature or len(signature) <= _KEY_HASH_BYTES or not _is_key_name(match["name"]):
        raise MalformedNoteError(f"{line[:_SHOWN]!r} is no signature line of a note")
    return NoteSignature(match["name"], signature[:_KEY_HASH_BYTES], signature[_KEY_HASH_BYTES:])


def _parsed_key(text: str, what: str, algorithm: bytes = _ED25519) -> tuple[str, str, bytes]:
    """Name, hash (hex) and key of `<name>+<hash>+<base64>`; the base64 may hold more `+`.

    Args:
        text: the key.
        what: it is, for the message.
        algorithm: the byte that stands before the key.

    Raises:
        MalformedKeyError: the text has another form, or is for another algorithm.
    """
    name, plus, rest = text.partition("+")
    key_hash, second_plus, encoded = rest.partition("+")
    key = _from_base64(encoded)
    if not plus or not second_plus or not key:
        raise MalformedKeyError(f"a {what} has the form <name>+<hash>+<base64>")
    if key[:1] != algorithm:
        raise MalformedKeyError(
            f"the {what} {name[:_SHOWN]} is for another algorithm: it has the type 0x{key[:1].hex()}, and 0x"
            f"{algorithm.hex()} is needed here"
        )
    return name, key_hash, key[1:]


def _is_key_name(name: str) -> bool:
    """Whether a key may have this name."""
    return bool(name) and "+" not in name and _is_note_text(name) and not any(map(str.isspace, name))


def _is_note_text(text: str) -> bool:
    """Whether a text has a UTF-8 encoding and, below U+0020, only newlines."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return _CONTROL.search(text) is None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str) -> bytes | None:
    """The bytes, or None unless `text` is exactly how they are written (RFC 4648 section 4)."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _base64(data) == text else None
