"""A local store in a directory of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.local import LocalObjectStore
from tests.unit.object_store.contract import SEVERAL_BUFFERS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cold"


@pytest.fixture
def store(root: Path) -> LocalObjectStore:
    store = LocalObjectStore(root)
    store.create()
    return store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(SEVERAL_BUFFERS)
    return path
