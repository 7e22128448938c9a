"""Filling the embedded stack: sample entries, sample conversations, one request for erasure.

Here: what is put where, once, with progress for a person. Not here: what the samples look like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compliance_pipelines.archive.catalogue import facts_of_days
from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.base.clock import days_before, system_clock, utc_day
from compliance_pipelines.conversations import record as conversation_record
from compliance_pipelines.demo.sample import DAYS, deliveries
from compliance_pipelines.erasure.record import NewRequest, all_cases, record_request
from compliance_pipelines.ledger.sealing import seal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from rich.console import Console
    from rich.progress import TaskID

    from compliance_pipelines.audit_log.entry import AuditEntry
    from compliance_pipelines.services import Services

ERASED_USER: Final = "user-007"


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def _yesterday() -> date:
    return days_before(utc_day(system_clock()), 1)


def seal_everything(services: Services) -> None:
    """Seal until nothing is left."""
    while seal(services).entries:
        pass


def append_sample(console: Console, services: Services) -> None:
    """Append the sample entries; those that are there already stay as they are."""
    console.rule(f"Append {DAYS} days of sample entries up to {_yesterday()}")
    _make_tables(services)
    log = AuditLog(services.engine, first_day=services.settings.audit_log_first_day, archived_ids=ArchivedIds(services))
    with _progress(console) as progress:
        new = log.append_many(_advancing(progress, progress.add_task("on time", total=DAYS), late=False)).new
        # Sealed before the late ones arrive, so that these stand in segments of their own, as they do in real life.
        seal_everything(services)
        new += log.append_many(_advancing(progress, progress.add_task("late", total=DAYS), late=True)).new
    console.print(f"{new:,} entries appended" if new else "all of them are there already")


def _make_tables(services: Services) -> None:
    """Give each new day its table, as the daily job has done ahead of time where entries come as they happen."""
    with services.engine.begin() as connection:
        known = facts_of_days(connection)
        days = (days_before(_yesterday(), number) for number in range(DAYS))
        ensure_days(connection, [day for day in days if day not in known])


def _advancing(progress: Progress, task: TaskID, *, late: bool) -> Iterator[AuditEntry]:
    for delivery in deliveries(_yesterday()):
        yield from delivery.late if late else delivery.on_time
        progress.advance(task)


def leave_conversations(console: Console, services: Services, redis_url: str) -> None:
    """Let LangGraph write the sample conversations, and record that one user asks to be erased; once.

    A second time would bring back what retention and erasure removed.
    """
    with services.engine.connect() as connection:
        filled = conversation_record.set_totals(connection).sets > 0 or bool(all_cases(connection))
    if filled:
        return
    from compliance_pipelines.demo.conversations import THREADS, write_conversations  # noqa: PLC0415 - LangGraph takes seconds to load

    console.rule(f"Let LangGraph leave {THREADS} conversations in Redis; {ERASED_USER} asks to be erased")
    with _progress(console) as progress:
        task = progress.add_task("conversations", total=THREADS)
        for written in write_conversations(redis_url, _yesterday()):
            progress.update(task, completed=written)
    record_request(services, NewRequest(ERASED_USER, "gdpr_article_17_user_request", "sample"))
