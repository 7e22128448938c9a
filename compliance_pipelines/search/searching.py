"""One search from its plan to its relation.

Here: the order of the steps, over database and cold store. Not here: the steps; a copy without a database (copies.py).

A session in PostgreSQL sees one moment from the plan to the last row that is read there. Until then no partition can be
dropped, so that what the plan calls hot is still there when it is read; the cold store is read after it.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql as composed

from compliance_pipelines.archive.catalogue import snapshot
from compliance_pipelines.archive.errors import StagingError
from compliance_pipelines.archive.readback import ColdArchive
from compliance_pipelines.audit_log.reading import open_snapshot
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.search import sql
from compliance_pipelines.search.fetching import FetchedParts, fetch_parts, silent
from compliance_pipelines.search.folder import private_folder, require_room
from compliance_pipelines.search.holdings import holdings
from compliance_pipelines.search.hot_rows import hot_bytes, stage_hot_rows
from compliance_pipelines.search.plan import plan_of
from compliance_pipelines.search.prices import Prices
from compliance_pipelines.search.relation import Entries
from compliance_pipelines.search_filters import matching_row_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from compliance_pipelines.audit_log.reading import SnapshotReader
    from compliance_pipelines.search.fetching import Fetched
    from compliance_pipelines.search.period import Period
    from compliance_pipelines.search.plan import Plan
    from compliance_pipelines.search.wanted import Filters
    from compliance_pipelines.search_filters import Wanted
    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class Found:
    """What a search has brought together.

    Attributes:
        entries: the relation.
        plan: what was to be read.
        object_bytes: bytes that came from the cold store.
        hot_rows: rows that came from PostgreSQL.
        left_out: what is missing of it, in words; with any, the result is partial.
    """

    entries: Entries
    plan: Plan
    object_bytes: int
    hot_rows: int
    left_out: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """All that is on record and not in the relation, in words."""
        return (*self.plan.gaps, *self.left_out)


@contextmanager
def searched(  # noqa: PLR0913 - what a search is about, and who is told
    services: Services,
    period: Period,
    wanted: Wanted,
    *,
    on_plan: Callable[[Plan], bool],
    filters: Filters = matching_row_groups,
    partial: bool = False,
    fetched: Fetched = silent,
) -> Iterator[Found | None]:
    """Plan a search, and bring together what it needs, in a private directory that is gone when the block ends.

    Args:
        services: the opened services.
        period: of the entries.
        wanted: which of them.
        on_plan: told the plan before anything is read; whether to go on.
        filters: tell which parts need not be read.
        partial: leave out parts that cannot be read, instead of failing.
        fetched: told of bytes as they arrive.

    Yields:
        What was found; None where it was not to go on.

    Raises:
        LedgerError: the key, the database and the cold store do not belong together.
        PartsNotReadError: a part cannot be read, and nothing may be left out.
        StagingError: the disk has no room.
        ReadingError: the connection was lost.
        ObjectStoreError: the store failed.
    """
    with private_folder(services.settings.archive_staging_path) as folder:
        with open_snapshot(services.engine) as reader:
            plan = _plan(services, reader, period, wanted, filters)
            if not on_plan(plan):
                yield None
                return
            require_room(folder, plan.object_bytes + hot_bytes(plan))
            try:
                hot = stage_hot_rows(reader, plan, folder)
            except OSError as error:
                raise StagingError(
                    f"{folder.parent} cannot hold the rows: {error}; search a shorter time, free space there, or set "
                    "ARCHIVE_STAGING_PATH to another directory"
                ) from error
        parts = FetchedParts((), 0, ())
        if plan.parts:
            archive = ColdArchive.of(services)
            parts = fetch_parts(archive, plan.parts, folder, partial=partial, fetched=fetched)
        entries = Entries((*hot.files, *parts.files), period, wanted)
        yield Found(entries, plan, parts.object_bytes, hot.rows, (*hot.strangers, *parts.left_out))


def _plan(services: Services, reader: SnapshotReader, period: Period, wanted: Wanted, filters: Filters) -> Plan:
    """The plan, made of what the reader's moment has."""
    moment = reader.export()
    with snapshot(services) as connection:
        connection.exec_driver_sql(sql.SAME_SNAPSHOT.format(composed.Literal(moment)).as_string(None))
        check_identity(services, connection)
        found = holdings(connection, period)
        matching = filters(connection, found.parts, wanted, services.data_keys)
    return plan_of(found, matching, period, wanted, Prices.of(services.settings))
