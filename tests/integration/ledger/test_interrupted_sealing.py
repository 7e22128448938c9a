from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from compliance_pipelines.ledger import sealing
from compliance_pipelines.ledger.hashing import SegmentHasher
from compliance_pipelines.services import open_services
from tests.support.killed import die, dying_at, is_killed
from tests.support.sealing import seal_all, settle

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days
    from tests.integration.ledger.inspector import Inspector


class DyingHasher(SegmentHasher):
    """Dies when leaves were hashed, before the day's root is known."""

    def feed(self, batch: pa.RecordBatch) -> Hashes:
        leaves = super().feed(batch)
        die()
        return leaves


def seal_and_be_killed(services: Services, moment: str) -> None:
    """Run a pass in a process of its own that kills itself; its database session may outlive it for a moment.

    Args:
        services: whose settings the process has.
        moment: a step and how often it is let pass before (`hashed:1`), or `hashing`.
    """
    settle(services)
    name, _, passes = moment.partition(":")

    def work() -> None:
        hasher = DyingHasher if name == "hashing" else SegmentHasher
        with mock.patch.object(sealing, "SegmentHasher", hasher), open_services(services.settings) as own:
            sealing.seal(own, step=dying_at(name, after=int(passes or 0)))

    assert is_killed(work)


@pytest.mark.parametrize(
    ("moment", "committed"),
    [
        ("hashing", False),
        ("hashed:0", False),
        ("hashed:1", False),
        ("inserted", False),
        ("committed", True),
        ("tiles put", True),
        ("partial tiles removed", True),
        ("checkpoint put", True),
        ("published", True),
        ("publication recorded", True),
    ],
)
def test_a_pass_killed_at_any_step_is_healed_by_the_next_one(
    days: Days, inspector: Inspector, day: date, moment: str, committed: bool
) -> None:
    entries = days.append(day, 4)
    entries += days.append(day, 3, sealed=False) + days.append(day + timedelta(days=1), 2, sealed=False)

    seal_and_be_killed(days.services, moment)
    assert (len(inspector.segments()) == 3) == committed
    entries += days.append(day, 1, sealed=False)
    result = seal_all(days.services)

    assert result.entries == (1 if committed else 6)
    inspector.assert_each_is_sealed_once(each.log_entry_id for each in entries)


def test_a_pass_killed_while_it_heals_another_is_healed_too(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    entries = days.append(day, 2)
    for moment in ("committed", "published"):
        entries += days.append(day, 2, sealed=False)
        seal_and_be_killed(services, moment)
    # The second pass was killed at the first checkpoint that it published: that of the pass before.
    assert inspector.size() == 2

    assert seal_all(services).published == (2, 3)
    inspector.assert_each_is_sealed_once(each.log_entry_id for each in entries)


def test_what_was_committed_is_published_even_when_nothing_new_came(
    services: Services, days: Days, inspector: Inspector, day: date
) -> None:
    entries = days.append(day, 2, sealed=False)
    seal_and_be_killed(services, "committed")
    assert inspector.size() == 0

    result = seal_all(services)

    assert (result.checkpoint, result.published) == (None, (1,))
    inspector.assert_each_is_sealed_once(each.log_entry_id for each in entries)
