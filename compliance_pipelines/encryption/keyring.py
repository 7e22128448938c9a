"""Key-encryption keys in a file, for those without a key management service.

Here: the file, its exact form, wrapping with AES-256-GCM (NIST SP 800-38D) under a fresh nonce. Not here: which key
wraps, where a service keeps them (key_encryption.py).

    {"format": "compliance-pipelines/keyring/1", "current": "<id>",
     "keys": {"<id>": {"created_at": "2026-11-30T12:00:00Z", "secret": "<base64 of 32 bytes>"}}}

Whoever loses it loses every archive that was encrypted under it, and whoever reads it can read them: it belongs on
more than one medium, and not beside the archives.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
import stat
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from compliance_pipelines.base.strict_json import MalformedJsonError, parse_strictly
from compliance_pipelines.encryption.context import context_bytes
from compliance_pipelines.encryption.errors import KeyEncryptionKeyError, KeyringError
from compliance_pipelines.object_store.local_files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEYRING: Final = "keyring:"
FORMAT: Final = "compliance-pipelines/keyring/1"
_SECRET_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MOST_BYTES: Final = 2**20
_MOST_VALUES: Final = 10_000
_OWNER_ONLY: Final = 0o600
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class KeyringKey:
    """One key of a keyring; see :class:`compliance_pipelines.encryption.key_encryption.KeyEncryptionKey`.

    Attributes:
        id: its name in the keyring.
        created_at: when it was made; UTC, to the second.
        secret: 32 bytes, never shown.
    """

    id: str
    created_at: datetime
    secret: bytes = field(repr=False)

    @property
    def reference(self) -> str:
        """`keyring:` and its id."""
        return f"{KEYRING}{self.id}"

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """The nonce (12 bytes), and what AES-256-GCM makes of the secret under it, with the context as its AAD."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self.secret).encrypt(nonce, secret, context_bytes(context))

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """The secret.

        Raises:
            KeyEncryptionKeyError: this key did not wrap it, or not with this context.
        """
        try:
            return AESGCM(self.secret).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], context_bytes(context))
        except (InvalidTag, ValueError):
            raise KeyEncryptionKeyError(
                f"{self.reference} does not unwrap what is on record as the key {context.get('key')} of "
                f"{context.get('object')}: it is another key under the same name, or the record was altered"
            ) from None


@dataclass(frozen=True)
class Keyring:
    """All keys of a file, and which of them wraps.

    Attributes:
        path: of the file.
        keys: by id, in the order in which they were added.
        current_id: of the one that wraps.
    """

    path: Path
    keys: Mapping[str, KeyringKey]
    current_id: str

    @property
    def current(self) -> KeyringKey:
        """The key that wraps."""
        return self.keys[self.current_id]

    def key(self, reference: str) -> KeyringKey:
        """The key with a reference.

        Raises:
            KeyEncryptionKeyError: it is not there.
        """
        found = self.keys.get(reference.removeprefix(KEYRING))
        if found is None:
            raise KeyEncryptionKeyError(f"{reference} is not in the keyring {self.path}: take one that has it")
        return found

    @classmethod
    def read(cls, path: Path) -> Keyring:
        """The keyring of a file.

        Raises:
            KeyringError: it cannot be read, others than its owner and group can, or it is no keyring.
        """
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise KeyringError(
                f"the keyring {path} cannot be read: {error.strerror or error}; bring it back from a copy, or make the "
                "first one with `compliance keys init`"
            ) from error
        # A group may read it, as it does where an orchestrator mounts secrets.
        if mode & (stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO):
            raise KeyringError(f"the keyring {path} is open to others than its owner and group: `chmod 600 {path}`")
        try:
            return cls._parsed(path, parse_strictly(data, most_bytes=_MOST_BYTES, most_values=_MOST_VALUES))
        except (MalformedJsonError, KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise KeyringError(f"{path} is no keyring: {error}") from error

    @classmethod
    def _parsed(cls, path: Path, values: Any) -> Keyring:  # noqa: ANN401 - any JSON value
        if set(values) != {"format", "current", "keys"} or values["format"] != FORMAT:
            raise ValueError(f"it has not the form {FORMAT}")
        keys = {name: _key_of(name, each) for name, each in values["keys"].items()}
        if values["current"] not in keys:
            raise ValueError(f"its current key {values['current']!r} is not in it")
        return cls(path, keys, values["current"])

    @classmethod
    def create(cls, path: Path, now: datetime) -> Keyring:
        """Make a keyring with one key, in a new file that only its owner can read.

        Raises:
            KeyringError: the file exists already, or cannot be written.
        """
        key = new_key((), now)
        made = cls(path, {key.id: key}, key.id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, made.to_bytes())
            sync_directory(path.parent)
        except OSError as error:
            raise KeyringError(f"the keyring cannot be written to {path}: {error}") from error
        return made

    def with_key(self, key: KeyringKey) -> Keyring:
        """With one more key, which is the current one."""
        return replace(self, keys={**self.keys, key.id: key}, current_id=key.id)

    def with_current(self, key_id: str) -> Keyring:
        """With another current key, which it has.

        Raises:
            KeyEncryptionKeyError: it does not have it.
        """
        return replace(self, current_id=self.key(f"{KEYRING}{key_id}").id)

    def without(self, key_id: str) -> Keyring:
        """Without one of its keys, which is not the current one.

        Raises:
            KeyEncryptionKeyError: it does not have it, or it is the current one.
        """
        if self.key(f"{KEYRING}{key_id}").id == self.current_id:
            raise KeyEncryptionKeyError(f"{KEYRING}{key_id} is the current key of {self.path}: rotate first")
        return replace(self, keys={name: key for name, key in self.keys.items() if name != key_id})

    def save(self) -> None:
        """Put this in the place of the file, durably, so that a reader finds the old one or the new one.

        Raises:
            KeyringError: it cannot be written.
        """
        draft = self.path.with_name(f"{self.path.name}.draft")
        try:
            draft.unlink(missing_ok=True)
            _write(draft, self.to_bytes())
            draft.replace(self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            raise KeyringError(f"the keyring {self.path} cannot be written: {error}") from error

    def to_bytes(self) -> bytes:
        """The file."""
        values = {
            "format": FORMAT,
            "current": self.current_id,
            "keys": {
                key.id: {
                    "created_at": key.created_at.strftime(_TIME),
                    "secret": base64.b64encode(key.secret).decode("ascii"),
                }
                for key in self.keys.values()
            },
        }
        return json.dumps(values, indent=1).encode("ascii") + b"\n"


def new_key(taken: Mapping[str, object] | tuple[()], now: datetime) -> KeyringKey:
    """A key that nobody has, under a name that is not taken: the day, and four random bytes."""
    made_at = now.astimezone(UTC).replace(microsecond=0)
    while (name := f"{made_at:%Y-%m-%d}-{secrets.token_hex(4)}") in taken:
        continue
    return KeyringKey(name, made_at, secrets.token_bytes(_SECRET_BYTES))


def _key_of(name: str, values: dict[str, str]) -> KeyringKey:
    if _ID.fullmatch(name) is None:
        raise ValueError("the id of a key has letters, digits, '.', '_' and '-', at most 64 of them")
    if set(values) != {"created_at", "secret"}:
        raise ValueError(f"its key {name} has not the fields of one")
    secret = base64.b64decode(values["secret"], validate=True)
    if len(secret) != _SECRET_BYTES:
        raise ValueError(f"its key {name} has {len(secret)} bytes and not {_SECRET_BYTES}")
    return KeyringKey(name, datetime.strptime(values["created_at"], _TIME).replace(tzinfo=UTC), secret)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
