"""Key-encryption keys: what wraps the keys of objects.

Here: the protocol, and those that the settings name. Not here: their kinds (keyring.py, aws.py, gcp.py).

    keyring:<id>     a key of the keyring file AUDIT_ARCHIVE_KEYRING_FILE
    awskms:///<key>  a symmetric key in AWS KMS
    gcpkms://<key>   a symmetric key in GCP KMS

What wrapped a key is asked by its reference, and only if the settings name it: a record that lies in a bucket must not
send anybody to a service of its own choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol, Self

from compliance_pipelines.encryption.errors import KeyEncryptionKeyError
from compliance_pipelines.encryption.keyring import KEYRING, Keyring
from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.kms.references import AWS, GCP, key_of_reference
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from compliance_pipelines.settings import Settings

_MODULES: Final = {
    AWS: ("compliance_pipelines.encryption.aws", "AwsKeyEncryptionKey"),
    GCP: ("compliance_pipelines.encryption.gcp", "GcpKeyEncryptionKey"),
}


class KeyEncryptionKey(Protocol):
    """One key that wraps others, wherever it is kept."""

    @property
    def reference(self) -> str:
        """What records call it."""

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """The secret in a form that this key alone opens, and only with the same context.

        Raises:
            KeyEncryptionKeyError: it cannot be used.
            KmsError: its service refuses, or does not answer.
        """

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """The secret.

        Raises:
            KeyEncryptionKeyError: this key did not wrap it, or not with this context.
            KmsError: its service refuses, or does not answer.
        """


@dataclass(frozen=True)
class KeyEncryptionKeys:
    """The key-encryption keys of one process; a keyring is read at each use, so that a new key in it counts at once.

    Attributes:
        keyring_file: path of the keyring.
        kms_key: reference of the key in a service that wraps new keys; without it, the keyring's current one does.
        former_kms_keys: references of those that wrapped keys before, and may be asked to unwrap them.
    """

    keyring_file: Path | None = None
    kms_key: str | None = None
    former_kms_keys: tuple[str, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Those that the settings name."""
        return cls(
            settings.audit_archive_keyring_file, settings.audit_archive_kms_key, settings.audit_archive_former_kms_keys
        )

    @property
    def any(self) -> bool:
        """Whether any is named at all."""
        return self.keyring_file is not None or self.kms_key is not None or bool(self.former_kms_keys)

    @cached_property
    def _opened(self) -> dict[str, KeyEncryptionKey]:
        """Keys in services that were used: a client takes half a second to be made."""
        return {}

    def current(self) -> KeyEncryptionKey:
        """The one that wraps new keys.

        Raises:
            ConfigurationError: none is named, or its reference is malformed.
            KeyringError: the keyring cannot be read.
        """
        if self.kms_key is not None:
            return self._in_service(self.kms_key)
        return self.keyring().current

    def references(self) -> list[str]:
        """All that there are: those of the keyring, and those in services that the settings name.

        Raises:
            KeyringError: the keyring cannot be read.
        """
        of_keyring = [] if self.keyring_file is None else [each.reference for each in self.keyring().keys.values()]
        return [*of_keyring, *filter(None, [self.kms_key]), *self.former_kms_keys]

    def keyring(self) -> Keyring:
        """The keyring, as its file is now.

        Raises:
            ConfigurationError: no file is named.
            KeyringError: it cannot be read, or is none.
        """
        if self.keyring_file is None:
            raise ConfigurationError(
                "no key for archives: set AUDIT_ARCHIVE_KEYRING_FILE to a file made with `compliance keys init FILE`, "
                "or AUDIT_ARCHIVE_KMS_KEY to a key in AWS or GCP KMS; AUDIT_ARCHIVE_ENCRYPTION=false leaves archives "
                "unencrypted"
            )
        return Keyring.read(self.keyring_file)

    def with_reference(self, reference: str) -> KeyEncryptionKey:
        """The key that a record names.

        Raises:
            KeyEncryptionKeyError: the settings do not name it, or the keyring does not have it.
            KeyringError: the keyring cannot be read.
        """
        if reference.startswith(KEYRING):
            if self.keyring_file is None:
                raise KeyEncryptionKeyError(
                    f"{reference} is in a keyring, and AUDIT_ARCHIVE_KEYRING_FILE is not set: set it to the file"
                )
            return Keyring.read(self.keyring_file).key(reference)
        if reference != self.kms_key and reference not in self.former_kms_keys:
            raise KeyEncryptionKeyError(
                f"{reference} is not named by the settings: set AUDIT_ARCHIVE_KMS_KEY to it, or add it to "
                "AUDIT_ARCHIVE_FORMER_KMS_KEYS if it wrapped keys before"
            )
        return self._in_service(reference)

    def _in_service(self, reference: str) -> KeyEncryptionKey:
        found = self._opened.get(reference)
        if found is None:
            try:
                found = key_of_reference(reference, _MODULES)
            except KmsError as error:
                raise ConfigurationError(f"the key for archives cannot be used: {error}") from error
            self._opened[reference] = found
        return found
