"""The signed manifest beside an object; writing it commits the part.

Here: its fields, its exact bytes, signing and strict reading. Not here: whether the object is what the manifest says
(readback.py). docs/archive-format.md specifies the bytes for strangers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compliance_pipelines.archive.errors import ManifestError, RetiredSignatureError
from compliance_pipelines.archive.layout import FIRST_REVISION, manifest_key, object_key, parse_key, part_root
from compliance_pipelines.archive.parquet import COMPRESSION
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.base.printable import printable
from compliance_pipelines.encryption.data_key import Encryption
from compliance_pipelines.encryption.errors import EncryptionError
from compliance_pipelines.ledger.checkpoint import NoteError, open_note, sign_note
from compliance_pipelines.ledger.key_chain import KeyChain, RetiredKeyError, chain_of
from compliance_pipelines.ledger.segments import MalformedSegmentError, Segment

if TYPE_CHECKING:
    import pyarrow as pa

    from compliance_pipelines.ledger.checkpoint import Signer, VerifierKey

VERSION: Final = 2
MOST_BYTES: Final = 64 * 2**20
"""No manifest is larger: a record takes about 250 bytes, so that this is a day that was sealed three times a second."""

# The first line of the signed text: no checkpoint begins with it, so no signature can be used for the other.
_PURPOSE: Final = "audit-archive-manifest/2"
_SOFTWARE: Final = "compliance-pipelines"
_HEX_SHA256: Final = r"^[0-9a-f]{64}$"
_BODY_START: Final = b'{"body":'
_SIGNATURE_START: Final = b',"signature":'
_END: Final = b"}\n"
# A stranger's document takes up to thirty times its size in memory when it is parsed: what is larger must be signed
# first.
_MOST_UNSIGNED_BYTES: Final = 2**20
_MOST_SAID: Final = 500
_MOST_NUMBER: Final = 2**63 - 1


class _Column(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    type: str
    nullable: bool


class _Software(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    version: str


class _Body(BaseModel):
    """The JSON object that is signed."""

    model_config = ConfigDict(strict=True, extra="forbid")

    version: Literal[2]
    day: str
    part: int = Field(ge=1, le=_MOST_NUMBER)
    revision: int = Field(ge=0, le=_MOST_NUMBER)
    replaces: str | None
    object_key: str
    object_sha256: str = Field(pattern=_HEX_SHA256)
    object_bytes: int = Field(ge=1, le=_MOST_NUMBER)
    entry_count: int = Field(ge=1, le=_MOST_NUMBER)
    canonical_bytes: int = Field(ge=1, le=_MOST_NUMBER)
    first_id: int = Field(ge=-_MOST_NUMBER - 1, le=_MOST_NUMBER)
    last_id: int = Field(ge=-_MOST_NUMBER - 1, le=_MOST_NUMBER)
    root: str = Field(pattern=_HEX_SHA256)
    segments: list[dict[str, Any]] = Field(min_length=1)
    blinded: list[dict[str, Any]]
    columns: list[_Column]
    compression: str
    encryption: dict[str, Any] | None
    software: _Software
    created_at: str


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    body: _Body
    signature: str


@cache
def _software_version() -> str:
    try:
        return metadata.version(_SOFTWARE)
    except metadata.PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class Manifest:
    """What is committed about a part.

    Attributes:
        object_sha256: hex digest of the object's bytes.
        canonical_bytes: length of the canonical encodings of all rows, the uncompressed size.
        root: 32 bytes, the RFC 6962 tree over the leaf hashes of `segments`.
        segments: the ledger's records of what the part holds, in order.
        encryption: how the object is encrypted, and with which key; None where it is not.
        revision: 0, or a later one of the same segments, which counts in place of all before it.
        replaces: the key of the manifest that it replaces; None for revision 0.
    """

    day: date
    part: int
    object_key: str
    object_sha256: str
    object_bytes: int
    entry_count: int
    canonical_bytes: int
    first_id: int
    last_id: int
    root: bytes
    segments: tuple[Segment, ...]
    created_at: datetime
    encryption: Encryption | None = None
    revision: int = FIRST_REVISION
    replaces: str | None = None
    software: str = _SOFTWARE
    software_version: str = field(default_factory=_software_version)

    @property
    def manifest_key(self) -> str:
        """The key of this manifest in the cold store."""
        return manifest_key(self.day, self.part, self.root, self.revision)

    def body(self) -> bytes:
        """The bytes that are signed."""
        return _canonical_json(
            {
                "version": VERSION,
                "day": self.day.isoformat(),
                "part": self.part,
                "revision": self.revision,
                "replaces": self.replaces,
                "object_key": self.object_key,
                "object_sha256": self.object_sha256,
                "object_bytes": self.object_bytes,
                "entry_count": self.entry_count,
                "canonical_bytes": self.canonical_bytes,
                "first_id": self.first_id,
                "last_id": self.last_id,
                "root": self.root.hex(),
                "segments": [segment.to_json() for segment in self.segments],
                "blinded": [],
                "columns": _columns(ENTRY_SCHEMA),
                "compression": COMPRESSION,
                "encryption": None if self.encryption is None else self.encryption.to_json(),
                "software": {"name": self.software, "version": self.software_version},
                "created_at": _written_time(self.created_at),
            }
        )

    def to_bytes(self, key: Signer) -> bytes:
        """The manifest's file, signed."""
        body = self.body()
        return _file_bytes(body, sign_note(_signed_text(self.object_key, body), key))


