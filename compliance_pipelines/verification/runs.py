"""One finding where consecutive checkpoints have the same problem.

Here: joining them. A ledger has a checkpoint a minute; with the wrong public key each of them is signed by another. Not
here: what is wrong with one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.verification.findings import Finding, Kind

if TYPE_CHECKING:
    from compliance_pipelines.verification.findings import Journal


@dataclass
class _Run:
    message: str
    first: int
    key: str | None
    last: int
    count: int = 1


class CheckpointRuns:
    """Takes problems checkpoint by checkpoint, in ascending order of size."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._runs: dict[tuple[Kind, str], _Run] = {}
        self._touched: set[tuple[Kind, str]] = set()

    def add(self, kind: Kind, where: str, size: int, message: str, key: str | None = None) -> None:
        """This checkpoint has a problem; `where` tells stores and aspects apart that are not joined."""
        name = (kind, where)
        if name in self._touched:
            self._close(name)
        run = self._runs.get(name)
        if run is None:
            self._runs[name] = _Run(message, size, key, size)
        else:
            run.last = size
            run.count += 1
        self._touched.add(name)

    def next_size(self) -> None:
        """All was said about this checkpoint: runs that it does not continue end."""
        for name in [name for name in self._runs if name not in self._touched]:
            self._close(name)
        self._touched.clear()

    def finish(self) -> None:
        """There are no more checkpoints."""
        for name in list(self._runs):
            self._close(name)

    def _close(self, name: tuple[Kind, str]) -> None:
        run = self._runs.pop(name)
        others = run.count - 1
        more = f"; the same is true of {others:,} more in a row, up to checkpoint {run.last}" if others else ""
        self._journal.find(Finding(kind=name[0], checkpoint=run.first, key=run.key, message=run.message + more))
