"""The client of an S3 service: how long it waits, what it repeats, whom it trusts.

Here: boto3's client, configured on purpose. Not here: any request. Credentials are found as boto3 finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from compliance_pipelines.object_store.endpoints import check_endpoint
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

_CONNECT_SECONDS: Final = 5
_ATTEMPTS: Final = 5
_CONNECTIONS: Final = 16


@dataclass(frozen=True)
class S3Endpoint:
    """Which service, and how it is spoken to.

    Attributes:
        region: of the bucket; None: as boto3 finds it.
        url: of a service that is not AWS; None: AWS.
        path_style: the bucket is in the path and not in the host's name.
        ca_file: certificates (PEM) that the service's is checked against; None: the system's.
        timeout_seconds: how long an answer may take before the request is repeated.
    """

    region: str | None = None
    url: str | None = None
    path_style: bool = False
    ca_file: Path | None = None
    timeout_seconds: int = 60

    def open(self) -> S3Client:
        """A client of boto3. Nothing is asked by opening it.

        Raises:
            ConfigurationError: the endpoint is no URL, or has no TLS and is not on this machine; or boto3 refuses.
        """
        check_endpoint(self.url, self.ca_file)
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=self.timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
            signature_version="s3v4",
            s3={"addressing_style": "path" if self.path_style else "auto"},
            # Each put has the SHA-256 of its own; a checksum that botocore would add on top is one that not every
            # service knows.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            client: S3Client = boto3.session.Session().client(
                "s3",
                region_name=self.region,
                endpoint_url=self.url,
                verify=None if self.ca_file is None else str(self.ca_file),
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(f"the S3 service of the cold store cannot be used: {error}") from error
        return client
