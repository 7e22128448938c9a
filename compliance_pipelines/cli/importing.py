"""`compliance import`: a file of entries.

Here: arguments, the progress bar, words. Not here: what is refused, and how entries are stored.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.audit_log.import_progress import ImportPhase
from compliance_pipelines.audit_log.importing import import_file
from compliance_pipelines.audit_log.rejects import reasons_path
from compliance_pipelines.base.interruption import doing
from compliance_pipelines.cli.needs import Need, needs
from compliance_pipelines.cli.opening import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.audit_log.import_progress import ImportProgress
    from compliance_pipelines.audit_log.importing import ImportResult


@contextmanager
def _bar(file: Path) -> Iterator[ImportProgress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{file.name} {ImportPhase.READ}", total=None)

        def show(phase: ImportPhase, done: int, total: int | None) -> None:
            if phase is ImportPhase.READ:
                progress.update(task, completed=done, total=total)
            else:
                # How long these take is not known: the bar pulses.
                progress.update(task, description=f"{file.name} {phase}", total=None)

        yield show


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--rejects",
    type=click.Path(path_type=Path),
    help="New file for the lines that are refused; PATH.reasons.jsonl says why. The rest is imported.",
)
@needs(Need.DATABASE, Need.COLD_STORE, changes=True)
def import_(file: Path, rejects: Path | None) -> None:
    """Append the entries of FILE: one JSON object a line, gzip or not, in one transaction.

    Fields: log_entry_id, timestamp (RFC 3339), user_id, action, result, and, if there is one, resource_type,
    resource_id, metadata. Others are refused. Entries that were appended before count as repeated. A line that is
    refused stops the import before anything is written, unless --rejects is given.

    That the file was imported is appended to the audit log.
    """
    importing = doing(f"importing {file}, which is stored whole or not at all")
    with importing, opened() as services, _bar(file) as progress:
        result = import_file(
            services.engine,
            file,
            actor=services.settings.audit_log_actor,
            first_day=services.settings.audit_log_first_day,
            archived_ids=ArchivedIds(services),
            rejects=rejects,
            progress=progress,
        )
    click.echo(f"{file}: {_in_words(result, rejects)}")


def _in_words(result: ImportResult, rejects: Path | None) -> str:
    words = f"{result.new:,} new entries, {result.repeated:,} repeated"
    if result.first_day is not None:
        words += f", of {result.first_day} to {result.last_day}"
    if rejects is not None:
        words += f"; {result.refused:,} lines refused"
        if result.refused:
            words += f", which are in {rejects}, with reasons in {reasons_path(rejects)}"
    return words


COMMANDS: Final[list[click.Command]] = [import_]
