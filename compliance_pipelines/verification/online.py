"""Verification with the database: both stores against the ledger and against each other.

Here: which days there are, and the order of the steps. Not here: the steps.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import psycopg
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.layout import PREFIX, parse_key
from compliance_pipelines.audit_log.appending import start_of
from compliance_pipelines.audit_log.partitions import existing_days
from compliance_pipelines.audit_log.reading import ReadingError
from compliance_pipelines.ledger.store_identity import StoreIdentityError, check_identity
from compliance_pipelines.postgres.engine import conninfo_of
from compliance_pipelines.postgres.errors import (
    is_recovery_conflict,
    passing_errors_as_transient,
)
from compliance_pipelines.postgres.replica import RECOVERY_CONFLICT_REMEDY, replica_state
from compliance_pipelines.verification import sql
from compliance_pipelines.verification.anchor import anchored_ledger
from compliance_pipelines.verification.bucket_ledger import note_unknown
from compliance_pipelines.verification.database_ledger import check_ledger
from compliance_pipelines.verification.days import DayVerifier
from compliance_pipelines.verification.errors import VerificationError
from compliance_pipelines.verification.findings import Finding, Journal, Kind, Note, NoteKind, ReplicaView
from compliance_pipelines.verification.key_records import known_keys
from compliance_pipelines.verification.outside import Expected, OutsideView
from compliance_pipelines.verification.progress import Progress, RowCount, Stage, silent
from compliance_pipelines.verification.segment_index import SegmentIndex, Source
from compliance_pipelines.verification.strays import note_strays

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import sqlalchemy

    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.database_ledger import KnownLedger
    from compliance_pipelines.verification.findings import Report

_SHOWN_IDS: Final = 5


def verify(
    services: Services,
    days: Collection[date] | None = None,
    *,
    expected: Expected | None = None,
    progress: Progress = silent,
    on_finding: Callable[[Finding], None] | None = None,
) -> Report:
    """Verify everything, or single days, on a primary or a replica.

    Everything: each checkpoint and each segment record of both stores, and every day that any of them knows. Single
    days: that the database's segment records are those of the newest published checkpoint, and these days; where the
    former fails, the checkpoints are compared one by one, too, to say why.

    A replica may lag behind the cold store. Where its ledger is an earlier state of the signed one, which the tree
    proves, that is no finding; what it lacks could not be looked at, so that the report is not ok either.

    Args:
        services: the opened services; nothing is written. The clock says which parts may have expired.
        days: UTC days; None for everything.
        expected: whose cosignatures and time stamps count; None for those of the settings.
        progress: told what is through.
        on_finding: told each finding at once, so that those made before a failure are not lost.

    Raises:
        ConfigurationError: the witnesses or the time-stamp authority of the settings cannot be used.
        LedgerError: the key, the database and the cold store do not belong together.
        ObjectStoreError: the store cannot be listed.
        TransientError: the database went away.
        VerificationError: the database holds something that cannot even be read.
    """
    journal = Journal(on_finding)
    counts = Expected.of_settings(services.settings) if expected is None else expected
    counts.require_log(services.verifier_key)
    outside = OutsideView(counts, journal, services.clock())
    with _named_failures(services.engine), SegmentIndex.open(services.settings.archive_staging_path) as index:
        keys = known_keys(services.store, services.verifier_key)
        _look_at_server(services, keys, journal)
        known = _established(services, keys, days, index, journal=journal, progress=progress, outside=outside)
        outside.finish(index, known.size)
        wanted = sorted(set(days) if days is not None else _all_days(services, index, journal))
        if days is None:
            note_strays(services.store, journal)
            _find_entries_of_no_day_or_time(services, known, journal)
        rows = RowCount(progress)
        verifier = DayVerifier(services, keys, index, known, journal=journal, on_rows=rows)
        for number, day in enumerate(wanted, start=1):
            if not verifier.verify(day) and days is not None:
                message = "nothing of it is sealed or archived, so that there is nothing to verify"
                journal.note(Note(kind=NoteKind.NOTHING_KNOWN, day=day, message=message))
            progress(Stage.DAYS, number, len(wanted))
    return journal.report()


def _look_at_server(services: Services, keys: KeyChain, journal: Journal) -> None:
    """See whether the database is the store's and the key's, and whether it is a replica, which is noted."""
    with services.engine.connect() as connection:
        replica = replica_state(connection)
        lag = "" if replica is None else f"the database is a read-only replica: {replica.in_words()}"
        try:
            check_identity(services, connection, keys)
        except StoreIdentityError as error:
            if not lag:
                raise
            raise type(error)(f"{error}. But {lag}") from error
    if replica is not None:
        journal.replica = ReplicaView(replica)
        journal.note(Note(kind=NoteKind.REPLICA, message=lag))


@contextmanager
def _named_failures(engine: sqlalchemy.Engine) -> Iterator[None]:
    """Raise domain errors where the database fails, so that a failure is never taken for a result."""
    try:
        with passing_errors_as_transient("the verification", engine):
            yield
    except ReadingError as error:
        if not is_recovery_conflict(error, conninfo_of(engine)):
            raise
        raise ReadingError(f"{error}: {RECOVERY_CONFLICT_REMEDY}") from error
    except (DBAPIError, psycopg.Error) as error:
        reason = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
        raise VerificationError(f"the database cannot be read, so that nothing is known about it: {reason}") from error


def _established(  # noqa: PLR0913 - what one verification needs
    services: Services,
    keys: KeyChain,
    days: Collection[date] | None,
    index: SegmentIndex,
    *,
    journal: Journal,
    progress: Progress,
    outside: OutsideView,
) -> KnownLedger:
    if days is not None:
        known = anchored_ledger(services, keys, set(days), index, journal=journal, progress=progress, outside=outside)
        if known is not None:
            return known
    return check_ledger(services, keys, index, journal=journal, progress=progress, outside=outside)


def _all_days(services: Services, index: SegmentIndex, journal: Journal) -> set[date]:
    """The days that the ledger, the catalogue, the cold store, the quarantine or PostgreSQL's rows know of."""
    days = {*index.days(Source.LEDGER), *_days_in_cold_store(services, journal)}
    with services.engine.connect() as connection:
        days.update(connection.execute(sql.DAYS_OF_PARTS).scalars())
        days.update(connection.execute(sql.DAYS_OF_BACKLOG).scalars())
        days.update(connection.execute(sql.DAYS_OF_QUARANTINE).scalars())
    return days.union(_days_with_rows(services))


