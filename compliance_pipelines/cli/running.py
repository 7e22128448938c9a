"""`compliance run`: what the schedules would do now, at once and in this process."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compliance_pipelines.base.counting import counted
from compliance_pipelines.base.interruption import doing
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened
from compliance_pipelines.definitions import build_standalone
from compliance_pipelines.erasure.record import due_cases
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.orchestration import sessions
from compliance_pipelines.orchestration.backlog import Action, due_steps
from compliance_pipelines.orchestration.conversations import conversation_retention, wanted_days
from compliance_pipelines.orchestration.erasures import gdpr_erasure
from compliance_pipelines.orchestration.in_process import InProcessRuns, open_runner
from compliance_pipelines.orchestration.jobs import health_checks, hold_sync, partition_upkeep, seal
from compliance_pipelines.orchestration.resources import SERVICES, clock_as_of
from compliance_pipelines.orchestration.scrubbing import archive_scrub
from compliance_pipelines.sessions.policy import anything_falls_due
from compliance_pipelines.settings import load_settings

if TYPE_CHECKING:
    from datetime import datetime

    from compliance_pipelines.orchestration.backlog import Step
    from compliance_pipelines.orchestration.in_process import Runner
    from compliance_pipelines.services import Services

_DOING: Final = {Action.ARCHIVE: "archiving", Action.PURGE: "purging", Action.EXPIRE: "removing archives of"}
_DATE: Final = click.DateTime(formats=["%Y-%m-%d"])


class _Work:
    """One pass over everything that is due, and what came of it."""

    def __init__(self, runner: Runner, services: Services, as_of: Services, console: Console) -> None:
        # Whatever concerns no single day of the audit trail goes by the real clock: no record may carry a date that has
        # not come, and there is no partition for one.
        self._services = services
        self._now = InProcessRuns(build_standalone({SERVICES: services}), runner)
        self._then = InProcessRuns(build_standalone({SERVICES: as_of}), runner)
        self._due_services = as_of
        self._console = console
        self.done: dict[Action, int] = dict.fromkeys(Action, 0)
        self.failures = 0

    def run(self) -> None:
        """Everything in the order of a day: upkeep, seal, what is due, seal that, hold, read back, look at all."""
        self._job(partition_upkeep.name)
        self._job(seal.name)
        self._retention()
        self._people()
        if any(self.done.values()):
            self._job(seal.name)
        self._job(hold_sync.name)
        self._job(archive_scrub.name)
        self._job(health_checks.name)

    def _job(self, name: str, partition_key: str | None = None) -> None:
        words = name.replace("_", " ")
        with doing(f"running {words}"), self._console.status(words):
            self._note(name, self._now.run_job(name, partition_key))

    def _people(self) -> None:
        """Conversations, sessions and memories past their time, and requests for erasure that are due."""
        if self._services.settings.checkpoint_redis_url is not None:
            for day in wanted_days(self._services):
                self._job(conversation_retention.name, day.isoformat())
        if anything_falls_due(self._services.settings):
            for day in sessions.wanted_days(self._services):
                self._job(sessions.session_retention.name, day.isoformat())
        with self._services.engine.connect() as connection:
            due = due_cases(connection, self._services.clock())
        if due:
            self._job(gdpr_erasure.name)

    def _note(self, what: str, reasons: list[str]) -> None:
        if reasons:
            self.failures += 1
            self._console.print(f"[red]failed[/red] {what}: {'; '.join(reasons)}", highlight=False, soft_wrap=True)

    def _retention(self) -> None:
        """Archive and purge what is due at the beginning; what only this makes due is for the next time."""
        steps = due_steps(self._due_services)
        if not steps:
            return
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        ) as progress:
            task = progress.add_task("days", total=len(steps))
            for done, step in enumerate(steps):
                progress.update(task, description=f"{step.action} {step.partition_key}")
                with doing(f"{_DOING[step.action]} {step.day}: {done} of {counted(len(steps), 'day')} done"):
                    self._step(step)
                progress.advance(task)
            progress.update(task, description="days")

    def _step(self, step: Step) -> None:
        reasons = self._then.run_step(step)
        self._note(f"{step.action} {step.partition_key}", reasons)
        if not reasons:
            self.done[step.action] += 1


def _expired(days: int) -> str:
    """Said where there are any, which is years after the beginning."""
    return f"{counted(days, 'day')} expired, " if days else ""


@click.command("run")
@click.option(
    "--as-of",
    type=_DATE,
    metavar="YYYY-MM-DD",
    help="Take what is due on this date; on the embedded stack only.",
)
@needs(Need.DATABASE, Need.COLD_STORE, Need.SIGNING_KEY, Need.ARCHIVE_KEY, Need.DAGSTER_HOME, changes=True)
def run(as_of: datetime | None) -> None:
    """Do now, in this process, what the schedules would do, for every day that is due.

    Makes partitions, seals, archives and purges, oldest day first, removes conversations past their time, carries out
    erasure requests and reads archives back whose turn it is, as runs that Dagster's pages show (DAGSTER_HOME). What
    fails is reported and the rest goes on; then the exit status is 1. A signal (SIGTERM, Ctrl-C) stops it where it is;
    the next time goes on from there.
    """
    settings = load_settings()
    clock = clock_as_of(settings, None if as_of is None else as_of.date())
    console = Console(stderr=True)
    with open_runner() as runner, opened() as services:
        with services.engine.connect() as connection:
            check_identity(services, connection)  # once, and not once a day
        work = _Work(runner, services, dataclasses.replace(services, clock=clock), console)
        work.run()
    click.echo(
        f"{counted(work.done[Action.ARCHIVE], 'day')} archived, {counted(work.done[Action.PURGE], 'day')} purged, "
        f"{_expired(work.done[Action.EXPIRE])}{counted(work.failures, 'failure')}"
    )
    if work.failures:
        raise SystemExit(1)


COMMANDS: Final[list[click.Command]] = [run]
