"""The entries that the archive appends about itself.

Here: what they say. Not here: how they are appended (audit_log/log.py).

Their timestamp is the database's, taken when they are appended, whatever the clock that decides what is due says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.system_entries import system_entry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.archive.readback import PartCheck
    from compliance_pipelines.audit_log.entry import JsonValue, UndatedEntry
    from compliance_pipelines.holds import Hold
    from compliance_pipelines.ledger.records import Statement
    from compliance_pipelines.services import Services

_RESOURCE_TYPE: Final = "audit_day"


def audit_log(services: Services) -> AuditLog:
    """The log that the entries are appended to, with :meth:`AuditLog.append_within`."""
    return AuditLog(services.engine, first_day=services.settings.audit_log_first_day)


def _entry(services: Services, action: str, day: date, metadata: JsonValue, result: str = "success") -> UndatedEntry:
    return system_entry(
        services.settings.audit_log_actor,
        action=action,
        resource_type=_RESOURCE_TYPE,
        resource_id=day.isoformat(),
        result=result,
        metadata=metadata,
    )


def archive_entry(services: Services, manifest: Manifest, *, adopted: bool) -> UndatedEntry:
    """A part was committed and recorded."""
    return _entry(
        services,
        "audit.archive",
        manifest.day,
        {
            "part": manifest.part,
            "object": services.store.locate(manifest.object_key),
            "object_sha256": manifest.object_sha256,
            "object_bytes": manifest.object_bytes,
            "entry_count": manifest.entry_count,
            "root": manifest.root.hex(),
            "adopted": adopted,
            "data_key": None if manifest.encryption is None else manifest.encryption.key_id,
        },
    )


def purge_entry(services: Services, day: date, parts: Sequence[ArchivedPart], *, hot_bytes: int) -> UndatedEntry:
    """The rows of these parts left PostgreSQL."""
    return _entry(
        services,
        "audit.purge",
        day,
        {
            "parts": [part.part for part in parts],
            "roots": [part.root.hex() for part in parts],
            "entry_count": sum(part.entry_count for part in parts),
            "hot_bytes": hot_bytes,
        },
    )


def expire_entry(services: Services, part: ArchivedPart, statement: Statement, *, years: int) -> UndatedEntry:
    """A part left the cold store because its retention is over."""
    return _entry(
        services,
        "audit.expire",
        part.day,
        {
            "part": part.part,
            "object": services.store.locate(part.object_key),
            "object_sha256": part.object_sha256,
            "object_bytes": part.object_bytes,
            "entry_count": part.entry_count,
            "root": part.root.hex(),
            "retention_years": years,
            "ledger_record": statement.seq,
            "data_key": None if part.encryption is None else part.encryption.get("key_id"),
        },
    )


def restore_entry(services: Services, day: date, parts: Sequence[ArchivedPart], *, table: str) -> UndatedEntry:
    """The rows of these parts were loaded into a table."""
    return _entry(
        services,
        "audit.restore",
        day,
        {
            "parts": [part.part for part in parts],
            "entry_count": sum(part.entry_count for part in parts),
            "table": table,
        },
    )


def store_hold_entry(  # noqa: PLR0913 - what the entry says
    services: Services, day: date, part: int, keys: Sequence[str], *, held: bool, hold: Hold | None
) -> UndatedEntry:
    """The cold store itself holds objects of a part from now on, or no longer."""
    return _entry(
        services,
        "hold.store_set" if held else "hold.store_lift",
        day,
        {
            "part": part,
            "objects": [services.store.locate(key) for key in keys],
            "hold": None if hold is None else hold.id,
        },
    )


def damage_entry(services: Services, part: ArchivedPart, checked: PartCheck) -> UndatedEntry:
    """A part was read back from the cold store, and is not what was committed."""
    return _entry(
        services,
        "audit.damage",
        part.day,
        {
            "part": part.part,
            "object": services.store.locate(part.object_key),
            "object_version": part.object_version,
            "damage": [{"kind": found.kind.value, "message": found.message} for found in checked.findings],
        },
        result="failure",
    )


def filters_entry(services: Services, part: ArchivedPart) -> UndatedEntry:
    """The filters by which a part is searched were not those of what it holds, and are now."""
    return _entry(
        services,
        "audit.search_index.correct",
        part.day,
        {
            "part": part.part,
            "object": services.store.locate(part.object_key),
            "object_sha256": part.object_sha256,
        },
    )


def repair_entry(  # noqa: PLR0913 - what is said about it
    services: Services, old: ArchivedPart, new: ArchivedPart, *, source: str, damage: Sequence[str], login: str
) -> UndatedEntry:
    """A part that was damaged is whole again, and the catalogue says where."""
    return _entry(
        services,
        "audit.repair",
        old.day,
        {
            "part": old.part,
            "login": f"login:{login}",
            "source": source,
            "damage": list(damage),
            "root": new.root.hex(),
            "replaced": _objects(services, old),
            **_objects(services, new),
        },
    )


def _objects(services: Services, part: ArchivedPart) -> dict[str, JsonValue]:
    return {
        "object": services.store.locate(part.object_key),
        "object_sha256": part.object_sha256,
        "object_version": part.object_version,
        "manifest_sha256": part.manifest_sha256,
        "manifest_version": part.manifest_version,
    }
