"""A system that is empty at first, to be set back and recovered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.verification.conftest import opened_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.verification.world import World


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    """The system before the first entry."""
    yield from opened_database(database_url, tmp_path / "cold")
