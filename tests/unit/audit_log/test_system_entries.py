from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from compliance_pipelines.audit_log.entry import InvalidEntryError
from compliance_pipelines.audit_log.system_entries import system_entry


def test_an_entry_about_our_own_work_has_an_id_of_its_own_that_tells_the_action() -> None:
    fields = {
        "action": "audit.archive",
        "resource_type": "audit_day",
        "resource_id": "2025-10-01",
        "result": "success",
    }
    one = system_entry("pipelines", **fields, metadata={"part": 1})
    another = system_entry("pipelines", **fields, metadata={"part": 1})
    assert one.log_entry_id != another.log_entry_id
    prefix, _, identifier = one.log_entry_id.rpartition("_")
    assert prefix == "audit_archive"
    assert str(uuid.UUID(identifier)) == identifier
    assert (one.user_id, one.metadata) == ("pipelines", {"part": 1})
    assert {name: getattr(one, name) for name in fields} == fields


def test_it_takes_its_time_when_it_is_appended() -> None:
    undated = system_entry("x", action="a", resource_type="b", resource_id="c", result="d", metadata={"e": 1})
    moment = datetime(2025, 10, 1, tzinfo=UTC)

    entry = undated.at(moment)

    assert entry.timestamp == moment
    assert (entry.log_entry_id, entry.metadata_text) == (undated.log_entry_id, '{"e":1}')


def test_a_value_that_cannot_be_stored_is_refused_then() -> None:
    undated = system_entry("x", action="a", resource_type="b", resource_id="\0", result="d", metadata=None)
    with pytest.raises(InvalidEntryError, match="NUL"):
        undated.at(datetime.now(UTC))
