from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store import open_object_store
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectStore, ObjectStoreError
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Choice:
    audit_cold_storage_provider: str
    audit_cold_storage_path: Path | None


def test_the_local_store_opens_in_the_directory_of_the_settings(tmp_path: Path) -> None:
    store = open_object_store(Choice("local", tmp_path / "cold"))

    assert isinstance(store, LocalObjectStore)
    assert isinstance(store, ObjectStore)
    assert store.uri == (tmp_path / "cold").as_uri()


@pytest.mark.parametrize("provider", ["s3", "gcs", "azure"])
def test_a_provider_without_an_adapter_is_refused_by_the_name_of_its_setting(provider: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"AUDIT_COLD_STORAGE_PROVIDER is '{provider}'.*no adapter"):
        open_object_store(Choice(provider, tmp_path))


def test_the_local_store_needs_its_directory() -> None:
    with pytest.raises(ConfigurationError, match="AUDIT_COLD_STORAGE_PATH is not set"):
        open_object_store(Choice("local", None))


def test_the_local_store_refuses_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ObjectStoreError, match="is not a directory"):
        open_object_store(Choice("local", tmp_path / "file"))
