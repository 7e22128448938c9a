"""A loss counts because it is signed, and not because a database says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.ledger import store
from compliance_pipelines.ledger.anchored import SegmentNotAnchoredError
from compliance_pipelines.ledger.losses import Loss
from compliance_pipelines.ledger.records import Statement, StatementKind
from compliance_pipelines.verification.findings import Kind, NoteKind
from tests.integration.recovery.restoring import assert_sound, opened_at, recovered, remembered
from tests.integration.verification.world import TODAY
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

DAY: Final = TODAY - timedelta(days=100)


def hide(world: World, seq: int) -> Segment:
    """Let a segment stand among the records that no entry is looked up by, and its entries disappear."""
    with world.services.engine.connect() as connection:
        (segment,) = store.segments_between(connection, seq, seq + 1)
    world.execute("DELETE FROM ledger_segments WHERE seq = :seq", seq=seq)
    world.execute(
        "INSERT INTO ledger_statements (seq, record) VALUES (:seq, :record)", seq=seq, record=segment.record_bytes()
    )
    world.execute(
        "DELETE FROM audit_logs WHERE tx_id >= :tx_from AND tx_id < :tx_to",
        tx_from=segment.tx_from,
        tx_to=segment.tx_to,
    )
    return segment


def test_a_loss_that_nobody_signed_hides_nothing(world: World) -> None:
    world.days.append(DAY, 2)
    world.days.append(DAY, 3)
    segment = hide(world, 1)
    loss = Loss(((1, 2),), 3, 0, "nobody", "nothing happened")
    forged = Statement(2, StatementKind.LOSS, segment.tx_to, datetime.now(UTC), loss.to_body())
    world.execute("INSERT INTO ledger_statements VALUES (2, :record)", record=forged.record_bytes())

    for report in (world.verify(), world.verify(DAY)):
        kinds = {finding.kind for finding in report.findings}
        assert {Kind.ENTRY_DELETED, Kind.SEGMENT_INSERTED, Kind.SEGMENT_ALTERED} <= kinds
        assert [note for note in report.notes if note.kind is NoteKind.LOSS_ACCEPTED] == []
    with pytest.raises(SegmentNotAnchoredError):
        archive_day(world.services, DAY)


def test_a_segment_that_is_hidden_is_found(world: World) -> None:
    world.days.append(DAY, 2)
    world.days.append(DAY, 3)
    hide(world, 1)
    findings = world.verify().findings
    assert Kind.ENTRY_DELETED in {finding.kind for finding in findings}
    assert ["hidden" in each.message for each in findings if each.kind is Kind.SEGMENT_ALTERED] == [True]
    with pytest.raises(SegmentNotAnchoredError):
        archive_day(world.services, DAY)


def test_a_void_segment_that_stands_again_is_found(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 1)
    with remembered(postgres_server, world) as moment:
        world.days.append(DAY, 2)
        with opened_at(postgres_server, moment, world) as restored:
            (lost,) = recovered(restored).survey.lost
            seal_all(restored.services)
            assert_sound(restored)
            values = vars(lost.segment)
            names = ", ".join(f":{name}" for name in values)
            restored.execute(f"INSERT INTO ledger_segments ({', '.join(values)}) VALUES ({names})", **values)
            restored.execute("DELETE FROM ledger_statements WHERE seq = :seq", seq=lost.segment.seq)
            finding, miscounted = restored.verify().findings
            assert finding.kind is Kind.SEGMENT_ALTERED
            assert "void by an accepted loss" in finding.message
            assert "archive_backlog counts" in miscounted.message
            with pytest.raises(SegmentNotAnchoredError):
                archive_day(restored.services, DAY)
