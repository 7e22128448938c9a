"""The cold store: one port, an adapter for each kind of storage.

Here: choosing the adapter that the settings name. The port is in port.py, the adapters in local.py, s3.py and gcs.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import no_retention
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from compliance_pipelines.object_store.port import ObjectStore, RetentionRule
    from compliance_pipelines.settings import Settings

_S3_SCHEME: Final = "s3://"


def open_object_store(settings: Settings, retain_until: RetentionRule) -> ObjectStore:
    """The store of AUDIT_COLD_STORAGE_PROVIDER. Nothing is made, written or asked by opening it.

    Args:
        settings: which store.
        retain_until: until when its objects are locked, where it is told to lock.

    Raises:
        ConfigurationError: the provider's settings are missing or cannot be used.
        ObjectStoreError: the path of the local one is not a directory.
    """
    match settings.audit_cold_storage_provider:
        case "local":
            return _local(settings)
        case "s3":
            return _s3(settings, retain_until)
        case "gcs":
            return _gcs(settings, retain_until)


def open_copy(settings: Settings, where: str) -> ObjectStore:
    """A copy of the cold store, to be read.

    Args:
        settings: how the S3 service of the cold store is reached, where the copy is in another bucket of it.
        where: a directory, or `s3://BUCKET/PREFIX`.

    Raises:
        ConfigurationError: it is no directory, or a setting cannot be used.
    """
    if where.startswith(_S3_SCHEME):
        bucket, _, prefix = where.removeprefix(_S3_SCHEME).partition("/")
        elsewhere = {
            "audit_cold_storage_provider": "s3",
            "audit_cold_storage_bucket": bucket,
            "audit_cold_storage_prefix": prefix.strip("/"),
        }
        return _s3(settings.model_copy(update=elsewhere), no_retention)
    directory = Path(where.removeprefix("file://"))
    if not directory.is_dir():
        raise ConfigurationError(f"{where} is no copy of the cold store: give its directory, or s3://BUCKET/PREFIX")
    return LocalObjectStore(directory)


def _local(settings: Settings) -> ObjectStore:
    if settings.audit_cold_storage_path is None:
        raise ConfigurationError(
            "AUDIT_COLD_STORAGE_PATH is not set: with AUDIT_COLD_STORAGE_PROVIDER=local it names the directory of the "
            "cold store"
        )
    return LocalObjectStore(settings.audit_cold_storage_path)


def _s3(settings: Settings, retain_until: RetentionRule) -> ObjectStore:
    # boto3 takes long to load, and most commands use no cold store.
    from compliance_pipelines.object_store.s3_opening import open_s3  # noqa: PLC0415

    return open_s3(settings, retain_until)


def _gcs(settings: Settings, retain_until: RetentionRule) -> ObjectStore:
    # So does Google's library.
    from compliance_pipelines.object_store.gcs_opening import open_gcs  # noqa: PLC0415

    return open_gcs(settings, retain_until)
