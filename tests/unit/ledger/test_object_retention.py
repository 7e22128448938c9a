"""Which objects of the cold store are locked, and until when."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from compliance_pipelines.archive.layout import PartKey
from compliance_pipelines.ledger.key_objects import key_object_key
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY, day_key
from compliance_pipelines.ledger.object_retention import ObjectRetention, retention_end
from compliance_pipelines.ledger.store_identity import IDENTITY_KEY
from compliance_pipelines.ledger.tiles import ENTRIES, Tile
from compliance_pipelines.ledger.timestamping import stamp_key

DAY = date(2026, 3, 5)
PART = PartKey.of(DAY, 1, bytes(32))
END_OF_DAY = datetime(2033, 3, 6, tzinfo=UTC)
END_OF_TODAY = datetime(2033, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "end"),
    [
        (PART.object_key, END_OF_DAY),
        (PART.manifest_key, END_OF_DAY),
        (day_key(DAY), END_OF_DAY),
        (stamp_key(DAY), END_OF_DAY),
        (Tile(0, 70_000).key, END_OF_TODAY),
        (Tile(ENTRIES, 3).key, END_OF_TODAY),
        (Tile(0, 70_000, 255).key, None),
        (Tile(ENTRIES, 3, 1).key, None),
        (CHECKPOINT_KEY, None),
        (COSIGNED_KEY, None),
        (key_object_key(20_260_305), None),
        (IDENTITY_KEY, None),
        ("audit-archives/2026/03/audit-logs-2026-02-30.1-00000000.0.parquet", None),
    ],
)
def test_each_kind_of_object_has_an_end_of_its_own(key: str, end: datetime | None) -> None:
    retention = ObjectRetention(7, clock=lambda: datetime(2026, 11, 11, 23, 59, tzinfo=UTC))

    assert retention(key) == end


@pytest.mark.parametrize(
    ("day", "locked"), [(date(2015, 1, 1), False), (date(2019, 11, 11), False), (date(2019, 11, 12), True)]
)
def test_what_is_older_than_its_retention_is_not_locked(day: date, locked: bool) -> None:
    """A service refuses a lock that has ended, and an imported history of ten years could not be archived."""
    retention = ObjectRetention(7, clock=lambda: datetime(2026, 11, 11, 23, 56, tzinfo=UTC))

    assert (retention(PartKey.of(day, 1, bytes(32)).object_key) is not None) == locked


@pytest.mark.parametrize(
    ("day", "years", "end"),
    [
        (date(2026, 12, 31), 7, date(2034, 1, 1)),
        (date(2024, 2, 28), 7, date(2031, 3, 1)),
        (date(2024, 2, 29), 7, date(2031, 3, 1)),
        (date(2024, 2, 28), 4, date(2028, 2, 29)),
        (date(2023, 2, 28), 1, date(2024, 3, 1)),
    ],
)
def test_retention_ends_so_many_calendar_years_after_the_day_has_ended(day: date, years: int, end: date) -> None:
    assert retention_end(day, years).date() == end
