"""What the sample entries of `make run` promise."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from itertools import chain

import pytest

from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.demo.sample import DAYS, ENTRIES, Delivery, deliveries, entries_of_day

LAST_DAY = date(2026, 3, 14)


@cache
def all_deliveries(last_day: date) -> tuple[Delivery, ...]:
    return tuple(deliveries(last_day))


def delivered(last_day: date) -> list[tuple[date, str]]:
    return [
        (delivery.day, entry.log_entry_id)
        for delivery in all_deliveries(last_day)
        for entry in chain(delivery.on_time, delivery.late)
    ]


@pytest.mark.parametrize("last_day", [LAST_DAY, LAST_DAY + timedelta(days=1)])
def test_any_last_day_gives_fifty_thousand_entries_of_120_days_each_once(last_day: date) -> None:
    ids = [entry_id for _, entry_id in delivered(last_day)]
    assert len(ids) == len(set(ids)) == ENTRIES == 50_000
    assert len({day for day, _ in delivered(last_day)}) == DAYS == 120


def test_the_same_day_has_the_same_entries_on_every_machine() -> None:
    first = entries_of_day(LAST_DAY)[0]
    assert first == entries_of_day(LAST_DAY)[0]
    assert (first.log_entry_id, first.timestamp.isoformat(), first.action) == (
        "08cbfa98-bcce-5c42-90ab-dffe2c03cba6",
        "2026-03-14T19:54:05.045710+00:00",
        "tool.invoke",
    )


def test_a_day_keeps_its_entries_as_the_window_moves() -> None:
    """A second `make run` on another day meets the entries of the first as repeats."""
    tomorrow = {entry_id for _, entry_id in delivered(LAST_DAY + timedelta(days=1))}
    lost = [entry_id for _, entry_id in delivered(LAST_DAY) if entry_id not in tomorrow]
    assert set(lost) == {entry.log_entry_id for entry in entries_of_day(LAST_DAY - timedelta(days=DAYS - 1))}


def test_some_entries_are_delivered_late_and_some_out_of_order() -> None:
    late = [
        (delivery.day - utc_day(entry.timestamp)).days
        for delivery in all_deliveries(LAST_DAY)
        for entry in delivery.late
    ]
    assert set(late) <= {0, 1, 2, 3}
    assert 400 < len(late) < 600
    times = [entry.timestamp for entry in entries_of_day(LAST_DAY)]
    assert times != sorted(times)
