"""Files to import, and what an import says of itself."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from compliance_pipelines.audit_log.entry import JsonText
from tests.integration.audit_log.entries import entry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry

_FIELDS = ("log_entry_id", "user_id", "action", "resource_type", "resource_id", "result")


def line(each: AuditEntry) -> str:
    """An entry as a line, metadata as the text that it is."""
    fields: dict[str, Any] = {name: getattr(each, name) for name in _FIELDS}
    fields["timestamp"] = each.timestamp.isoformat()
    head = json.dumps(fields)[:-1]
    return f'{head}, "metadata": {"null" if each.metadata_text is None else each.metadata_text}}}'


def lines(numbers: Iterable[int]) -> list[str]:
    """Lines of the entries with these numbers."""
    return [line(entry(number)) for number in numbers]


def write(path: Path, content: Iterable[str], *, zipped: bool = False) -> Path:
    """A file of these lines."""
    data = "".join(f"{each}\n" for each in content).encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    return path


def exact(number: int, digits: str) -> AuditEntry:
    """An entry with a number in its metadata."""
    return entry(number, metadata=JsonText(f'{{"n": {digits}}}'))


def moved(number: int, **offset: float) -> AuditEntry:
    """The entry of this number at another time."""
    return replace(entry(number), timestamp=entry(number).timestamp + timedelta(**offset))


def own_entries(engine: sqlalchemy.Engine) -> list[Any]:
    """What imports appended about themselves."""
    with engine.connect() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT user_id, resource_type, resource_id, result, metadata FROM audit_logs"
                    " WHERE action = 'audit.import' ORDER BY id"
                )
            )
        )
