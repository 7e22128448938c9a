"""Whatever is done to a ledger is found, is called by its name, and hides nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance_pipelines.verification.checkpoints import Store
from compliance_pipelines.verification.findings import Kind
from compliance_pipelines.verification.segment_index import Source
from tests.unit.verification.ledgers import Ledger, record

if TYPE_CHECKING:
    from compliance_pipelines.verification.findings import Report

STEPS = st.lists(st.integers(1, 4), min_size=1, max_size=8)
EXAMPLES = settings(max_examples=40)


def _said(report: Report) -> list[tuple[str, int | None, int | None]]:
    """Kind, segment and checkpoint of each finding."""
    return [(str(finding.kind), finding.segment, finding.checkpoint) for finding in report.findings]


@EXAMPLES
@given(steps=STEPS, database=st.booleans())
def test_an_intact_ledger_is_settled_to_its_end_without_a_finding(steps: list[int], database: bool) -> None:
    ledger = Ledger.of(steps, database=database)
    report, records, settled = ledger.judged(Source.DATABASE if database else Source.MANIFESTS)
    assert (report.findings, report.notes) == ((), ())
    assert records == ledger.witness
    assert settled == report.checked.segments == sum(steps)


@EXAMPLES
@given(steps=STEPS, data=st.data())
def test_every_altered_record_is_named_where_a_witness_has_it(steps: list[int], data: st.DataObject) -> None:
    ledger = Ledger.of(steps)
    altered = data.draw(st.sets(st.integers(0, sum(steps) - 1), min_size=1))
    for seq in altered:
        ledger.alter(seq)
    report, records, settled = ledger.judged()
    assert _said(report) == [("segment_altered", seq, None) for seq in sorted(altered)]
    assert [finding.day for finding in report.findings] == [record(seq).day for seq in sorted(altered)]
    assert (records, settled) == (ledger.witness, sum(steps))


@EXAMPLES
@given(steps=STEPS, data=st.data())
def test_an_altered_record_is_found_also_where_nobody_else_has_it(steps: list[int], data: st.DataObject) -> None:
    ledger = Ledger.of(steps)
    ledger.witness = []
    seq = data.draw(st.integers(0, sum(steps) - 1))
    size = ledger.alter(seq)
    report, _, settled = ledger.judged()
    first, *rest = report.findings
    assert (first.kind, first.checkpoint) == ("segment_altered", size)
    later = [other for other in ledger.sizes if other > size]
    assert [finding.kind for finding in rest] == [Kind.CHECKPOINT_UNVERIFIABLE] * bool(later)
    assert settled == max([other for other in ledger.sizes if other < size], default=0)


@EXAMPLES
@given(steps=st.lists(st.integers(1, 4), min_size=2, max_size=8), data=st.data())
def test_a_fork_is_named_by_the_checkpoint_after_it(steps: list[int], data: st.DataObject) -> None:
    ledger = Ledger.of(steps)
    ledger.witness = []
    forks = data.draw(st.sets(st.sampled_from(ledger.sizes[:-1]), min_size=1))
    for size in forks:
        ledger.fork(size)
    report, _, settled = ledger.judged()
    assert _said(report) == [("checkpoint_forked", None, size) for size in sorted(forks)]
    assert settled == sum(steps)


def test_the_last_checkpoint_is_a_fork_where_a_witness_agrees_with_the_records() -> None:
    ledger = Ledger.of([2, 3])
    ledger.fork(5)
    assert _said(ledger.judged()[0]) == [("checkpoint_forked", None, 5)]


@EXAMPLES
@given(steps=STEPS, data=st.data())
def test_a_fork_between_the_stores_is_one_finding_and_the_rest_is_judged(steps: list[int], data: st.DataObject) -> None:
    ledger = Ledger.of(steps, database=True)
    size = data.draw(st.sampled_from(ledger.sizes))
    store = data.draw(st.sampled_from([Store.COLD, Store.DATABASE]))
    ledger.fork(size, store)
    report, records, settled = ledger.judged(Source.DATABASE)
    assert _said(report) == [("checkpoint_forked", None, size)]
    assert records == ledger.witness
    if size != ledger.sizes[-1]:
        assert f"in the {store} is signed over root" in report.findings[0].message
        assert settled == sum(steps)


@EXAMPLES
@given(steps=STEPS, data=st.data())
def test_the_database_fills_the_gap_of_missing_checkpoints(steps: list[int], data: st.DataObject) -> None:
    ledger = Ledger.of(steps, database=True)
    for size in data.draw(st.sets(st.sampled_from(ledger.sizes))):
        ledger.forget(size)
    report, records, settled = ledger.judged(Source.DATABASE)
    assert report.findings == ()
    assert (records, settled) == (ledger.witness, sum(steps))


@EXAMPLES
@given(steps=st.lists(st.integers(1, 4), min_size=2, max_size=8), data=st.data())
def test_manifests_fill_the_gap_of_missing_records(steps: list[int], data: st.DataObject) -> None:
    ledger = Ledger.of(steps)
    for size in data.draw(st.sets(st.sampled_from(ledger.sizes[:-1]), min_size=1)):
        ledger.forget(size)
    report, records, settled = ledger.judged()
    assert report.findings == ()
    assert (records, settled) == (ledger.witness, sum(steps))


def test_behind_a_gap_that_nothing_fills_nothing_is_known_and_that_is_said_once() -> None:
    ledger = Ledger.of([2, 1, 1, 2, 3])
    ledger.witness = []
    ledger.forget(3)
    report, _, settled = ledger.judged()
    assert _said(report) == [("checkpoint_unverifiable", None, 4)]
    assert "3 checkpoints, 4 to 9, are validly signed, but cannot be recomputed" in report.findings[0].message
    assert settled == 2


@EXAMPLES
@given(steps=st.lists(st.integers(1, 4), min_size=2, max_size=8), data=st.data())
def test_what_is_wrong_in_both_stores_does_not_keep_the_rest_from_being_judged(
    steps: list[int], data: st.DataObject
) -> None:
    ledger = Ledger.of(steps, database=True)
    seq = data.draw(st.integers(0, steps[0] - 1))
    ledger.alter(seq)
    ledger.alter_witness(seq)
    later = data.draw(st.integers(steps[0], sum(steps) - 1))
    ledger.alter(later)
    report, _, settled = ledger.judged(Source.DATABASE)
    assert _said(report) == [("segment_altered", 0, steps[0]), ("segment_altered", later, None)]
    assert "in neither store as checkpoint" in report.findings[0].message
    assert settled == sum(steps)


@EXAMPLES
@given(steps=st.lists(st.integers(1, 4), min_size=2, max_size=8), data=st.data())
def test_a_checkpoint_that_nobody_signed_is_settled_by_the_next_one(steps: list[int], data: st.DataObject) -> None:
    ledger = Ledger.of(steps)
    ledger.witness = []
    for size in data.draw(st.sets(st.sampled_from(ledger.sizes[:-1]), min_size=1)):
        ledger.unsign(size)
    report, _, settled = ledger.judged()
    assert (report.findings, report.notes, settled) == ((), (), sum(steps))


def test_records_under_no_valid_signature_at_the_end_are_a_note() -> None:
    ledger = Ledger.of([2, 3])
    ledger.unsign(5)
    report, _, settled = ledger.judged()
    assert (report.findings, settled) == ((), 2)
    assert [note.message for note in report.notes] == ["segments 2 to 4 are known, but under no valid signature"]


@pytest.mark.parametrize("size", [10**9, 2**62])
def test_a_size_out_of_the_blue_costs_nothing(size: int) -> None:
    ledger = Ledger.of([2])
    ledger.roots[size] = {Store.COLD: bytes(32)}
    report, _, settled = ledger.judged()
    assert settled == 2
    assert _said(report) == [("checkpoint_unverifiable", None, size)]
