"""The lines that an import refuses, as it counts and names them.

Here: the count, the first few, the error that they become. Not here: why a line is refused, and the file that keeps the
lines (rejects.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from compliance_pipelines.audit_log.rejects import RejectsFile

MOST_NAMED: Final = 10
"""How many refused lines an error names."""

_REASON_CHARACTERS: Final = 300


@dataclass(frozen=True, order=True)
class RefusedLine:
    """A line by its number, from 1, and why it is refused."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


class ImportRefusedError(ComplianceError):
    """Lines are refused, and so is the file; nothing was imported.

    Attributes:
        lines: the first that were found, by number.
        count: how many there are.
    """

    def __init__(self, file: Path, lines: Sequence[RefusedLine], count: int) -> None:
        self.lines = tuple(sorted(lines))
        self.count = count
        counted = "1 line is refused" if count == 1 else f"{count:,} lines are refused"
        if count > len(self.lines):
            counted += f", of which {len(self.lines)} are"
        super().__init__(
            f"{file}: {counted}: {'; '.join(map(str, self.lines))}. Nothing was imported: set them right, or give "
            "--rejects PATH to import the rest"
        )


class Refusals:
    """The refused lines of one import: counted, some named, all of them kept where there is a rejects file."""

    def __init__(self, rejects: RejectsFile | None) -> None:
        self._rejects = rejects
        self.named: list[RefusedLine] = []
        self.count = 0

    def add(self, number: int, pieces: Iterable[bytes], reason: str) -> None:
        """Refuse a line.

        Args:
            number: of the line, from 1.
            pieces: its bytes, with its end.
            reason: in words.

        Raises:
            RejectsError: it cannot be kept.
        """
        if len(reason) > _REASON_CHARACTERS:
            reason = reason[:_REASON_CHARACTERS] + "..."
        if self._rejects is not None:
            self._rejects.add(number, pieces, reason)
        if len(self.named) < MOST_NAMED:
            self.named.append(RefusedLine(number, reason))
        self.count += 1
