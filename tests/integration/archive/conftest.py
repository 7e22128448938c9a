"""A day in the past with sealed entries, and hands to do damage with."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

import pytest

from tests.integration.archive.worker import Worker, running_worker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def noon(day: date) -> datetime:
    """The middle of that day."""
    return datetime.combine(day, time(12), UTC)


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """A process of its own that dies where it is told to."""
    with running_worker() as worker:
        yield worker
