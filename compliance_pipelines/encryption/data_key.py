"""The key of one object, and what a manifest says about it.

Here: making a key, its id. Not here: wrapping it (key_encryption.py), where it is kept (data_keys.py).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compliance_pipelines.encryption.errors import EncryptionError

SECRET_BYTES: Final = 32
ALGORITHM: Final = "AES_GCM_V1"
"""Parquet modular encryption, all modules with AES-256 in GCM; Parquet's specification, "Encryption algorithms"."""

# A hash of 32 random bytes tells nobody what they are, and shows whoever unwraps them whether they are the right ones.
_ID_PURPOSE: Final = b"compliance-pipelines/data-key/1\x00"
_ID_BYTES: Final = 16


@dataclass(frozen=True)
class DataKey:
    """A key of 256 bits that encrypts one object and no other.

    Attributes:
        secret: 32 bytes, never shown.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse another length.

        Raises:
            EncryptionError: it has not 32 bytes.
        """
        if len(self.secret) != SECRET_BYTES:
            raise EncryptionError(f"a data key has {SECRET_BYTES} bytes, and this has {len(self.secret)}")

    @classmethod
    def new(cls) -> DataKey:
        """A key that nobody else has."""
        return cls(secrets.token_bytes(SECRET_BYTES))

    @property
    def id(self) -> str:
        """32 hex digits that identify the key and do not give it away: the beginning of a SHA-256 over it."""
        return hashlib.sha256(_ID_PURPOSE + self.secret).digest()[:_ID_BYTES].hex()


class Encryption(BaseModel):
    """What a signed manifest says about the encryption of its object.

    The wrapped key is not there: a manifest is locked for years, and a key must be destroyable.

    Attributes:
        algorithm: of Parquet modular encryption.
        key_id: of the data key.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    algorithm: str = Field(default=ALGORITHM, pattern=rf"^{ALGORITHM}$")
    key_id: str = Field(pattern=r"^[0-9a-f]{32}$")

    @classmethod
    def of(cls, key: DataKey | None) -> Encryption | None:
        """That of an object that was encrypted with a key; None where it was not."""
        return None if key is None else cls(key_id=key.id)

    @classmethod
    def from_json(cls, values: object) -> Encryption | None:
        """What these values say; None where they are none.

        Raises:
            EncryptionError: they are of another form, or of another algorithm.
        """
        if values is None:
            return None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            named = ", ".join(".".join(map(str, each["loc"])) for each in error.errors(include_input=False))
            raise EncryptionError(
                f"its encryption is not one that is known: {named or 'it has another form'}"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return self.model_dump()