def _days_in_cold_store(services: Services, journal: Journal) -> Iterator[date]:
    for info in services.store.list(PREFIX):
        key = parse_key(info.key)
        if key is None:
            note_unknown(journal, info.key)
        else:
            yield key.day


def _days_with_rows(services: Services) -> Iterator[date]:
    """All time, cut where partitions begin and end: a look that needs one of them locks and plans no other.

    The catalogue says where to cut, and nothing else: what it hides or invents leaves no day out. Each look is a
    transaction of its own, which holds no lock while the days are looked at.
    """
    with services.engine.connect() as connection:
        tables = existing_days(connection)
    cuts = {day.replace(day=1) for day in tables} | {_month_after(day) for day in tables}
    cuts |= tables | {day + timedelta(days=1) for day in tables}
    bounds = [date.min, *sorted(cuts - {date.min})]
    for since, until in zip_longest(bounds, bounds[1:]):
        last = start_of(until or date.max) - timedelta(microseconds=1)
        yield from _days_with_rows_between(services, since, last)


def _month_after(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def _days_with_rows_between(services: Services, since: date, last: datetime) -> Iterator[date]:
    while True:
        with services.engine.connect() as connection:
            day: date | None = connection.execute(
                sql.NEXT_DAY_WITH_ENTRIES, {"since": start_of(since), "last": last}
            ).scalar_one()
        if day is None:
            return
        yield day
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
    with services.engine.connect() as connection:
        ids = list(connection.execute(sql.QUARANTINED_OUT_OF_TIME, {"most": _SHOWN_IDS}).scalars())
    if ids:
        message = f"entries are in quarantine because their timestamp is on no day ({', '.join(ids)})"
        journal.note(Note(kind=NoteKind.ENTRY_QUARANTINED, message=message))
