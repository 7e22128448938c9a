"""A reader of Dagster's pages sees days archived, sees one damaged, and sees it whole again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from datetime import date

    from tests.ui.pages import DagsterPages

pytestmark = pytest.mark.ui


def test_a_damaged_part_is_seen_and_its_repair_too(
    pages: DagsterPages, stack: dict[str, str], days: list[date]
) -> None:
    pages.materialize(f"[{days[0]}...{days[-1]}]")
    pages.partition_bar_says(materialized=len(days), failed=0)
    pages.picture("cold-archive-partitions")
    pages.graph_shows("audit_log", "ledger", "audit_retention", "gdpr")
    pages.picture("asset-graph")
    damaged = days[4]
    (part,) = Path(stack["AUDIT_COLD_STORAGE_PATH"]).rglob(f"*{damaged}*.parquet")
    whole = part.read_bytes()
    part.chmod(0o600)
    part.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    pages.materialize(str(damaged))
    pages.partition_bar_says(materialized=len(days) - 1, failed=1)
    pages.partition_says(damaged, "failed, and did not materialize this asset")
    # Below is where this test keeps its files.
    pages.picture("damaged-partition", height=690)
    pages.check_is("checksum", "Failed")
    pages.picture("damaged-check")

    part.write_bytes(whole)
    pages.materialize(str(damaged))
    pages.partition_bar_says(materialized=len(days), failed=0)
    pages.check_is("checksum", "Succeeded")
