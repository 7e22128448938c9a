"""An import in a process of its own, which kills itself at a step.

`python -m tests.integration.audit_log.import_process` with arguments: database URL, file, rejects file, step. The step
is a phase of the import, `inserted`, `placed` (the rejects are in place, nothing is committed), or `never`. The process
prints its peak memory in MiB when it lives to the end.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from compliance_pipelines.audit_log.import_staging import StagedLines
from compliance_pipelines.audit_log.importing import import_file
from compliance_pipelines.audit_log.rejects import RejectsFile
from compliance_pipelines.postgres.engine import create_engine

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.audit_log.appending import ArchivedDay
    from compliance_pipelines.audit_log.import_progress import ImportPhase


class NoArchive:
    """Nothing was ever purged."""

    def of_day(self, _connection: sqlalchemy.Connection, day: date) -> ArchivedDay:
        """Never asked."""
        raise AssertionError(day)


def die() -> None:
    """End as a process does whose machine loses power."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(step: str) -> None:
    """Arrange the end of this process right after a step that has no phase."""
    insert, place = StagedLines.insert, RejectsFile.place

    def inserted(staged: StagedLines) -> int | None:
        new = insert(staged)
        if step == "inserted":
            die()
        return new

    def placed(rejects: RejectsFile) -> None:
        place(rejects)
        if step == "placed":
            die()

    mock.patch.object(StagedLines, "insert", inserted).start()
    mock.patch.object(RejectsFile, "place", placed).start()


def peak_mib() -> int:
    """This process's own peak of resident memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def main(url: str, file: str, rejects: str, step: str) -> None:
    """Import, and die when the step is done."""

    def progress(phase: ImportPhase, done: int, total: int | None) -> None:
        if phase == step:
            die()

    die_after(step)
    engine = create_engine(url, pool_size=2)
    import_file(
        engine,
        Path(file),
        actor="tests",
        first_day=date(2015, 1, 1),
        archived_ids=NoArchive(),
        rejects=Path(rejects) if rejects else None,
        progress=progress,
    )
    sys.stdout.write(f"{peak_mib()}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
