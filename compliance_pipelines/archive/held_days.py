"""Which archived days a legal hold keeps in PostgreSQL.

Here: asking for several days at once. Not here: what covers a day (holds/audit_days.py), the purge, which asks
again under the day's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.holds import active_holds
from compliance_pipelines.holds.audit_days import hold_on_audit_day
from compliance_pipelines.pseudonyms import subjects_from_settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.holds import Hold
    from compliance_pipelines.services import Services


def held_days(connection: sqlalchemy.Connection, services: Services, days: Iterable[date]) -> dict[date, Hold]:
    """Those of the days that are held, in the order given, each with the hold that the purge would name.

    Raises:
        ConfigurationError: entries call people by pseudonyms, and their key is missing.
        sqlalchemy.exc.ProgrammingError: the login may not see the holds.
    """
    subjects = subjects_from_settings(services.settings)
    holds = active_holds(connection)
    found = ((day, hold_on_audit_day(connection, holds, day, subjects)) for day in days)
    return {day: hold for day, hold in found if hold is not None}
