"""The cold store: one port, and the adapter that the settings choose.

Here: opening the store. Not here: what is kept in it and under which keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.object_store.port import ObjectStore


class ColdStorageSettings(Protocol):
    """The settings that choose a store."""

    @property
    def audit_cold_storage_provider(self) -> str:
        """`local`, `s3` or `gcs`."""

    @property
    def audit_cold_storage_path(self) -> Path | None:
        """Directory of the local store."""


def open_object_store(settings: ColdStorageSettings) -> ObjectStore:
    """The store of AUDIT_COLD_STORAGE_PROVIDER. Nothing is made or written by opening it.

    Raises:
        ConfigurationError: the provider has no adapter in this version, or the local one has no directory.
        ObjectStoreError: the path of the local one is not a directory.
    """
    provider = settings.audit_cold_storage_provider
    if provider != "local":
        raise ConfigurationError(
            f"AUDIT_COLD_STORAGE_PROVIDER is {provider!r}, for which this version has no adapter; it has one for "
            "'local', the default: set AUDIT_COLD_STORAGE_PROVIDER=local and AUDIT_COLD_STORAGE_PATH to a directory"
        )
    if settings.audit_cold_storage_path is None:
        raise ConfigurationError(
            "AUDIT_COLD_STORAGE_PATH is not set: with AUDIT_COLD_STORAGE_PROVIDER=local it names the directory of the "
            "cold store"
        )
    return LocalObjectStore(settings.audit_cold_storage_path)
