"""Signing keys that a key management service keeps: nobody has their private half, not even the process that signs.

Here: references to such keys, and the signer over them, which believes no answer. Not here: the services (aws_kms.py,
gcp_kms.py), which are imported where one is used.

    awskms:///<key id, ARN or alias>                               an AWS KMS key of the spec ECC_NIST_EDWARDS25519
    gcpkms://projects/.../cryptoKeys/<key>/cryptoKeyVersions/<n>   a version of a GCP KMS key for EC_SIGN_ED25519
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.kms.references import AWS, GCP, key_of_reference
from compliance_pipelines.ledger.checkpoint import VerifierKey

if TYPE_CHECKING:
    from collections.abc import Callable

_MODULES: Final = {
    AWS: ("compliance_pipelines.ledger.aws_kms", "AwsKmsKey"),
    GCP: ("compliance_pipelines.ledger.gcp_kms", "GcpKmsKey"),
}


class KmsKey(Protocol):
    """One key in one service; each call is a request, bounded in time."""

    def public_key(self) -> Ed25519PublicKey:
        """The public half.

        Raises:
            KmsError: the service refuses, or the key is of another kind.
            KmsUnavailableError: it does not answer.
        """

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of these bytes, of which there are at most 4,096.

        Raises:
            KmsError: the service refuses.
            KmsUnavailableError: it does not answer.
        """


class KmsSigner:
    """Signs with a key that a service keeps; the public half is asked for once.

    Args:
        name: of the ledger, which the service does not know.
        reference: of the key, for messages.
        key: it.
    """

    def __init__(self, name: str, reference: str, key: KmsKey) -> None:
        self._name = name
        self._reference = reference
        self._key = key

    @property
    def name(self) -> str:
        """Who signs."""
        return self._name

    @cached_property
    def _verifier_key(self) -> VerifierKey:
        return VerifierKey(self._name, self._key.public_key().public_bytes_raw())

    def verifier_key(self) -> VerifierKey:
        """The public half.

        Raises:
            KmsError: the service refuses, does not answer, or the key is of another kind.
        """
        return self._verifier_key

    def sign(self, text: str) -> bytes:
        """The signature (64 bytes) of the text in UTF-8, which the public key was asked about.

        Raises:
            KmsError: the service refuses, does not answer, or what it answers is not this key's signature of the text.
        """
        signature = self._key.sign(text.encode())
        if not self.verifier_key().verify(text, signature):
            raise KmsError(f"{self._reference} answered something that is not its signature; nothing was signed")
        return signature

    def __repr__(self) -> str:
        return f"KmsSigner({self._name!r}, {self._reference!r})"


def kms_signer(reference: str, name: str) -> KmsSigner:
    """The signer of a key in a service; nothing is asked of it yet.

    Args:
        reference: as above.
        name: of the ledger.

    Raises:
        KmsError: it is no such reference, or what its service needs is not installed.
    """
    return KmsSigner(name, reference, key_of_reference(reference, _MODULES))


def ed25519_of(load: Callable[[bytes], object], data: bytes, reference: str) -> Ed25519PublicKey:
    """The Ed25519 key that a service says is the public half.

    Args:
        load: reads its form.
        data: its bytes.
        reference: of the key, for the message.

    Raises:
        KmsError: it is none.
    """
    try:
        key = load(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KmsError(f"{reference} has a public key that cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KmsError(f"{reference} is no Ed25519 key: make one of the spec that docs/configuration.md names")
    return key
