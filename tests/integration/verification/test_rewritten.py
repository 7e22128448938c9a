"""Whoever can write to every table, or put an old database in the place of the new one, is found out all the same."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.catalogue import segments_of_day
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.ledger import store
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, sign_checkpoint
from compliance_pipelines.ledger.hashing import SegmentHasher
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.verification.online import verify
from tests.integration.verification.world import (
    ARCHIVED,
    HOT,
    KEY,
    OTHER_ARCHIVED,
    PURGED,
    SIZES,
    World,
    kinds,
)
from tests.support.logins import database_of
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres

OTHER_KEY: Final = SigningKey(KEY.name, bytes(32))


def _alter_entry_and_its_segment(world: World) -> None:
    """Change an entry, and let the segment record say that it always was so."""
    first = world.days.hot_rows(HOT)[0][0]
    world.execute("UPDATE audit_logs SET result = 'denied' WHERE id = :id", id=first)
    with world.services.engine.connect() as connection:
        segment, _ = segments_of_day(connection, HOT)[0]
    hasher = SegmentHasher([segment])
    with read_rows(world.services.engine, day=HOT, tx_from=segment.tx_from, tx_to=segment.tx_to) as batches:
        for batch in batches:
            hasher.feed(batch)
    root = hasher.result(0).root
    assert root != segment.root
    world.execute("UPDATE ledger_segments SET root = :root WHERE seq = :seq", root=root, seq=segment.seq)


def _rewrite_checkpoints(world: World, key: SigningKey | None) -> None:
    """Let all checkpoints of the database follow from its segment records; with a key, signed anew."""
    with world.services.engine.connect() as connection:
        records = list(store.records(connection))
    head = LedgerHead()
    for size in SIZES:
        added = records[head.size : size]
        head = head.extended(added)
        world.execute(
            "UPDATE ledger_checkpoints SET root = :root, frontier = :frontier WHERE size = :size",
            root=head.root,
            frontier=head.frontier,
            size=size,
        )
        if key is not None:
            note = sign_checkpoint(Checkpoint(key.name, size, head.root), key)
            world.execute("UPDATE ledger_checkpoints SET note = :note WHERE size = :size", note=note, size=size)


@pytest.mark.parametrize(
    ("key", "kind", "says"),
    [
        (None, "checkpoint_altered", "checkpoint 4 in the database was altered: its root is"),
        (OTHER_KEY, "checkpoint_of_another_key", "checkpoint 2 in the database is signed by another key"),
        (KEY, "checkpoint_forked", "checkpoint 9 is signed over two roots"),
    ],
)
def test_a_database_that_was_rewritten_as_a_whole_is_found_by_the_published_checkpoints(
    world: World, monkeypatch: pytest.MonkeyPatch, key: SigningKey | None, kind: str, says: str
) -> None:
    # As where there are very many rows: processes look at the signatures.
    monkeypatch.setattr("compliance_pipelines.verification.signed_rows._FEW", 0)
    _alter_entry_and_its_segment(world)
    _rewrite_checkpoints(world, key)
    for report in (world.verify(), world.verify(HOT)):
        assert set(kinds(report)) == {kind, "entry_altered", "segment_altered"}
        messages = "\n".join(finding.message for finding in report.findings)
        assert says in messages
        assert f"the record of segment 3 of {HOT} in the database was altered" in messages
        assert "at least one of the 6 entries of segment 3 was altered" in messages
    forks = [finding for finding in world.verify().findings if finding.kind == "checkpoint_forked"]
    assert len(forks) == (1 if key is KEY else 0)


def test_a_database_from_which_a_day_was_erased_in_every_table_is_found_out(world: World) -> None:
    """The day's rows, segments, parts and everything after them in the ledger."""
    world.execute(f"DROP TABLE audit_logs_{HOT:%Y_%m_%d}")
    world.execute("DELETE FROM archived_segments WHERE segment_seq >= 3")
    world.execute("DELETE FROM archived_audit_logs WHERE part = 2")
    world.execute("DELETE FROM ledger_segments WHERE seq >= 3")
    world.execute("DELETE FROM ledger_publications WHERE size >= 4")
    world.execute("DELETE FROM ledger_checkpoints WHERE size >= 4")
    report = world.verify()
    assert {"database_rolled_back", "day_missing"} <= set(kinds(report))
    missing = next(finding for finding in report.findings if finding.kind == "day_missing")
    assert missing.day == HOT
    assert "nothing is left of its 10 sealed entries" in missing.message
    assert "day_missing" in kinds(world.verify(HOT))


def test_a_database_restored_to_an_older_state_is_found_and_what_it_lost_is_named(
    world: World, postgres_server: EmbeddedPostgres
) -> None:
    name, old = database_of(world.services.engine), f"test_{uuid.uuid4().hex}"
    world.services.engine.dispose()
    world.days.superuser.dispose()
    postgres_server.create_database(old, template=name)
    try:
        world.days.append(HOT, 3, sealed=False)
        seal_all(world.services)
        new_day = HOT + timedelta(days=1)
        world.days.append(new_day, 2, sealed=False)
        seal_all(world.services)
        assert world.verify().ok

        engine = create_engine(world.services.settings.require_database_url().replace(name, old))
        restored = replace(world.services, engine=engine)
        report = verify(restored)
        alone = verify(restored, [new_day])
        engine.dispose()
    finally:
        postgres_server.drop_database(old)
    assert kinds(report) == ["database_rolled_back", "day_missing", "entry_deleted"]
    by_kind = {str(finding.kind): finding for finding in report.findings}
    assert "the cold store holds checkpoints up to that of 12 records, and the database ends at 9" in (
        by_kind["database_rolled_back"].message
    )
    assert by_kind["day_missing"].day == new_day
    assert (by_kind["entry_deleted"].day, by_kind["entry_deleted"].segment) == (HOT, 9)
    assert kinds(alone) == ["database_rolled_back", "day_missing"]


def test_a_day_that_is_gone_from_the_bucket_is_a_note_and_a_finding_for_who_knows_that_it_was_archived(
    world: World,
) -> None:
    world.remove(world.manifest_path(ARCHIVED), world.object_path(ARCHIVED))
    report = world.verify_offline()
    assert report.ok
    gap = next(note for note in report.notes if note.kind == "gap")
    assert gap.day == ARCHIVED
    assert "17 sealed entries are (segment 2 to 4) in no part, and later days are archived" in gap.message

    (finding,) = world.verify_offline(archived_through=OTHER_ARCHIVED).findings
    assert (finding.kind, finding.day) == ("day_missing", ARCHIVED)
    assert f"everything through {OTHER_ARCHIVED} must be archived" in finding.message
    assert world.verify_offline(archived_through=PURGED).ok


def test_late_entries_that_no_part_holds_are_a_finding_for_who_knows_that_they_were_archived(world: World) -> None:
    world.remove(world.manifest_path(PURGED, 2), world.object_path(PURGED, 2))
    assert world.verify_offline().ok
    (finding,) = world.verify_offline(archived_through=OTHER_ARCHIVED).findings
    assert (finding.kind, finding.day, finding.segment) == ("part_missing", PURGED, 5)
