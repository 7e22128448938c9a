from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.archive.readback import Damage
from compliance_pipelines.base.printable import printable
from compliance_pipelines.verification import findings
from compliance_pipelines.verification.findings import Finding, Journal, Kind, Note, NoteKind, Undecided
from compliance_pipelines.verification.runs import CheckpointRuns

if TYPE_CHECKING:
    import pytest


@given(st.text(st.characters(), max_size=200))
def test_a_message_does_nothing_to_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
    assert printable("é 😀 " + "a") == "é 😀 a"


def test_a_message_has_an_end() -> None:
    assert len(Finding(kind=Kind.DAY_MISSING, message="x" * 10**6).message) < 1_100


def test_every_damage_of_the_read_back_has_a_kind_but_the_one_that_is_named_otherwise() -> None:
    assert {damage.value for damage in Damage} - {"segment_altered"} <= {kind.value for kind in Kind}


def test_a_finding_and_an_undecided_thing_are_not_ok_and_a_note_is() -> None:
    journal = Journal()
    journal.note(Note(kind=NoteKind.GAP, message="m"))
    assert journal.report().ok
    journal.cannot_tell(Undecided("m"))
    assert not journal.report().ok
    journal = Journal()
    journal.find(Finding(kind=Kind.DAY_MISSING, message="m"))
    assert not journal.report().ok


def test_findings_are_told_at_once_and_in_order() -> None:
    told: list[Finding] = []
    journal = Journal(told.append)
    for kind in (Kind.DAY_MISSING, Kind.ENTRY_ALTERED):
        journal.find(Finding(kind=kind, message="m"))
    assert tuple(told) == journal.report().findings


def test_too_many_of_one_kind_are_counted_and_hide_no_other_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_MOST_OF_A_KIND", 3)
    told: list[Finding] = []
    journal = Journal(told.append)
    for number in range(10):
        journal.find(Finding(kind=Kind.OBJECT_MISSING, message=str(number)))
    journal.find(Finding(kind=Kind.DAY_MISSING, message="last"))
    report = journal.report()
    assert [finding.message for finding in report.findings] == ["0", "1", "2", "last"]
    assert len(told) == 4
    assert (report.omitted, report.finding_count) == ({"object_missing": 7}, 11)


def test_the_json_has_every_field_and_can_be_written() -> None:
    journal = Journal()
    journal.find(Finding(kind=Kind.OBJECT_ALTERED, day=date(2026, 7, 1), part=1, key="a\x1b", message="m"))
    journal.cannot_tell(Undecided("m", day=date(2026, 7, 2)))
    document = json.loads(json.dumps(journal.report().to_json()))
    assert document["findings"] == [
        {
            "kind": "object_altered",
            "message": "m",
            "day": "2026-07-01",
            "part": 1,
            "key": "a\\x1b",
            "segment": None,
            "checkpoint": None,
        }
    ]
    assert document["undecided"] == [{"day": "2026-07-02", "message": "m"}]
    assert set(document) == {"ok", "checked", "findings", "notes", "undecided", "omitted", "replica"}


def _runs(problems: dict[int, list[tuple[Kind, str]]], sizes: range) -> list[tuple[str, int | None, str]]:
    journal = Journal()
    runs = CheckpointRuns(journal)
    for size in sizes:
        for kind, where in problems.get(size, []):
            runs.add(kind, where, size, f"{where} {size}")
        runs.next_size()
    runs.finish()
    return [(str(finding.kind), finding.checkpoint, finding.message) for finding in journal.report().findings]


def test_consecutive_checkpoints_with_the_same_problem_are_one_finding() -> None:
    problems = {size: [(Kind.CHECKPOINT_MISSING, "cold")] for size in (1, 2, 3, 5)}
    assert _runs(problems, range(1, 7)) == [
        ("checkpoint_missing", 1, "cold 1; the same is true of 2 more in a row, up to checkpoint 3"),
        ("checkpoint_missing", 5, "cold 5"),
    ]


def test_problems_of_other_kinds_or_stores_are_not_joined() -> None:
    problems = {
        1: [(Kind.CHECKPOINT_MISSING, "cold"), (Kind.CHECKPOINT_ALTERED, "database")],
        2: [(Kind.CHECKPOINT_ALTERED, "cold"), (Kind.CHECKPOINT_ALTERED, "database")],
    }
    assert sorted(_runs(problems, range(1, 4))) == [
        ("checkpoint_altered", 1, "database 1; the same is true of 1 more in a row, up to checkpoint 2"),
        ("checkpoint_altered", 2, "cold 2"),
        ("checkpoint_missing", 1, "cold 1"),
    ]
