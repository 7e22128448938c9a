"""Verification with the database: both stores against the ledger and against each other.

Here: which days there are, and the order of the steps. Not here: the steps.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

import psycopg
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.layout import PREFIX, parse_key
from compliance_pipelines.database_errors import passing_errors_as_transient
from compliance_pipelines.verification import sql
from compliance_pipelines.verification.anchor import anchored_ledger
from compliance_pipelines.verification.bucket_ledger import note_unknown
from compliance_pipelines.verification.database_ledger import check_ledger
from compliance_pipelines.verification.days import DayVerifier
from compliance_pipelines.verification.errors import VerificationError
from compliance_pipelines.verification.findings import Finding, Journal, Kind, Note, NoteKind
from compliance_pipelines.verification.progress import Progress, RowCount, Stage, silent
from compliance_pipelines.verification.segment_index import SegmentIndex, Source
from compliance_pipelines.verification.strays import note_strays

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.database_ledger import KnownLedger
    from compliance_pipelines.verification.findings import Report

_SHOWN_IDS: Final = 5
_LAST_DAY: Final = date(9999, 12, 31)


def verify(
    services: Services,
    days: Collection[date] | None = None,
    *,
    progress: Progress = silent,
    on_finding: Callable[[Finding], None] | None = None,
) -> Report:
    """Verify everything, or single days.

    Everything: each checkpoint and each segment record of both stores, and every day that any of them knows. Single
    days: that the database's segment records are those of the newest published checkpoint, and these days; where the
    former fails, the checkpoints are compared one by one, too, to say why.

    Args:
        services: the opened services; nothing is written. The clock says which parts may have expired.
        days: UTC days; None for everything.
        progress: told what is through.
        on_finding: told each finding at once, so that those made before a failure are not lost.

    Raises:
        ObjectStoreError: the store cannot be listed.
        TransientError: the database went away.
        VerificationError: the database holds something that cannot even be read.
    """
    journal = Journal(on_finding)
    with _named_failures(), SegmentIndex.open(services.settings.archive_staging_path) as index:
        known = _established(services, days, index, journal, progress)
        wanted = sorted(set(days) if days is not None else _all_days(services, index, journal))
        if days is None:
            note_strays(services.store, journal)
            _find_entries_of_no_day_or_time(services, known, journal)
        rows = RowCount(progress)
        verifier = DayVerifier(services, index, known, journal, rows)
        for number, day in enumerate(wanted, start=1):
            if not verifier.verify(day) and days is not None:
                message = "nothing of it is sealed or archived, so that there is nothing to verify"
                journal.note(Note(kind=NoteKind.NOTHING_KNOWN, day=day, message=message))
            progress(Stage.DAYS, number, len(wanted))
    return journal.report()


@contextmanager
def _named_failures() -> Iterator[None]:
    """Raise domain errors where the database fails, so that a failure is never taken for a result."""
    try:
        with passing_errors_as_transient("the verification"):
            yield
    except (DBAPIError, psycopg.Error) as error:
        reason = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
        raise VerificationError(f"the database cannot be read, so that nothing is known about it: {reason}") from error


def _established(
    services: Services,
    days: Collection[date] | None,
    index: SegmentIndex,
    journal: Journal,
    progress: Progress,
) -> KnownLedger:
    if days is not None:
        known = anchored_ledger(services, set(days), index, progress)
        if known is not None:
            journal.checked.segments = known.size
            journal.checked.checkpoints = 1 if known.size else 0
            return known
    return check_ledger(services, index, journal, progress)


def _all_days(services: Services, index: SegmentIndex, journal: Journal) -> set[date]:
    """The days that the ledger, the catalogue, the cold store or PostgreSQL's rows know of."""
    days = {*index.days(Source.LEDGER), *_days_in_cold_store(services, journal)}
    with services.engine.connect() as connection:
        days.update(connection.execute(sql.DAYS_OF_PARTS).scalars())
    return days.union(_days_with_rows(services))


def _days_in_cold_store(services: Services, journal: Journal) -> Iterator[date]:
    for info in services.store.list(PREFIX):
        key = parse_key(info.key)
        if key is None:
            note_unknown(journal, info.key)
        else:
            yield key.day


def _days_with_rows(services: Services) -> Iterator[date]:
    """Each in a transaction of its own, which holds no lock while the days are looked at."""
    since = date.min
    while True:
        with services.engine.connect() as connection:
            day = connection.execute(
                sql.NEXT_DAY_WITH_ENTRIES, {"since": datetime.combine(since, time(), UTC)}
            ).scalar_one()
        if day is None:
            return
        yield day
        if day == _LAST_DAY:
            return
        since = day + timedelta(days=1)


def _find_entries_of_no_day_or_time(services: Services, known: KnownLedger, journal: Journal) -> None:
    """Entries that the look at each day passes over: on no day, or in a transaction that has not happened."""
    horizon = {"tx_horizon": known.tx_horizon}
    for statement, parameters, what in (
        (sql.ENTRIES_OUT_OF_TIME, {}, "whose timestamp is on no day"),
        (
            sql.ENTRIES_NEVER_SEALED,
            horizon,
            "under a transaction id that was never given out, so that none is ever sealed",
        ),
    ):
        with services.engine.connect() as connection:
            ids = list(connection.execute(statement, {**parameters, "most": _SHOWN_IDS}).scalars())
        if ids:
            message = f"in PostgreSQL, entries were inserted {what} ({', '.join(ids)})"
            journal.find(Finding(kind=Kind.ENTRY_INSERTED, message=message))
