"""What the tests of this package do to days."""

from __future__ import annotations

import stat
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from sqlalchemy import text

from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.audit_log.entry import COLUMNS, AuditEntry
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from tests.support.encrypted import unwrapped_by_hand
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from enum import StrEnum

    import sqlalchemy

    from compliance_pipelines.services import Services

Row = tuple[Any, ...]

_AS_ARCHIVED = {"metadata": "metadata::text", "nonce": "uuid_send(nonce)"}
_HERE = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"


@dataclass(frozen=True)
class Days:
    """A database and a cold store, with a superuser beside the pipelines."""

    services: Services
    superuser: sqlalchemy.Engine

    def append(self, day: date, count: int, *, sealed: bool = True, partition: bool = True) -> list[AuditEntry]:
        """Append entries to a day, in its own partition unless told otherwise, and seal them."""
        entries = [entry(day, number) for number in range(count)]
        self.append_entries(day, entries, sealed=sealed, partition=partition)
        return entries

    def append_entries(
        self, day: date, entries: Iterable[AuditEntry], *, sealed: bool = True, partition: bool = True
    ) -> None:
        """Append these entries, which are of one day."""
        if partition:
            with self.services.engine.begin() as connection:
                ensure_days(connection, [day])
        AuditLog(self.services.engine, archived_ids=ArchivedIds(self.services)).append_many(entries)
        if sealed:
            seal_all(self.services)

    def hot_rows(self, day: date) -> list[Row]:
        """The rows of a day in PostgreSQL, metadata as text and nonces as bytes, in id order."""
        return self.table_rows("public.audit_logs", day)

    def table_rows(self, table: str, day: date) -> list[Row]:
        """The rows of a day in a table."""
        columns = ", ".join(_AS_ARCHIVED.get(name, f'"{name}"') for name in COLUMNS)
        start = datetime.combine(day, time(), UTC)
        with self.superuser.connect() as connection:
            found = connection.execute(
                text(f'SELECT {columns} FROM {table} WHERE "timestamp" >= :start AND "timestamp" < :end ORDER BY id'),
                {"start": start, "end": start + timedelta(days=1)},
            )
            return [tuple(row) for row in found]

    def cold_rows(self, day: date) -> list[Row]:
        """The rows of every object of the day that has a manifest, in id order, read without the project's code."""
        rows: list[Row] = []
        for path in self.objects(day):
            if path.with_name(path.name.removesuffix(".parquet") + ".manifest.json").exists():
                table = pq.read_table(path, decryption_properties=self.decryption(path))
                rows += [tuple(row[name] for name in COLUMNS) for row in table.to_pylist()]
        return sorted(rows)

    def decryption(self, path: Path) -> object:
        """How a file of the cold store is decrypted, with the keyring of the settings; None where it is plain."""
        record = self._root / "audit-keys" / f"{path.relative_to(self._root)}.json"
        keyring = self.services.settings.audit_archive_keyring_file
        if keyring is None or not record.exists():
            return None
        return pe.create_decryption_properties(unwrapped_by_hand(record.read_bytes(), keyring.read_bytes()))

    def objects(self, day: date) -> list[Path]:
        """The Parquet files of the day in the cold store."""
        return sorted(self._folder(day).glob(f"audit-logs-{day}.*.parquet"))

    def manifests(self, day: date) -> list[Path]:
        """The manifests of the day in the cold store."""
        return sorted(self._folder(day).glob(f"audit-logs-{day}.*.manifest.json"))

    @property
    def _root(self) -> Path:
        return Path(unquote(urlparse(self.services.store.uri).path))

    def _folder(self, day: date) -> Path:
        return self._root / f"audit-archives/{day:%Y/%m}"

    def audit_records(self, day: date) -> list[Row]:
        """Action and metadata of what the project itself has put on record about a day."""
        return self.execute(
            """SELECT action, metadata FROM audit_logs
               WHERE resource_type = 'audit_day' AND resource_id = :day ORDER BY id""",
            day=day.isoformat(),
        )

    def audit_actions(self, day: date) -> list[str]:
        """The actions that the project itself has put on record about a day."""
        return [action for action, _ in self.audit_records(day)]

    def advisory_locks(self) -> int:
        """How many are held in this database, which other tests do not use."""
        ((held,),) = self.execute(f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND {_HERE}")
        return int(held)

    def end_sessions_with_advisory_locks(self) -> None:
        """As an administrator does, or a network that breaks."""
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND {_HERE}")

    def execute(self, statement: str, **parameters: object) -> list[Row]:
        """Run a statement as superuser, with the triggers off: nobody stops a determined administrator."""
        with self.superuser.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = 'replica'"))
            result = connection.execute(text(statement), parameters)
            return [tuple(row) for row in result] if result.returns_rows else []


class Stopped(Exception):  # noqa: N818 - no error: the end of a process, as far as the code under test can tell
    """What a hook raises to stop the work between two steps."""


def stop_after(step: StrEnum | None) -> Callable[[str], None]:
    """A hook that stops the work when this step is done; None never does."""

    def hook(done: str) -> None:
        if done is step:
            raise Stopped(step)

    return hook


def entry(day: date, number: int, **values: object) -> AuditEntry:
    """An entry of a day, with some of everything."""
    fields: dict[str, Any] = {
        "log_entry_id": str(uuid.uuid4()),
        "timestamp": datetime.combine(day, time(), UTC) + timedelta(seconds=number % 86_400, microseconds=number),
        "user_id": f"user-{number % 5}",
        "action": "message.send",
        "resource_type": "conversation" if number % 3 else None,
        "resource_id": f"tab\there, backslash \\ and \\n, é 😀 {number}" if number % 2 else None,
        "result": "success",
        "metadata": {"n": number, "big": 12345678901234567890, "text": 'quote " newline \n'} if number % 4 else None,
    }
    return AuditEntry(**{**fields, **values})


def overwrite(path: Path, data: bytes) -> None:
    """Change a read-only file of the store, as somebody with access to the disk would."""
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(data)


def remove(path: Path) -> None:
    """Remove a file of the store."""
    path.unlink()
