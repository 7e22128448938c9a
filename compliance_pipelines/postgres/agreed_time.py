"""The time by which something is destroyed: one that the worker, the database and the store agree on.

Here: asking the clocks and comparing them. Not here: what is due at a time.

A worker whose clock runs ahead would take what was verified a second ago for something whose grace is over. So whoever
destroys asks the database and the store that it destroys because of, and stops where they do not agree.

`--as-of` moves the clock of the services on purpose, on the embedded stack alone. The clocks of the machines must agree
there, too.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import sqlalchemy

    from compliance_pipelines.base.clock import Clock
    from compliance_pipelines.settings import Settings

MOST_APART: Final = timedelta(minutes=1)
_DATABASE_TIME: Final = text("SELECT clock_timestamp()")


class ClocksDisagreeError(ComplianceError):
    """The clocks are more than a minute apart, so that nobody can tell what is due; nothing was removed."""


def agreed_time(
    connection: sqlalchemy.Connection,
    *,
    clock: Clock,
    settings: Settings,
    store: str,
    store_time: Callable[[], datetime],
) -> datetime:
    """The moment that decides what may be destroyed now.

    Args:
        connection: to the database.
        clock: by which the services judge what is due.
        settings: say whether this is the embedded stack.
        store: which store is asked, for the message.
        store_time: asks its clock; aware.

    Returns:
        The database's time; on the embedded stack that of the services' clock, which `--as-of` may have moved.

    Raises:
        ClocksDisagreeError: two of the clocks are more than a minute apart.
    """
    stored = store_time()
    database: datetime = connection.execute(_DATABASE_TIME).scalar_one()
    worker = system_clock()
    judged = clock()
    on_embedded_stack = settings.compliance_local_stack
    times = [worker, database, stored, *([] if on_embedded_stack else [judged])]
    if max(times) - min(times) > MOST_APART:
        moved = "" if abs(judged - worker) <= MOST_APART else f", and what is due is judged as of {_shown(judged)}"
        raise ClocksDisagreeError(
            f"the clocks are more than {MOST_APART.total_seconds():.0f} seconds apart, so that nobody can tell what is "
            f"due: this machine says {_shown(worker)}, the database {_shown(database)}, {store} {_shown(stored)}{moved}"
            ". Set the clocks (NTP) and run it again; nothing was removed"
        )
    return judged if on_embedded_stack else database


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
