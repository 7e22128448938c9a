"""Holds of Google Cloud Storage, on the service of the tests' own: no emulator that can be installed here keeps any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.object_store.gcs_stores import gcs, gcs_store, rules
from tests.unit.object_store.contract import HoldContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.object_store.gcs import GcsObjectStore
    from compliance_pipelines.object_store.port import ObjectInfo
    from tests.support.gcs_rules import GcsRules

__all__ = ["gcs", "gcs_store", "rules"]  # fixtures


class TestGcsHolds(HoldContract):
    """In a bucket with versions, where something can be put over an object."""

    @pytest.fixture
    def store(self, gcs_store: GcsObjectStore, rules: GcsRules) -> GcsObjectStore:
        rules.bucket(gcs_store.bucket.name).settings["versioning"] = {"enabled": True}
        return gcs_store

    @pytest.fixture
    def bare_delete(self, store: GcsObjectStore, rules: GcsRules) -> Callable[[ObjectInfo], object]:
        def delete(info: ObjectInfo) -> None:
            bucket = rules.bucket(store.bucket.name)
            rules.delete(bucket, store.object_key(info.key), {"generation": info.version or ""})

        return delete

    @pytest.fixture
    def put_over(self, store: GcsObjectStore, rules: GcsRules) -> Callable[[str], object]:
        return lambda key: rules.put(store.bucket.name, {"name": store.object_key(key)}, {}, b"over")