def _columns(schema: pa.Schema) -> list[dict[str, object]]:
    return [{"name": field.name, "type": str(field.type), "nullable": field.nullable} for field in schema]


def _written_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _canonical_json(value: object) -> bytes:
    """Keys sorted, no white space, ASCII only: one value has one encoding. Numbers are integers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def _signed_text(key_of_object: str, body: bytes) -> str:
    return f"{_PURPOSE}\n{key_of_object}\nsha256:{hashlib.sha256(body).hexdigest()}\n"


def _file_bytes(body: bytes, signature: str) -> bytes:
    return _BODY_START + body + _SIGNATURE_START + _canonical_json(signature) + _END


def _refuse_large_unless_signed(data: bytes, key: KeyChain, name: str) -> None:
    """Check the signature of the bytes alone, without parsing them.

    Raises:
        ManifestError: no key of the chain signed this body.
    """
    body, _, signature = data.removeprefix(_BODY_START).rpartition(_SIGNATURE_START)
    try:
        note = json.loads(signature.removesuffix(_END)) if len(signature) <= _MOST_UNSIGNED_BYTES else None
        text = open_note(note, *key.keys) if isinstance(note, str) else ""
    except (NoteError, ValueError, RecursionError) as error:
        raise ManifestError(f"{name} is not validly signed by {key.name}: {_one_line(error)}") from error
    if not text.endswith(f"\nsha256:{hashlib.sha256(body).hexdigest()}\n"):
        raise ManifestError(f"{name} is no manifest that {key.name} signed")


def parse_manifest(data: bytes, key: VerifierKey | KeyChain, *, name: str) -> Manifest:
    """Read a manifest and check its form, its signature and what it says about itself.

    Args:
        data: the bytes of the file.
        key: the key that must have signed it, or the chain of the ledger's keys, of which one must have, in its time.
        name: how messages call it: its key in the store.

    Raises:
        ManifestError: it is malformed, has other bytes than its content is written in, contradicts itself, or is not
            signed by `key`.
        RetiredSignatureError: it is all that, but signed by a key whose time was over when it says that it was made.
    """
    chain = chain_of(key)
    if len(data) > MOST_BYTES:
        raise ManifestError(f"{name} has {len(data):,} bytes, and no manifest has more than {MOST_BYTES:,}")
    if len(data) > _MOST_UNSIGNED_BYTES:
        _refuse_large_unless_signed(data, chain, name)
    try:
        body = _File.model_validate_json(data).body
        raw = json.loads(data)
        signature = raw["signature"]
        body_bytes = _canonical_json(raw["body"])
        if _file_bytes(body_bytes, signature) != data:
            raise ManifestError(f"{name} is not written as a manifest is: its JSON has another form")
        manifest = _from_body(body, raw["body"]["segments"])
    except (
        ValidationError,
        MalformedSegmentError,
        EncryptionError,
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ) as error:
        raise ManifestError(f"{name} is no manifest of version {VERSION}: {_one_line(error)}") from error
    try:
        text, signers = chain.open_dated(signature)
    except NoteError as error:
        raise ManifestError(f"{name} is not validly signed by {chain.name}: {_one_line(error)}") from error
    if text != _signed_text(manifest.object_key, body_bytes):
        raise ManifestError(f"{name} was altered: its signature by {chain.name} is for other content")
    _check_consistency(manifest, body, name)
    if manifest.body() != body_bytes:
        raise ManifestError(f"{name} is not written as a manifest is: a date or time has another form")
    try:
        chain.refuse_after_end(signers, manifest.created_at)
    except RetiredKeyError as error:
        raise RetiredSignatureError(f"{name}: {_one_line(error)}") from error
    return manifest


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        said = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)[:3]
        )
        return printable(said, _MOST_SAID)
    return printable(" ".join(str(error).split()), _MOST_SAID)


def _from_body(body: _Body, segments: list[dict[str, Any]]) -> Manifest:
    created_at = datetime.strptime(body.created_at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return Manifest(
        day=date.fromisoformat(body.day),
        part=body.part,
        object_key=body.object_key,
        object_sha256=body.object_sha256,
        object_bytes=body.object_bytes,
        entry_count=body.entry_count,
        canonical_bytes=body.canonical_bytes,
        first_id=body.first_id,
        last_id=body.last_id,
        root=bytes.fromhex(body.root),
        segments=tuple(Segment.from_json(record) for record in segments),
        created_at=created_at,
        encryption=Encryption.from_json(body.encryption),
        revision=body.revision,
        replaces=body.replaces,
        software=body.software.name,
        software_version=body.software.version,
    )


def _replaces_its_own(manifest: Manifest) -> bool:
    """Whether a first revision replaces nothing, and a later one an earlier one of the same part."""
    if manifest.revision == FIRST_REVISION or manifest.replaces is None:
        return manifest.revision == FIRST_REVISION and manifest.replaces is None
    own, replaced = parse_key(manifest.manifest_key), parse_key(manifest.replaces)
    return (
        own is not None
        and replaced is not None
        and replaced.is_manifest
        and replaced.family == own.family
        and replaced.revision < own.revision
    )


def _check_consistency(manifest: Manifest, body: _Body, name: str) -> None:
    """A signed manifest can only contradict itself through a fault of the software that wrote it."""
    sequence = [segment.seq for segment in manifest.segments]
    contradictions = {
        "its object_key is not that of its day, part, root and revision": manifest.object_key
        != object_key(manifest.day, manifest.part, manifest.root, manifest.revision),
        "its root is not that of its segments": manifest.root != part_root(manifest.segments),
        "its segments are not in order": sequence != sorted(set(sequence)),
        "its segments are of another day": any(segment.day != manifest.day for segment in manifest.segments),
        "its entry_count is not the sum of its segments": manifest.entry_count
        != sum(segment.entry_count for segment in manifest.segments),
        "its first_id or last_id is not that of its segments": (manifest.first_id, manifest.last_id)
        != (
            min(segment.first_id for segment in manifest.segments),
            max(segment.last_id for segment in manifest.segments),
        ),
        "its columns are not those of an audit archive": [column.model_dump() for column in body.columns]
        != _columns(ENTRY_SCHEMA),
        "its compression is not known": body.compression != COMPRESSION,
        "it does not name the revision that it replaces, or names another part": not _replaces_its_own(manifest),
        "it names blinded entries, which this version cannot read": body.blinded != [],
    }
    found = [text for text, holds in contradictions.items() if holds]
    if found:
        raise ManifestError(f"{name} contradicts itself: {'; '.join(found)}")
