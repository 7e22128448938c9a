"""What many append at the same time is there once."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.audit_log.errors import (
    AppendInterruptedError,
)
from compliance_pipelines.audit_log.log import AppendResult, AsyncAuditLog, AuditLog
from tests.integration.audit_log.entries import entry, ids, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry


def together(*tasks: Any) -> list[Any]:  # noqa: ANN401 - whatever the tasks return
    """Run tasks in threads of their own at the same moment, and return what they return or raise."""
    barrier = threading.Barrier(len(tasks), timeout=900)
    results: list[Any] = [None] * len(tasks)

    def run(position: int, task: Any) -> None:  # noqa: ANN401
        barrier.wait()
        try:
            results[position] = task()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[position] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def test_of_many_appenders_of_one_entry_one_is_told_that_it_was_new(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    assert sorted(together(*[lambda: log.append(entry())] * 8)) == [False] * 7 + [True]
    assert stored(engine) == [entry()]


@pytest.mark.usefixtures("_small_chunks")
def test_concurrent_batches_of_the_same_entries_append_each_once(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    entries = [entry(number) for number in range(200)]
    results = together(*[lambda: log.append_many(entries)] * 4)
    assert sum(results, AppendResult()) == AppendResult(new=200, repeated=600)
    assert stored(engine) == entries


@pytest.mark.usefixtures("_small_chunks")
def test_batches_that_wait_for_each_other_lose_nothing(log: AuditLog, engine: sqlalchemy.Engine) -> None:
    entries = [entry(number) for number in range(40)]
    opposite = (entries, entries[::-1])

    def until_done(order: Sequence[AuditEntry]) -> AppendResult:
        for _ in range(20):
            try:
                return log.append_many(order)
            except AppendInterruptedError as error:
                assert "run it again" in str(error)  # noqa: PT017 - it may, and need not, happen
        raise AssertionError("never got through")

    results = together(*[lambda order=order: until_done(order) for order in opposite])
    assert sum(results, AppendResult()) == AppendResult(new=40, repeated=40)
    assert sorted(ids(stored(engine))) == sorted(ids(entries))


async def test_concurrent_asynchronous_appenders_append_each_once(
    async_log: AsyncAuditLog, engine: sqlalchemy.Engine
) -> None:
    entries = [entry(number) for number in range(30)]
    results = await asyncio.gather(*[async_log.append_many(entries) for _ in range(4)])
    assert sum(results, AppendResult()) == AppendResult(new=30, repeated=90)
    assert stored(engine) == entries
