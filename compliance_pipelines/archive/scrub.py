"""Reading every part back from the cold store, again and again, for as long as it is kept.

Here: which parts one run reads, in what order, within how many bytes, and what becomes of a part that cannot be read.
Not here: what is wrong with a part (readback.py), what is recorded of readings (scrub_record.py) and of filters
(search_index.py), mending (repair.py).

"Could not read" is neither damage nor a success: nothing is recorded, and the part stays due.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from compliance_pipelines.archive.catalogue import ArchivedPart, parts_of_day, segments_of_part
from compliance_pipelines.archive.errors import ArchiveError, PartsUnreadForNowError, UnreadPartsError
from compliance_pipelines.archive.progress import Progress, silent
from compliance_pipelines.archive.readback import ColdArchive, PartCheck, check_part
from compliance_pipelines.archive.scrub_record import (
    LastReading,
    ScrubState,
    bytes_read_today,
    due_readings,
    last_readings,
    record_scrub,
    scrub_state,
)
from compliance_pipelines.archive.search_index import record_part_filters
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.base.interruption import check_stopped
from compliance_pipelines.encryption.errors import EncryptionError
from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.postgres.errors import passing_errors_as_transient
from compliance_pipelines.postgres.locks import process_lock
from compliance_pipelines.search_filters.catalogue import Recorded

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.services import Services

_LOCK_NAME: Final = "scrub"
_DOING: Final = "reading archives back"
# A store that is down fails for every part: it is not asked for thousands of them.
_FAILURES_IN_A_ROW: Final = 3
_FAILURES_NAMED: Final = 3


class OnPart(Protocol):
    """Called with each part that was read to its end, before the next one is begun."""

    def __call__(self, checked: PartCheck, /) -> None:
        """`checked` is recorded."""


def _unheard(checked: PartCheck, /) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class ScrubResult:
    """What one run read, and how the archives are looked after now.

    Attributes:
        parts: how many parts it read to their end.
        object_bytes: bytes of objects that it read.
        damaged: the parts that it found damaged.
        waiting: how many parts were due, and are left for another day by the budget.
        indexed: how many had no filters, and have them now.
        misindexed: day and number of those that had others than what they hold has; they are right now.
        state: of all parts, afterwards.
        seconds: how long it took.
    """

    parts: int
    object_bytes: int
    damaged: tuple[PartCheck, ...]
    waiting: int
    indexed: int
    misindexed: tuple[tuple[date, int], ...]
    state: ScrubState
    seconds: float


def scrub(
    services: Services,
    days: Collection[date] = (),
    *,
    budget: int | None = None,
    progress: Progress = silent,
    on_part: OnPart = _unheard,
) -> ScrubResult:
    """Read back the parts that are due, longest unread first, and record what is found.

    A run that is stopped or killed loses the part that it was at; the next one goes on with it.

    Args:
        services: the opened services; the clock decides what is due, and which day's budget it is.
        days: read all parts of these UTC days instead, due or not, whatever the budget.
        budget: bytes of objects that all runs of a UTC day together read; the last part may go beyond it. None is the
            setting.
        progress: told of rows read.
        on_part: told of each part.

    Raises:
        LedgerError: the key, the database and the cold store do not belong together.
        ArchiveError: a day has no part in the cold store.
        UnreadPartsError: some parts could not be read; all others were, unless several in a row could not.
        LockBusyError: another process is at it.
        TransientError: the connection was lost.
    """
    started = monotonic()
    with (
        passing_errors_as_transient(_DOING, services.engine),
        services.engine.connect() as connection,
        process_lock(connection, _LOCK_NAME, doing=_DOING),
    ):
        with connection.begin():
            check_identity(services, connection)
        run = _Scrubbing(services, connection, progress, on_part)
        if days:
            run.read(run.of_days(days), most=None)
        else:
            run.read_due(services.settings.audit_archive_scrub_bytes_per_day if budget is None else budget)
        with connection.begin():
            state = scrub_state(services, connection)
    run.raise_if_unread()
    return ScrubResult(
        run.parts,
        run.object_bytes,
        tuple(run.damaged),
        run.waiting,
        run.indexed,
        tuple(run.misindexed),
        state,
        seconds=monotonic() - started,
    )


@dataclass
class _Scrubbing:
    """One run, under its lock; the connection is the one that holds the lock."""

    services: Services
    connection: sqlalchemy.Connection
    progress: Progress
    on_part: OnPart
    parts: int = 0
    object_bytes: int = 0
    waiting: int = 0
    indexed: int = 0
    misindexed: list[tuple[date, int]] = field(default_factory=list)
    damaged: list[PartCheck] = field(default_factory=list)
    failures: list[tuple[LastReading, Exception]] = field(default_factory=list)
    gave_up: bool = False

    def of_days(self, days: Collection[date]) -> list[LastReading]:
        """The parts of some days that have not expired."""
        with self.connection.begin():
            found = [part for part in last_readings(self.connection) if part.day in days]
        missing = sorted(set(days) - {part.day for part in found})
        if missing:
            raise ArchiveError(f"{', '.join(map(str, missing))}: there is no archive in the cold store to be read back")
        return sorted(found, key=lambda part: (part.day, part.part))

    def read_due(self, budget: int) -> None:
        """Read what is due, as far as the day's budget goes."""
        with self.connection.begin():
            due = due_readings(self.services, self.connection)
            left = budget - bytes_read_today(self.services, self.connection)
        self.read(due, most=left)

    def read(self, wanted: list[LastReading], most: int | None) -> None:
        """Read parts one after the other, until `most` bytes were read; None: all of them."""
        archive = ColdArchive.of(self.services)
        spent, in_a_row = 0, 0
        for number, part in enumerate(wanted):
            check_stopped()
            if most is not None and spent >= most:
                self.waiting = len(wanted) - number
                return
            try:
                spent += self._read(archive, part)
                in_a_row = 0
            except (ObjectStoreError, TransientError, EncryptionError, KmsError) as error:
                self.failures.append((part, error))
                # What came of it until it broke off was read all the same.
                spent += part.object_bytes
                in_a_row += 1
                if in_a_row == _FAILURES_IN_A_ROW:
                    self.gave_up = number + 1 < len(wanted)
                    return

    def _read(self, archive: ColdArchive, wanted: LastReading) -> int:
        """Read one part and record it; return how many bytes its object has."""
        with self.connection.begin():
            found = [part for part in parts_of_day(self.connection, wanted.day) if part.part == wanted.part]
            segments = {part.part: segments_of_part(self.connection, part) for part in found}
        if not found or found[0].expired_at is not None:
            return 0
        part: ArchivedPart = found[0]
        checked = check_part(archive, part, segments[part.part], progress=self.progress, filters=True)
        with self.connection.begin():
            # Of a store that went away meanwhile, or is another one now, no object is missing.
            store_id = check_identity(self.services, self.connection).store_id
            recorded = record_scrub(self.services, self.connection, part, checked, store_id)
            before = record_part_filters(self.services, self.connection, part, checked) if recorded else None
        self.indexed += before is Recorded.NONE
        if before is Recorded.OTHERS:
            self.misindexed.append((part.day, part.part))
        if recorded:
            self.parts += 1
            self.object_bytes += checked.object_bytes
            if not checked.ok:
                self.damaged.append(checked)
            self.on_part(checked)
        return checked.object_bytes

    def raise_if_unread(self) -> None:
        """Turn what could not be read into one error.

        Raises:
            UnreadPartsError: there was something.
        """
        if not self.failures:
            return
        named = "; ".join(f"{part.day} part {part.part}: {error}" for part, error in self.failures[:_FAILURES_NAMED])
        more = len(self.failures) - _FAILURES_NAMED
        named += f"; and {more} more" if more > 0 else ""
        rest = " The others were not tried." if self.gave_up else ""
        message = (
            f"{len(self.failures)} parts could not be read back, which says nothing about them, and they stay due: "
            f"{named}.{rest} {self.parts} others were read"
        )
        passing = all(
            isinstance(error, TransientError) or type(error) is ObjectStoreError for _, error in self.failures
        )
        raise PartsUnreadForNowError(message) if passing else UnreadPartsError(message)
