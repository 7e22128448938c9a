"""Progress bars of the long steps on a day.

Here: what a person sees while they go on. Not here: how the steps tell how far they are (archive/progress.py).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.archive.progress import Phase, Progress


@contextmanager
def bars(what: object) -> Iterator[Progress]:
    """Bars on standard error, one for each phase, that are gone when the block ends; none where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with rich.progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        tasks: dict[Phase, TaskID] = {}

        def tell(phase: Phase, rows: int, total_rows: int) -> None:
            if phase not in tasks:
                tasks[phase] = shown.add_task(f"{what} {phase}", total=total_rows)
            shown.update(tasks[phase], completed=rows, total=total_rows)

        yield tell
