"""Dagster concept: partitions. One partition is one day, in UTC.

Here: which days there are. Not here: the days' partitions in PostgreSQL, which `compliance_pipelines.audit_log` makes.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from dagster import DailyPartitionsDefinition

from compliance_pipelines.settings import load_settings


def daily_partitions(first_day: date) -> DailyPartitionsDefinition:
    """Every day from `first_day` up to and including today.

    Today is among them because its hot partition exists and can be looked at. Entries of tomorrow (a clock may be five
    minutes ahead) belong to a day that Dagster shows five minutes later.
    """
    return DailyPartitionsDefinition(start_date=first_day.isoformat(), timezone="UTC", end_offset=1)


def day_of(partition_key: str) -> date:
    """The day that a partition key names."""
    return date.fromisoformat(partition_key)


def missed_days(last: date | None, today: date, *, most: int) -> list[date]:
    """The days after the last one that is done, up to today, oldest first; today alone where none is done.

    Args:
        last: the last day that is done.
        today: the last day that is wanted.
        most: how many are given; of more the latest, because each takes what the days before it left.
    """
    if last is None:
        return [today]
    return [last + timedelta(days=number) for number in range(1, (today - last).days + 1)][-most:]


# Dagster wants the partitions when it imports the definitions; this is the one setting that is read so early. A later
# first day hides earlier ones in Dagster; nothing that is recorded about them is lost.
FIRST_DAY: Final = load_settings().audit_log_first_day
DAYS: Final = daily_partitions(FIRST_DAY)

# Which days have entries only the database knows, and definitions must load without one. So the pages say it in words.
ABOUT_DAYS: Final = f"""

Days begin with {FIRST_DAY} (the setting `AUDIT_LOG_FIRST_DAY`: set it to the day on which the system began). A day that
these pages call *missing* is one with which nothing was done: it has no entries, or is not due yet. A day that is
overdue fails a check of the asset `audit/audit_logs`."""
ABOUT_SETS: Final = f"""

Days begin with {FIRST_DAY} (the setting `AUDIT_LOG_FIRST_DAY`: set it to the day on which the system began). A day that
these pages call *missing* had no purge: nobody looked on it, or it lies before the first one. Nothing is waiting for
it: each purge takes what the days before it left."""
