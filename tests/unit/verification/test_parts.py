"""What the read-back of a part cannot know: whether its entries are of the part's day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.layout import object_key, part_root
from compliance_pipelines.archive.manifest import Manifest
from compliance_pipelines.archive.parquet import PartLabel, PartWriter
from compliance_pipelines.archive.readback import ColdArchive
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.hashing import SegmentHasher
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.verification.parts import check_committed, run_leading_to
from tests.unit.archive.examples import DAY, batch_of, row
from tests.unit.verification.ledgers import record

if TYPE_CHECKING:
    from pathlib import Path

KEY: Final = SigningKey.generate("tests.example/audit")
MIDNIGHT: Final = datetime.combine(DAY, datetime.min.time(), UTC)


def _committed(store: LocalObjectStore, path: Path, times: list[datetime]) -> Manifest:
    """A part whose rows have these times, sealed, written and committed by software that does not look at them."""
    batch = batch_of([row(number, timestamp=moment, tx_id=1000) for number, moment in enumerate(times)])
    draft = replace(record(0), day=DAY, tx_from=1000, tx_to=1001, entry_count=len(times))
    hasher = SegmentHasher([draft])
    hasher.feed(batch)
    hashed = hasher.result(0)
    segment = replace(draft, root=hashed.root, first_id=hashed.first_id, last_id=hashed.last_id)
    root = part_root([segment])
    with PartWriter(path, PartLabel.of(DAY, 1, root), len(times)) as writer:
        writer.write(batch)
        written = writer.finish()
    key = object_key(DAY, 1, root)
    store.put_file(key, path)
    return Manifest(
        day=DAY,
        part=1,
        object_key=key,
        object_sha256=written.sha256,
        object_bytes=written.size,
        entry_count=len(times),
        canonical_bytes=hasher.canonical_bytes,
        first_id=segment.first_id,
        last_id=segment.last_id,
        root=root,
        segments=(segment,),
        created_at=datetime.now(UTC),
    )


@pytest.mark.parametrize(
    ("times", "outside"),
    [
        ([MIDNIGHT, MIDNIGHT + timedelta(days=1, microseconds=-1)], 0),
        ([MIDNIGHT - timedelta(microseconds=1), MIDNIGHT], 1),
        ([MIDNIGHT, MIDNIGHT + timedelta(days=1), MIDNIGHT + timedelta(days=400)], 2),
    ],
)
def test_entries_of_another_day_are_found_although_everything_else_fits(
    tmp_path: Path, times: list[datetime], outside: int
) -> None:
    store = LocalObjectStore(tmp_path / "cold")
    store.create()
    manifest = _committed(store, tmp_path / "file", times)
    rows: list[int] = []
    outcome = check_committed(ColdArchive(store, KEY.verifier_key()), manifest, rows.append)
    assert (outcome.object_is_there, outcome.entries, sum(rows)) == (True, len(times), len(times))
    assert [(str(finding.kind), finding.day) for finding in outcome.findings] == [("entry_outside_day", DAY)] * bool(
        outside
    )
    if outside:
        assert f"holds {outside} entries whose timestamp is not of {DAY}" in outcome.findings[0].message


def test_the_segments_of_a_part_are_found_by_their_root() -> None:
    records = [record(seq) for seq in (0, 3, 6, 9)]
    for start in range(4):
        for end in range(start + 1, 5):
            root = part_root(records[start:end])
            assert run_leading_to(records, root.__eq__) == records[start:end]
            assert run_leading_to(records, root.__eq__, [records[start].seq]) == records[start:end]
            assert run_leading_to(records, root.__eq__, [99]) is None
    assert run_leading_to(records, lambda _: False) is None
    assert run_leading_to([], lambda _: True) is None
