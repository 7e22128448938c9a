"""Files that nobody vouches for are looked into apart: whatever they are, the answer comes, and memory is bounded."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compliance_pipelines.archive import examiner
from compliance_pipelines.archive.examination import Examination, MalformedExaminationError, examine
from compliance_pipelines.archive.examiner import ExaminationsExceededError, Examiner
from compliance_pipelines.archive.layout import part_root
from compliance_pipelines.archive.parquet import MOST_GROUP_ROWS, PartLabel, UnreadableParquetError, open_part
from compliance_pipelines.base.errors import TransientError
from tests.fuzz.mutations import mutated
from tests.support.hostile_files import bomb, with_a_name_that_is_no_text
from tests.unit.archive.examples import DAY, row, sealed_segments, write_part

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.ledger.segments import Segment

_ROWS = [row(number) for number in range(1, 41)]
_SEGMENTS = sealed_segments(_ROWS)
_LABEL = PartLabel.of(DAY, 1, part_root(_SEGMENTS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_part(tmp_path / "part", _ROWS, _LABEL)
    return tmp_path / "part"


def _apart(path: Path, segments: list[Segment] = _SEGMENTS) -> Examination:
    return Examiner().examine(path, label=_LABEL, day=DAY, segments=segments)


def test_a_whole_part_is_as_it_was_sealed(path: Path) -> None:
    seen = _apart(path)
    assert seen.is_as_sealed
    assert (seen.rows, seen.num_rows, seen.outside_day, seen.label_fits) == (40, 40, 0, True)
    assert seen == examine(path, label=_LABEL, day=DAY, segments=_SEGMENTS)


def test_what_differs_is_named(path: Path) -> None:
    write_part(path, _ROWS[:-1], PartLabel.of(DAY, 2, bytes(32)))
    seen = _apart(path)
    assert (seen.rows, seen.label_fits, seen.is_as_sealed) == (39, False, False)
    assert "1 entry was deleted from" in seen.differences[0]


def test_what_the_rows_say_does_nothing_to_a_terminal(path: Path) -> None:
    write_part(path, [row(1, log_entry_id="\x1b[31mred\u202e", tx_id=10**9)], _LABEL)
    assert all(text.isprintable() for text in _apart(path).differences)
    assert any("x1b[31mred" in text for text in _apart(path).differences)


def test_a_name_that_is_no_text_is_a_file_that_cannot_be_read(path: Path) -> None:
    path.write_bytes(with_a_name_that_is_no_text(path.read_bytes()))
    with pytest.raises(UnreadableParquetError, match="is no readable Parquet file"), open_part(path, name="it"):
        pass
    assert "is no readable Parquet file" in _apart(path).unreadable


def test_a_damaged_statistic_that_pyarrow_ends_its_process_over_is_an_answer(path: Path) -> None:
    data = path.read_bytes()
    for number in (316, 317):
        path.write_bytes(mutated(data, number, start=len(data) - 8 - int.from_bytes(data[-8:-4], "little")))
        assert isinstance(_apart(path), Examination)
        assert examine(path, label=_LABEL, day=DAY, segments=_SEGMENTS) == _apart(path)


def test_a_bomb_takes_no_more_memory_than_is_given_to_the_process_and_none_here(path: Path) -> None:
    path.write_bytes(bomb(label=_LABEL))
    assert path.stat().st_size < 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = _apart(path)
    assert seen.unreadable
    assert not seen.rows
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_row_group_beyond_the_format_is_refused_before_it_is_decoded(path: Path) -> None:
    path.write_bytes(bomb(rows=MOST_GROUP_ROWS + 1, label=_LABEL))
    assert f"has {MOST_GROUP_ROWS + 1:,} rows" in _apart(path).unreadable
    with pytest.raises(UnreadableParquetError, match="and none has more than"), open_part(path, name="it"):
        pass


def test_a_page_beyond_the_format_is_refused_before_it_is_decompressed(path: Path) -> None:
    table = pa.table({"a": pa.array(["x" * (300 * 2**20)])})
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 100_000
    with pytest.raises(UnreadableParquetError, match="and none has more than"), open_part(path, name="it"):
        pass


@pytest.mark.parametrize(("bound", "value"), [("_MOST_MEMORY", 2**27), ("_LEAST_SECONDS", 0)], ids=["memory", "time"])
def test_a_process_that_dies_is_an_answer(path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    monkeypatch.setattr(examiner, bound, value)
    seen = _apart(path)
    assert seen.unreadable
    assert not seen.is_as_sealed


def test_a_process_that_cannot_be_started_says_nothing_about_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(TransientError, match="no process could be started"):
        _apart(path)


def test_strangers_take_no_more_time_together_than_there_is(path: Path) -> None:
    bounded = Examiner(most_seconds=0.001)
    assert bounded.examine(path, label=_LABEL, day=DAY, segments=_SEGMENTS).is_as_sealed
    with pytest.raises(ExaminationsExceededError, match="no more is spent"):
        bounded.examine(path, label=_LABEL, day=DAY, segments=_SEGMENTS)


@pytest.mark.parametrize(
    "change",
    [
        {"rows": -1},
        {"rows": 2**70},
        {"rows": True},
        {"rows": "1"},
        {"unreadable": None},
        {"columns_fit": 1},
        {"differences": "x"},
        {"differences": [1]},
        {"differences": ["x"] * 1_000},
        {"more": 1},
    ],
)
def test_an_answer_of_another_form_is_not_taken(change: dict[str, Any]) -> None:
    values = json.loads(json.dumps(Examination().to_json()))
    assert Examination.from_json(values) == Examination()
    with pytest.raises(MalformedExaminationError):
        Examination.from_json(values | change)


def test_no_secret_of_ours_reaches_the_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER_SIGNING_KEY", "secret")
    seen: list[dict[str, str]] = []
    started = subprocess.Popen

    def watched(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - Popen's own
        seen.append(options["env"])
        return started(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", watched)
    assert _apart(path).is_as_sealed
    assert "LEDGER_SIGNING_KEY" not in seen[0]
