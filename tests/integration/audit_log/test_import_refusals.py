"""Lines that are refused stop an import, or are kept beside it unchanged with their reasons."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from compliance_pipelines.audit_log.import_source import ImportFileError
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.refusals import ImportRefusedError
from compliance_pipelines.audit_log.rejects import reasons_path
from compliance_pipelines.base.errors import ComplianceError
from tests.integration.audit_log.entries import entry, ids, stored
from tests.integration.audit_log.import_files import line, lines, moved, own_entries, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.audit_log.importing import ImportResult
    from compliance_pipelines.services import Services

    Import = Callable[..., ImportResult]

# Refused lines

# Ahead of any clock that these tests may meet.
FUTURE = datetime(9000, 1, 1, tzinfo=UTC)
REFUSED = {
    "bad JSON": ("{rubbish", "it is not JSON"),
    "missing field": ('{"log_entry_id": "x"}', "the field timestamp is missing"),
    "unknown field": (line(entry(1))[:-1] + ', "ip": 1}', "the field 'ip' is unknown"),
    "bad time": (line(entry(1)).replace("2025-10-01T", "2025-13-01T"), "is no moment"),
    "naive time": (line(entry(1)).replace("+00:00", ""), "not of the form"),
    "NUL in text": (line(entry(1)).replace("alice", "a\\u0000b"), "NUL"),
    "NUL in metadata": (line(entry(1)).replace("latency_ms", "\\u0000"), "NUL"),
    "NUL itself": (line(entry(1)).replace("alice", "a\0b"), "it is not JSON"),
    "too long": (line(entry(1)) + " " * 2**20, "it is longer than 1,048,576 bytes"),
    "before the first day": (line(entry(1, timestamp=datetime(2014, 1, 1, tzinfo=UTC))), "set AUDIT_LOG_FIRST_DAY"),
    "in the future": (line(entry(1, timestamp=FUTURE)), "more than 5 minutes in the future"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_line_stops_the_import_with_its_number_and_the_reason(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, kind: str
) -> None:
    bad, reason = REFUSED[kind]
    file = write(tmp_path / "events", [*lines([1, 2]), bad, *lines([3])])
    with pytest.raises(ImportRefusedError) as caught:
        importing(file)
    assert caught.value.count == 1
    (refused,) = caught.value.lines
    assert refused.number == 3
    assert reason in refused.reason
    assert "Nothing was imported" in str(caught.value)
    assert stored(engine) == []
    assert own_entries(engine) == []


@pytest.mark.parametrize("kind", REFUSED)
def test_with_rejects_the_line_is_kept_unchanged_and_the_rest_is_imported(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, kind: str
) -> None:
    bad, reason = REFUSED[kind]
    rejects = tmp_path / "rejects"
    result = importing(write(tmp_path / "events", [*lines([1, 2]), bad, *lines([3])]), rejects=rejects)
    assert (result.new, result.repeated, result.refused) == (3, 0, 1)
    assert rejects.read_bytes() == f"{bad}\n".encode()
    (why,) = map(json.loads, reasons_path(rejects).read_text().splitlines())
    assert why["line"] == 3
    assert reason in why["reason"]
    assert ids(stored(engine)) == ["entry-1", "entry-2", "entry-3"]


def test_a_line_that_is_not_utf_8_is_kept_as_it_is(importing: Import, tmp_path: Path) -> None:
    bad = line(entry(1)).encode().replace(b"alice", b"al\xffce") + b"\r\n"
    (tmp_path / "events").write_bytes(bad)
    with pytest.raises(ImportRefusedError, match="line 1: it is not UTF-8: invalid start byte at byte "):
        importing(tmp_path / "events")
    importing(tmp_path / "events", rejects=tmp_path / "rejects")
    assert (tmp_path / "rejects").read_bytes() == bad


@pytest.mark.parametrize("zipped", [False, True])
def test_a_mark_at_the_start_of_the_file_moves_no_number_and_goes_to_no_rejects(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, zipped: bool
) -> None:
    content = ["\ufeff" + line(entry(1)), "{rubbish", "\ufeff" + line(entry(2)), line(entry(3))]
    file, rejects = write(tmp_path / "events", content, zipped=zipped), tmp_path / "rejects"
    result = importing(file, rejects=rejects)
    assert (result.new, result.refused) == (2, 2)
    assert rejects.read_text() == f"{content[1]}\n{content[2]}\n"
    reasons = [json.loads(why) for why in reasons_path(rejects).read_text().splitlines()]
    assert [(why["line"], "at character 1" in why["reason"]) for why in reasons] == [(2, False), (3, True)]
    assert own_entries(engine)[0].metadata["file_bytes"] == file.stat().st_size
    # The file of the refused lines begins with line 2, and then with a mark of its own: it is set right and imported.
    assert importing(write(tmp_path / "right", content[2:3])).new == 1
    assert ids(stored(engine)) == ["entry-1", "entry-3", "entry-2"]


def test_a_first_line_that_is_refused_is_kept_without_the_mark_of_its_file(importing: Import, tmp_path: Path) -> None:
    with pytest.raises(ImportRefusedError, match=r"line 1: it is not JSON: .* at character 2"):
        importing(write(tmp_path / "events", ["\ufeff{rubbish"]))
    importing(write(tmp_path / "events", ["\ufeff{rubbish"]), rejects=tmp_path / "rejects")
    assert (tmp_path / "rejects").read_text() == "{rubbish\n"


def test_a_file_that_is_not_utf_8_by_its_mark_is_refused_as_a_whole(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    (tmp_path / "events").write_text("\n".join(lines([1, 2])), encoding="utf-16")
    with pytest.raises(ImportFileError, match="events is UTF-16: write it as UTF-8; nothing was imported"):
        importing(tmp_path / "events", rejects=tmp_path / "rejects")
    assert not (tmp_path / "rejects").exists()
    assert stored(engine) == []


def test_many_refused_lines_are_all_counted_and_the_first_ones_named(importing: Import, tmp_path: Path) -> None:
    with pytest.raises(ImportRefusedError) as caught:
        importing(write(tmp_path / "events", ["x"] * 1234 + lines([1])))
    assert caught.value.count == 1234
    assert [refused.number for refused in caught.value.lines] == list(range(1, 11))
    assert "1,234 lines are refused, of which 10 are: line 1: it is not JSON" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_kept_lines_that_were_set_right_are_imported(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    rejects = tmp_path / "rejects"
    importing(write(tmp_path / "events", [*lines([1]), line(entry(2)).replace("success", "\\u0000")]), rejects=rejects)
    rejects.write_text(rejects.read_text().replace("\\u0000", "success"))
    assert importing(rejects).new == 1
    assert stored(engine) == [entry(1), entry(2)]


def test_rejects_that_are_there_already_are_not_replaced(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine
) -> None:
    (tmp_path / "rejects").write_text("kept")
    with pytest.raises(ComplianceError, match="rejects exists"):
        importing(write(tmp_path / "events", [*lines([1]), "x"]), rejects=tmp_path / "rejects")
    assert (tmp_path / "rejects").read_text() == "kept"
    assert stored(engine) == []


# The same id at another time


@pytest.mark.parametrize("offset", [{"seconds": 1}, {"days": 3}, {"days": -300}])
def test_an_id_at_another_time_in_the_file_is_refused_from_the_second_line_on(
    importing: Import, tmp_path: Path, engine: sqlalchemy.Engine, offset: dict[str, float]
) -> None:
    content = [*lines([1, 2]), line(moved(1, **offset)), *lines([1]), line(moved(1, hours=7))]
    file = write(tmp_path / "events", content)
    with pytest.raises(ImportRefusedError) as caught:
        importing(file)
    assert [refused.number for refused in caught.value.lines] == [3, 5]
    assert f"'entry-1' stands at {entry(1).timestamp.isoformat()} in line 1 and at " in str(caught.value)
    assert stored(engine) == []

    result = importing(file, rejects=tmp_path / "rejects")
    assert (result.new, result.repeated, result.refused) == (2, 1, 2)
    assert (tmp_path / "rejects").read_text() == f"{content[2]}\n{content[4]}\n"
    assert stored(engine) == [entry(1), entry(2)]


@pytest.mark.parametrize("offset", [{"seconds": 1}, {"days": 3}, {"days": -300}])
def test_an_id_at_another_time_in_the_database_is_refused(
    importing: Import, services: Services, tmp_path: Path, offset: dict[str, float]
) -> None:
    AuditLog(services.engine).append(entry(1))
    file = write(tmp_path / "events", [line(moved(1, **offset)), *lines([1, 2])])
    with pytest.raises(ImportRefusedError) as caught:
        importing(file)
    assert [refused.number for refused in caught.value.lines] == [1]
    assert f"'entry-1' stands at {entry(1).timestamp.isoformat()} in the audit log and at " in str(caught.value)
    assert stored(services.engine) == [entry(1)]

    result = importing(file, rejects=tmp_path / "rejects")
    assert (result.new, result.repeated, result.refused) == (1, 1, 1)
    assert (tmp_path / "rejects").read_text() == f"{line(moved(1, **offset))}\n"
    assert stored(services.engine) == [entry(1), entry(2)]


def test_refusals_of_every_kind_are_counted_together(importing: Import, services: Services, tmp_path: Path) -> None:
    AuditLog(services.engine).append(entry(1))
    content = [line(moved(1, hours=1)), "rubbish", *lines([2]), line(moved(2, hours=1)), line(moved(1, hours=2))]
    with pytest.raises(ImportRefusedError) as caught:
        importing(write(tmp_path / "events", content))
    assert [refused.number for refused in caught.value.lines] == [1, 2, 4, 5]
    assert caught.value.count == 4


class OneByOne:
    """What becomes of lines that are appended one after the other: the promise that an import is held to."""

    def __init__(self, present: list[AuditEntry]) -> None:
        self.times = {each.log_entry_id: each.timestamp for each in present}
        self.new: list[str] = []
        self.repeated = 0
        self.refused: list[str] = []

    def take(self, text: str, each: AuditEntry | None) -> None:
        if each is None or self.times.get(each.log_entry_id, each.timestamp) != each.timestamp:
            self.refused.append(text)
        elif each.log_entry_id in self.times:
            self.repeated += 1
        else:
            self.times[each.log_entry_id] = each.timestamp
            self.new.append(each.log_entry_id)


some_entries = st.builds(moved, st.integers(0, 4), hours=st.sampled_from([0, 0, 0, 1, 30]))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    present=st.lists(st.integers(0, 4).map(entry), unique_by=lambda each: each.log_entry_id, max_size=3),
    content=st.lists(some_entries | st.none(), max_size=12),
)
def test_a_file_does_what_its_lines_would_do_one_by_one(
    importing: Import,
    superuser_engine: sqlalchemy.Engine,
    tmp_path: Path,
    present: list[AuditEntry],
    content: list[AuditEntry | None],
) -> None:
    with superuser_engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("DELETE FROM audit_logs"))
    for path in tmp_path.glob("rejects*"):
        path.unlink()
    AuditLog(superuser_engine).append_many(present)
    expected = OneByOne(present)
    for each in content:
        expected.take("rubbish" if each is None else line(each), each)

    file = write(tmp_path / "events", ["rubbish" if each is None else line(each) for each in content])
    result = importing(file, rejects=tmp_path / "rejects")

    assert (result.new, result.repeated, result.refused) == (
        len(expected.new),
        expected.repeated,
        len(expected.refused),
    )
    assert {each.log_entry_id: each.timestamp for each in stored(superuser_engine)} == expected.times
    kept = (tmp_path / "rejects").read_text().splitlines() if expected.refused else []
    assert sorted(kept) == sorted(expected.refused)
