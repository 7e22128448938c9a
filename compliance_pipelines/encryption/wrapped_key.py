"""A wrapped key, as the record in the cold store has it.

Here: its fields, its exact bytes, strict reading. Not here: the catalogue's row, which has the same fields.

    {"format": "compliance-pipelines/data-key/1", "key_encryption_key": "keyring:...", "key_id": "<32 hex digits>",
     "object_key": "audit-archives/...", "wrapped": "<base64>", "wrapped_at": "2026-11-30T12:00:00.000000Z"}

Nothing is signed: what a record is worth shows when the key comes out, whose id the signed manifest names.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compliance_pipelines.base.strict_json import MalformedJsonError, parse_strictly
from compliance_pipelines.encryption.context import context_of
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.encryption.errors import DataKeyAlteredError

if TYPE_CHECKING:
    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKey, KeyEncryptionKeys

RECORDS: Final = "audit-keys/"
MOST_BYTES: Final = 16 * 2**10
_SUFFIX: Final = ".json"
_FORMAT: Final = "compliance-pipelines/data-key/1"
_MOST_VALUES: Final = 20
_MOST_WRAPPED: Final = 4 * 2**10
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    format: str = Field(pattern=f"^{_FORMAT}$")
    key_encryption_key: str = Field(min_length=1, max_length=2048)
    key_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    object_key: str = Field(min_length=1, max_length=1024)
    wrapped: str = Field(min_length=1, max_length=2 * _MOST_WRAPPED)
    wrapped_at: str


@dataclass(frozen=True)
class WrappedKey:
    """The key of an object, wrapped.

    Attributes:
        object_key: of the object that it encrypts.
        key_id: of the data key.
        key_encryption_key: reference of what wrapped it.
        wrapped: what came of that.
        wrapped_at: when; UTC.
    """

    object_key: str
    key_id: str
    key_encryption_key: str
    wrapped: bytes
    wrapped_at: datetime

    @classmethod
    def of(cls, object_key: str, key: DataKey, by: KeyEncryptionKey) -> WrappedKey:
        """A key, wrapped now.

        Raises:
            EncryptionError: the key-encryption key cannot be used.
            KmsError: its service refuses, or does not answer.
        """
        wrapped = by.wrap(key.secret, context_of(object_key, key.id))
        return cls(object_key, key.id, by.reference, wrapped, datetime.now(UTC))

    def unwrapped(self, keys: KeyEncryptionKeys) -> DataKey:
        """The data key.

        Raises:
            KeyEncryptionKeyError: what wrapped it is not there, or is another key.
            DataKeyAlteredError: what comes out is not the key of this id.
            KmsError: the service refuses, or does not answer.
            ConfigurationError: no keyring is named.
        """
        by = keys.with_reference(self.key_encryption_key)
        secret = by.unwrap(self.wrapped, context_of(self.object_key, self.key_id))
        key = DataKey(secret)
        if key.id != self.key_id:
            raise DataKeyAlteredError(
                f"what is on record as the key {self.key_id} of {self.object_key} is the key {key.id}"
            )
        return key

    def to_bytes(self) -> bytes:
        """The record."""
        values = {
            "format": _FORMAT,
            "key_encryption_key": self.key_encryption_key,
            "key_id": self.key_id,
            "object_key": self.object_key,
            "wrapped": base64.b64encode(self.wrapped).decode("ascii"),
            "wrapped_at": self.wrapped_at.astimezone(UTC).strftime(_TIME),
        }
        return json.dumps(values, sort_keys=True, indent=1).encode("ascii") + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, object_key: str) -> WrappedKey:
        """What a record says.

        Args:
            data: the record.
            object_key: of the object beside whose key it lies.

        Raises:
            DataKeyAlteredError: it is no record, or another object's.
        """
        try:
            values: Any = parse_strictly(data, most_bytes=MOST_BYTES, most_values=_MOST_VALUES)
            document = _Document.model_validate(values)
            found = cls(
                document.object_key,
                document.key_id,
                document.key_encryption_key,
                base64.b64decode(document.wrapped, validate=True),
                datetime.strptime(document.wrapped_at, _TIME).replace(tzinfo=UTC),
            )
        except (MalformedJsonError, ValidationError, ValueError) as error:
            reason = "fields are missing or malformed" if isinstance(error, ValidationError) else str(error)
            raise DataKeyAlteredError(f"{record_key(object_key)} is no record of a key: {reason}") from error
        if found.object_key != object_key:
            raise DataKeyAlteredError(f"{record_key(object_key)} was altered: it is the record of another object's key")
        return found

    def says_the_same(self, other: WrappedKey) -> bool:
        """Whether both records are of one key under one key-encryption key, whatever the times that they bear."""
        return (self.object_key, self.key_id, self.key_encryption_key, self.wrapped) == (
            other.object_key,
            other.key_id,
            other.key_encryption_key,
            other.wrapped,
        )


def record_key(object_key: str) -> str:
    """Under which key the cold store has the record about the key of an object."""
    return f"{RECORDS}{object_key}{_SUFFIX}"


def object_of_record(key: str) -> str | None:
    """The object whose key a record is about, by the record's own key; None where it is no record's."""
    if not (key.startswith(RECORDS) and key.endswith(_SUFFIX)):
        return None
    return key.removeprefix(RECORDS).removesuffix(_SUFFIX) or None
