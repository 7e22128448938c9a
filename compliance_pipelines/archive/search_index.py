"""The filters of archived parts: written down with what a reading says, made again, removed.

Here: when, and what is put on record about it. Not here: making filters of rows (search_filters/), reading a part
(readback.py).

Filters are made of what is in the cold store, while a part is read back, and written only where the reading found it
whole. They are removed with the key of the object, or with the object. Nothing is destroyed because of what they say:
where they are wrong, a search is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.catalogue import all_parts, parts_of_day, segments_of_part
from compliance_pipelines.archive.errors import PartsUnreadForNowError, UnreadPartsError
from compliance_pipelines.archive.locking import lock_day
from compliance_pipelines.archive.progress import Progress, silent
from compliance_pipelines.archive.readback import ColdArchive, PartCheck, check_part
from compliance_pipelines.archive.self_audit import audit_log, filters_entry
from compliance_pipelines.audit_log.visibility import refuse_hidden_rows
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.base.interruption import check_stopped
from compliance_pipelines.encryption.errors import EncryptionError
from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.postgres.locks import process_lock
from compliance_pipelines.search_filters.catalogue import Recorded, record_filters

if TYPE_CHECKING:
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.services import Services

_LOCK_NAME: Final = "search-index"
_DOING: Final = "making the filters of archives"
# A store that is down fails for every part: it is not asked for thousands of them.
_FAILURES_IN_A_ROW: Final = 3
_FAILURES_NAMED: Final = 3


def record_part_filters(
    services: Services, connection: sqlalchemy.Connection, part: ArchivedPart, checked: PartCheck
) -> Recorded | None:
    """Let what a reading made be the filters of a part, within the caller's transaction; what was there before.

    Where that were others, the index was altered, and there is an audit entry.

    Args:
        services: the opened services.
        connection: in the transaction in which the reading is recorded.
        part: as it was read.
        checked: the reading, with filters.

    Returns:
        None where nothing was recorded: the reading has none, or the catalogue has the part or its key no more.
    """
    if checked.filters is None:
        return None
    kept = {"object_key": part.object_key, "object_sha256": part.object_sha256}
    if not connection.execute(sql.PART_IS_KEPT, kept).scalar_one():
        return None
    before = record_filters(connection, part.object_key, checked.filters)
    if before is Recorded.OTHERS:
        audit_log(services).append_within(connection, filters_entry(services, part))
    return before


def parts_without_filters(connection: sqlalchemy.Connection) -> list[tuple[date, int]]:
    """Day and number of each part that is verified and kept, whose key is there, and that has no filters."""
    return [(row.day, row.part) for row in connection.execute(sql.PARTS_WITHOUT_FILTERS)]


class OnPart(Protocol):
    """Called with each part that was read to its end."""

    def __call__(self, checked: PartCheck, before: Recorded | None, /) -> None:
        """`checked` is its reading, `before` what was on record; None where nothing was recorded."""


def _unheard(checked: PartCheck, before: Recorded | None, /) -> None:
    """Tell nobody."""


@dataclass
class RebuildResult:
    """What a rebuild did.

    Attributes:
        parts: how many parts were read to their end.
        made: how many of them had no filters before.
        corrected: day and number of those that had others.
        damaged: the readings of those that are not what was committed; their filters were left as they were.
        removed: objects that are not kept any more, whose filters were removed.
    """

    parts: int = 0
    made: int = 0
    corrected: list[tuple[date, int]] = field(default_factory=list)
    damaged: list[PartCheck] = field(default_factory=list)
    removed: int = 0


def rebuild(  # noqa: PLR0913 - which parts, and who is told
    services: Services,
    *,
    first: date | None = None,
    last: date | None = None,
    missing: bool = False,
    progress: Progress = silent,
    on_part: OnPart = _unheard,
) -> RebuildResult:
    """Read parts back from the cold store and write their filters, each in a transaction of its own.

    A run that is stopped or killed loses the part that it was at.

    Args:
        services: the opened services.
        first: the first UTC day; None: from the beginning.
        last: the last one; None: to the end.
        missing: of these the verified parts alone that have no filters.
        progress: told of rows read.
        on_part: told of each part.

    Raises:
        LedgerError: the key, the database and the cold store do not belong together.
        UnreadPartsError: some parts could not be read; all others were, unless several in a row could not.
        LockBusyError: another process is at it.
        RowsHiddenError: PostgreSQL may not show every row.
        TransientError: the connection was lost.
    """
    result = RebuildResult()
    with (
        passing_errors_as_transient(_DOING, services.engine),
        services.engine.connect() as connection,
        process_lock(connection, _LOCK_NAME, doing=_DOING),
    ):
        with connection.begin():
            check_identity(services, connection)
            refuse_hidden_rows(connection)
            without = set(parts_without_filters(connection))
            wanted = [
                part
                for part in all_parts(connection)
                if part.expired_at is None
                and (first is None or part.day >= first)
                and (last is None or part.day <= last)
                and (not missing or (part.day, part.part) in without)
            ]
            result.removed = len(connection.execute(sql.REMOVE_FILTERS_OF_NO_PART).scalars().all())
        _Rebuilding(services, result, progress, on_part).read(wanted)
    return result


class _Rebuilding:
    """One run, under its lock."""

    def __init__(self, services: Services, result: RebuildResult, progress: Progress, on_part: OnPart) -> None:
        self._services = services
        self._result = result
        self._progress = progress
        self._on_part = on_part
        self._failures: list[tuple[ArchivedPart, Exception]] = []

    def read(self, wanted: list[ArchivedPart]) -> None:
        """Read parts one after the other.

        Raises:
            UnreadPartsError: some could not be read.
        """
        archive = ColdArchive.of(self._services)
        in_a_row = 0
        for part in wanted:
            check_stopped()
            try:
                self._read(archive, part)
                in_a_row = 0
            except (ObjectStoreError, TransientError, EncryptionError, KmsError) as error:
                self._failures.append((part, error))
                in_a_row += 1
                if in_a_row == _FAILURES_IN_A_ROW:
                    break
        self._raise_if_unread(len(wanted))

    def _read(self, archive: ColdArchive, wanted: ArchivedPart) -> None:
        # Who expires or repairs a part, or destroys its key, has the lock of its day.
        with lock_day(self._services.engine, wanted.day) as lock:
            with lock.connection.begin():
                found = [part for part in parts_of_day(lock.connection, wanted.day) if part.part == wanted.part]
                segments = [segment for part in found for segment in segments_of_part(lock.connection, part)]
            if not found or found[0].expired_at is not None:
                return
            checked = check_part(archive, found[0], segments, progress=self._progress, filters=True)
            with lock.connection.begin():
                check_identity(self._services, lock.connection)
                before = record_part_filters(self._services, lock.connection, found[0], checked)
        self._result.parts += 1
        self._result.made += before is Recorded.NONE
        if before is Recorded.OTHERS:
            self._result.corrected.append((wanted.day, wanted.part))
        if not checked.ok:
            self._result.damaged.append(checked)
        self._on_part(checked, before)

    def _raise_if_unread(self, wanted: int) -> None:
        if not self._failures:
            return
        named = "; ".join(f"{part.day} part {part.part}: {error}" for part, error in self._failures[:_FAILURES_NAMED])
        more = len(self._failures) - _FAILURES_NAMED
        named += f"; and {more} more" if more > 0 else ""
        tried = self._result.parts + len(self._failures)
        rest = f" {wanted - tried} others were not tried." if tried < wanted else ""
        message = (
            f"{len(self._failures)} parts could not be read back, and have the filters that they had: {named}.{rest} "
            f"{self._result.parts} others were read; run it again"
        )
        passing = all(isinstance(error, TransientError) for _, error in self._failures)
        raise PartsUnreadForNowError(message) if passing else UnreadPartsError(message)
