"""Requests about one key in AWS KMS, by boto3, and what its refusals mean.

Here: the client with its time-outs and repetitions. Not here: which requests, and what is believed of the answers.
Credentials and region are found as boto3 finds them; the region of an ARN is its own.
"""

from __future__ import annotations

from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from compliance_pipelines.kms.errors import KmsError, KmsUnavailableError
from compliance_pipelines.kms.references import AWS

_CONFIG: Final = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
# Time passes with these: a service recovers, credentials are renewed.
_TRANSIENT: Final = frozenset(
    {
        "DependencyTimeoutException",
        "ExpiredTokenException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "ServiceUnavailable",
        "ThrottlingException",
    }
)
_REGION: Final = 3


class AwsKms:
    """One key in AWS KMS.

    Args:
        key_id: its id, ARN or alias.

    Attributes:
        key_id: it.
        reference: of the key, as settings and messages have it.

    Raises:
        KmsError: there is no region.
    """

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.reference = f"{AWS}{key_id}"
        arn = key_id.split(":")
        region = arn[_REGION] if arn[0] == "arn" and len(arn) > _REGION else None
        try:
            self._client = boto3.client("kms", region_name=region, config=_CONFIG)
        except (BotoCoreError, ValueError) as error:
            raise KmsError(f"{self.reference} cannot be used: {error}") from error

    def asked(self, request: str, **arguments: object) -> dict[str, Any]:
        """The answer to a request about this key.

        Args:
            request: boto3's name of it.
            arguments: beside KeyId.

        Raises:
            KmsError: the service refuses.
            KmsUnavailableError: it does not answer, or has no time.
        """
        try:
            answer: dict[str, Any] = getattr(self._client, request)(KeyId=self.key_id, **arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            kind = KmsUnavailableError if code in _TRANSIENT else KmsError
            raise kind(f"{self.reference}: AWS KMS refuses: {error}") from error
        except BotoCoreError as error:
            raise KmsUnavailableError(f"{self.reference}: AWS KMS cannot be asked: {error}") from error
        return answer
