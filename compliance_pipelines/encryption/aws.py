"""A key-encryption key in AWS KMS: a symmetric one, which never leaves the service.

Here: two requests. The context is AWS's encryption context, which stands in CloudTrail with each use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.kms.aws import AwsKms

if TYPE_CHECKING:
    from collections.abc import Mapping


class AwsKeyEncryptionKey:
    """One symmetric key in AWS KMS; see :class:`compliance_pipelines.encryption.key_encryption.KeyEncryptionKey`.

    Args:
        key_id: its id, ARN or alias.

    Raises:
        KmsError: there is no region.
    """

    def __init__(self, key_id: str) -> None:
        self._key = AwsKms(key_id)

    @property
    def reference(self) -> str:
        """As the settings have it."""
        return self._key.reference

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """See the protocol."""
        wrapped: bytes = self._key.asked("encrypt", Plaintext=secret, EncryptionContext=dict(context))["CiphertextBlob"]
        return wrapped

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See the protocol."""
        secret: bytes = self._key.asked("decrypt", CiphertextBlob=wrapped, EncryptionContext=dict(context))["Plaintext"]
        return secret
