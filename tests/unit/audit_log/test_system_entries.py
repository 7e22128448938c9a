from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

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
    assert (one.user_id, one.metadata_text) == ("pipelines", '{"part":1}')
    assert {name: getattr(one, name) for name in fields} == fields


def test_it_is_of_this_moment_unless_another_is_given() -> None:
    def made(timestamp: datetime | None) -> datetime:
        return system_entry(
            "x", action="a", resource_type="b", resource_id="c", result="d", metadata=None, timestamp=timestamp
        ).timestamp

    before = datetime.now(UTC)
    assert before <= made(None) < before + timedelta(seconds=10)
    assert made(datetime(2025, 10, 1, tzinfo=UTC)) == datetime(2025, 10, 1, tzinfo=UTC)
