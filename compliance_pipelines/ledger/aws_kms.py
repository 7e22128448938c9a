"""A signing key in AWS KMS: what is asked of the service, and what its refusals mean.

Here: two requests, by boto3. Not here: what is believed of the answers (kms.py). Credentials and region are found as
boto3 finds them; the region of an ARN is its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.hazmat.primitives.serialization import load_der_public_key

from compliance_pipelines.ledger.kms import AWS, KmsError, KmsUnavailableError, ed25519_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ALGORITHM: Final = "ED25519_SHA_512"
_CONFIG: Final = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
_TRANSIENT: Final = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "ServiceUnavailable",
        "ThrottlingException",
    }
)
_REGION: Final = 3


class AwsKmsKey:
    """One key in AWS KMS.

    Args:
        key_id: its id, ARN or alias.

    Raises:
        KmsError: there is no region.
    """

    def __init__(self, key_id: str) -> None:
        self._key_id = key_id
        self._reference = f"{AWS}{key_id}"
        arn = key_id.split(":")
        region = arn[_REGION] if arn[0] == "arn" and len(arn) > _REGION else None
        try:
            self._client = boto3.client("kms", region_name=region, config=_CONFIG)
        except (BotoCoreError, ValueError) as error:
            raise KmsError(f"{self._reference} cannot be used: {error}") from error

    def public_key(self) -> Ed25519PublicKey:
        """The public half; see :class:`compliance_pipelines.ledger.kms.KmsKey`."""
        answer = self._asked(self._client.get_public_key, KeyId=self._key_id)
        return ed25519_of(load_der_public_key, answer["PublicKey"], self._reference)

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes, not of a hash of them; see :class:`compliance_pipelines.ledger.kms.KmsKey`."""
        answer = self._asked(
            self._client.sign, KeyId=self._key_id, Message=data, MessageType="RAW", SigningAlgorithm=_ALGORITHM
        )
        signature: bytes = answer["Signature"]
        return signature

    def _asked(self, call: Callable[..., dict[str, Any]], **arguments: object) -> dict[str, Any]:
        try:
            return call(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            kind = KmsUnavailableError if code in _TRANSIENT else KmsError
            raise kind(f"{self._reference}: AWS KMS refuses: {error}") from error
        except BotoCoreError as error:
            raise KmsUnavailableError(f"{self._reference}: AWS KMS cannot be asked: {error}") from error
