"""Servers of one test each, in a directory of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from compliance_pipelines.local_stack.redis import EmbeddedRedis
from tests.support.memory import memory_directory
from tests.unit.local_stack.helpers import stopped_at_the_end

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """A directory of the test, in memory where possible, that only we may enter; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="compliance-tests-", dir=memory_directory()) as directory:
        yield Path(directory)


@pytest.fixture
def postgres(fast_path: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL that was not started yet; it keeps what was committed when it is killed, as in development."""
    with stopped_at_the_end(EmbeddedPostgres(fast_path / "pg", settings={"fsync": "off"})) as server:
        yield server


@pytest.fixture
def redis_of_test(fast_path: Path) -> Iterator[EmbeddedRedis]:
    """Redis that was not started yet."""
    with stopped_at_the_end(EmbeddedRedis(fast_path / "redis")) as server:
        yield server
