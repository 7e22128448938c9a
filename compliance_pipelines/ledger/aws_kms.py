"""A signing key in AWS KMS: what is asked of the service.

Here: two requests. Not here: what is believed of the answers (kms.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import load_der_public_key

from compliance_pipelines.kms.aws import AwsKms
from compliance_pipelines.ledger.kms import ed25519_of

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ALGORITHM: Final = "ED25519_SHA_512"


class AwsKmsKey:
    """One key in AWS KMS.

    Args:
        key_id: its id, ARN or alias.

    Raises:
        KmsError: there is no region.
    """

    def __init__(self, key_id: str) -> None:
        self._key = AwsKms(key_id)

    def public_key(self) -> Ed25519PublicKey:
        """The public half; see :class:`compliance_pipelines.ledger.kms.KmsKey`."""
        answer = self._key.asked("get_public_key")
        return ed25519_of(load_der_public_key, answer["PublicKey"], self._key.reference)

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes, not of a hash of them; see :class:`compliance_pipelines.ledger.kms.KmsKey`."""
        signature: bytes = self._key.asked("sign", Message=data, MessageType="RAW", SigningAlgorithm=_ALGORITHM)[
            "Signature"
        ]
        return signature
