"""The lines that an import refuses, kept for whoever sets them right.

Here: two files. PATH holds the refused lines byte for byte, so that it can be corrected and imported; line n of
`PATH.reasons.jsonl` says in JSON where line n of PATH stood (`line`) and why it was refused (`reason`). Not here: what
is refused.

Both are written aside and put in place when everything else is done, right before the import is committed: a line is in
the database or in PATH, and a run that fails leaves neither file. They never replace a file.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

_REASONS_SUFFIX: Final = ".reasons.jsonl"


class RejectsError(ComplianceError):
    """The refused lines cannot be written; nothing was imported."""


def reasons_path(path: Path) -> Path:
    """Where the reasons of the lines in `path` stand."""
    return path.with_name(path.name + _REASONS_SUFFIX)


class RejectsFile:
    """The two files while they are written; see :func:`open_rejects`."""

    def __init__(self, path: Path) -> None:
        self._targets = (path, reasons_path(path))
        self._aside = tuple(target.with_name(f".{target.name}.{uuid.uuid4().hex}") for target in self._targets)
        self._files: list[BinaryIO] = []
        self._placed: list[Path] = []
        self.path = path
        self.count = 0

    def open(self) -> None:
        """Make the files aside.

        Raises:
            RejectsError: they cannot be made, or one of the targets exists.
        """
        with self._writing():
            for target in self._targets:
                if target.exists():
                    raise _taken(target)
            self._files.extend(aside.open("xb") for aside in self._aside)

    def add(self, line_number: int, pieces: Iterable[bytes], reason: str) -> None:
        """Write a refused line, in pieces, with its end; one that has no end gets one.

        Raises:
            RejectsError: the files cannot be written.
        """
        lines, reasons = self._files
        last = b""
        with self._writing():
            for piece in pieces:
                lines.write(piece)
                last = piece
            if not last.endswith(b"\n"):
                lines.write(b"\n")
            described = json.dumps({"line": line_number, "reason": reason}, ensure_ascii=False)
            reasons.write(described.encode("utf-8", "backslashreplace") + b"\n")
        self.count += 1

    def place(self) -> None:
        """Put the files in place, durably; nothing where no line was refused.

        Raises:
            RejectsError: that failed.
        """
        if not self.count:
            return
        with self._writing():
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            for aside, target in zip(self._aside, self._targets, strict=True):
                _place(aside, target)
                self._placed.append(target)
            directory = os.open(self.path.absolute().parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def withdraw(self) -> None:
        """Remove the files that were put in place: the import was rolled back."""
        for target in self._placed:
            with suppress(OSError):
                target.unlink()

    def close(self) -> None:
        """Remove what stands aside."""
        for file in self._files:
            with suppress(OSError):
                file.close()
        for aside in self._aside:
            with suppress(OSError):
                aside.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RejectsError(
                f"the refused lines cannot be written to {self.path}: {error.strerror or error}; nothing was imported"
            ) from error


def _place(aside: Path, target: Path) -> None:
    try:
        os.link(aside, target)
    except FileExistsError:
        raise _taken(target) from None
    except OSError:
        # A file system without hard links: there the look and the leap are two steps.
        if target.exists():
            raise _taken(target) from None
        aside.rename(target)


def _taken(target: Path) -> RejectsError:
    return RejectsError(
        f"{target} exists, and may hold lines that stand nowhere else: move it away, or give --rejects another path"
    )


@contextmanager
def open_rejects(path: Path) -> Iterator[RejectsFile]:
    """The files while an import runs; what is not put in place is removed.

    Raises:
        RejectsError: they cannot be made, or one of them exists.
    """
    rejects = RejectsFile(Path(path))
    try:
        rejects.open()
        yield rejects
    finally:
        rejects.close()
