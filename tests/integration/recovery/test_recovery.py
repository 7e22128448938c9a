"""A database restored to an earlier moment goes on in the ledger, and nothing that was lost is hidden."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.ledger.errors import DatabaseRolledBackError
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.verification.findings import Kind, NoteKind
from tests.integration.recovery.restoring import AUTHOR, REASON, opened_at, recovered, rehearsed, remembered
from tests.integration.verification.world import TODAY

if TYPE_CHECKING:
    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from tests.integration.verification.world import World

DAY = TODAY - timedelta(days=100)
OTHER_DAY = DAY + timedelta(days=1)


def test_segments_whose_entries_are_gone_are_lost_on_record(postgres_server: EmbeddedPostgres, world: World) -> None:
    world.days.append(DAY, 3)
    with remembered(postgres_server, world) as moment:
        world.days.append(DAY, 2)
        world.days.append(OTHER_DAY, 4)
        with opened_at(postgres_server, moment, world) as restored:
            assert Kind.DATABASE_ROLLED_BACK in {each.kind for each in restored.verify().findings}
            with pytest.raises(DatabaseRolledBackError, match="compliance ledger recover"):
                seal(restored.services)

            planned, done = rehearsed(restored), recovered(restored)

            assert [each.segment.entry_count for each in done.survey.lost] == [2, 4]
            assert planned.survey == done.survey
            assert (done.known, done.published, done.size, done.finished) == (1, 3, 4, (4,))
            restored.days.append(DAY, 1)
            for report in (restored.verify(), restored.verify(DAY), restored.verify_offline()):
                assert report.findings == report.undecided == ()
                (note,) = [note for note in report.notes if note.kind is NoteKind.LOSS_ACCEPTED]
                assert f"by {AUTHOR}: {REASON}" in note.message
                assert "2 segments of" in note.message
                assert "6 entries" in note.message
            assert len(restored.days.hot_rows(DAY)) == 4
