"""The S3 store that the settings name.

Here: from settings to a store, and what is refused. Not here: what the store does (s3.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.object_store.port import InvalidKeyError
from compliance_pipelines.object_store.s3 import S3Bucket, S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from compliance_pipelines.object_store.port import RetentionRule
    from compliance_pipelines.settings import Settings

_LOCK_MODES: Final = {"none": None, "governance": "GOVERNANCE", "compliance": "COMPLIANCE"}
_ENCRYPTIONS: Final = {None: None, "aes256": "AES256", "aws:kms": "aws:kms"}


def open_s3(settings: Settings, retain_until: RetentionRule) -> S3ObjectStore:
    """The store; nothing is asked by opening it.

    Raises:
        ConfigurationError: a setting is missing or cannot be used.
    """
    if not settings.audit_cold_storage_bucket:
        raise ConfigurationError(
            "AUDIT_COLD_STORAGE_BUCKET is not set: with AUDIT_COLD_STORAGE_PROVIDER=s3 it names the bucket of the cold "
            "store"
        )
    if settings.audit_cold_storage_kms_key and settings.audit_cold_storage_encryption != "aws:kms":
        raise ConfigurationError("AUDIT_COLD_STORAGE_KMS_KEY is for AUDIT_COLD_STORAGE_ENCRYPTION=aws:kms alone")
    endpoint = S3Endpoint(
        region=settings.aws_s3_region,
        url=settings.audit_cold_storage_endpoint_url,
        path_style=settings.audit_cold_storage_path_style,
        ca_file=settings.audit_cold_storage_ca_file,
        timeout_seconds=settings.audit_cold_storage_timeout_seconds,
    )
    bucket = S3Bucket(
        name=settings.audit_cold_storage_bucket,
        prefix=settings.audit_cold_storage_prefix,
        lock_mode=_LOCK_MODES[settings.audit_cold_storage_lock],
        encryption=_ENCRYPTIONS[settings.audit_cold_storage_encryption],
        kms_key=settings.audit_cold_storage_kms_key,
    )
    try:
        return S3ObjectStore(endpoint.open(), bucket, retain_until=retain_until)
    except InvalidKeyError as error:
        raise ConfigurationError(f"AUDIT_COLD_STORAGE_PREFIX cannot be used: {error}") from error
