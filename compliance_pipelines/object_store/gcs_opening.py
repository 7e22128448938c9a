"""The store in Google Cloud Storage that the settings name.

Here: from settings to a store, and what is refused. Not here: what the store does (gcs.py).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from compliance_pipelines.object_store.gcs import GcsBucket, GcsObjectStore
from compliance_pipelines.object_store.gcs_client import GcsEndpoint
from compliance_pipelines.object_store.port import InvalidKeyError
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from compliance_pipelines.object_store.port import RetentionRule
    from compliance_pipelines.settings import Settings

_LOCK_MODES: Final = {"none": None, "governance": "Unlocked", "compliance": "Locked"}
_KMS_KEY: Final = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


def open_gcs(settings: Settings, retain_until: RetentionRule) -> GcsObjectStore:
    """The store; nothing is asked by opening it, and no credentials are looked for.

    Raises:
        ConfigurationError: a setting is missing or cannot be used.
    """
    _refuse(settings)
    if not settings.audit_cold_storage_bucket:
        raise ConfigurationError(
            "AUDIT_COLD_STORAGE_BUCKET is not set: with AUDIT_COLD_STORAGE_PROVIDER=gcs it names the bucket of the "
            "cold store"
        )
    endpoint = GcsEndpoint(
        project=settings.gcp_project_id,
        url=settings.audit_cold_storage_endpoint_url,
        ca_file=settings.audit_cold_storage_ca_file,
        timeout_seconds=settings.audit_cold_storage_timeout_seconds,
    )
    bucket = GcsBucket(
        name=settings.audit_cold_storage_bucket,
        prefix=settings.audit_cold_storage_prefix,
        lock_mode=_LOCK_MODES[settings.audit_cold_storage_lock],
        kms_key=settings.audit_cold_storage_kms_key,
        location=settings.gcp_gcs_location,
    )
    try:
        return GcsObjectStore(endpoint.open(), bucket, retain_until=retain_until)
    except InvalidKeyError as error:
        raise ConfigurationError(f"AUDIT_COLD_STORAGE_PREFIX cannot be used: {error}") from error


def _refuse(settings: Settings) -> None:
    """Refuse what says something to S3 alone, and would be left undone."""
    if settings.audit_cold_storage_encryption is not None:
        raise ConfigurationError(
            "AUDIT_COLD_STORAGE_ENCRYPTION is for AUDIT_COLD_STORAGE_PROVIDER=s3 alone: GCS always encrypts; a key of "
            "your own is named by AUDIT_COLD_STORAGE_KMS_KEY"
        )
    if settings.audit_cold_storage_path_style:
        raise ConfigurationError("AUDIT_COLD_STORAGE_PATH_STYLE is for AUDIT_COLD_STORAGE_PROVIDER=s3 alone")
    key = settings.audit_cold_storage_kms_key
    if key and _KMS_KEY.fullmatch(key) is None:
        raise ConfigurationError(
            f"AUDIT_COLD_STORAGE_KMS_KEY is {key!r}: for GCS it is "
            "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, without a version"
        )
