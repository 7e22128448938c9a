"""Whether a file decodes to the rows that this process wrote into it.

Here: comparing what its row groups decode to with what was written. Not here: that these rows are those that were
sealed, which is known of them before; and that the file is the one that was written, which its SHA-256 tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.fingerprints import fingerprint
from compliance_pipelines.archive.parquet import open_part
from compliance_pipelines.base.streaming import run_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from compliance_pipelines.archive.parquet import WrittenFile
    from compliance_pipelines.ledger.segments import Segment

_GROUPS_AHEAD: Final = 1


@dataclass(frozen=True)
class WrittenRows:
    """What one run of this process wrote.

    Attributes:
        file: the Parquet file.
        segments: whose rows they are, compared row by row with the ledger while they were written.
        canonical_bytes: length of the rows' canonical encodings.
    """

    file: WrittenFile
    segments: tuple[Segment, ...]
    canonical_bytes: int


def decodes_to_what_was_written(
    path: Path, written: WrittenRows, *, name: str, progress: Callable[[int], None]
) -> bool:
    """Decode a file that has the SHA-256 of the one that was written, in two threads.

    Args:
        path: the file.
        written: what was.
        name: how messages call the file.
        progress: told how many rows were compared so far.

    Raises:
        UnreadableParquetError: it cannot be decoded.
    """
    groups = written.file.groups
    rows = 0
    with (
        run_ahead(_decoded(path, name, 0), depth=_GROUPS_AHEAD, name="read-back-even") as even,
        run_ahead(_decoded(path, name, 1), depth=_GROUPS_AHEAD, name="read-back-odd") as odd,
    ):
        found = (each for pair in zip_longest(even, odd) for each in pair if each is not None)
        for group, expected in zip_longest(found, groups):
            if group is None or group.fingerprint != expected:
                return False
            rows += group.rows
            progress(rows)
    return rows == written.file.rows


@dataclass(frozen=True)
class _Group:
    rows: int
    fingerprint: bytes


def _decoded(path: Path, name: str, first: int) -> Iterator[_Group]:
    """Every second row group from the first one on; each stream with a file of its own."""
    with open_part(path, name=name) as part:
        for number in range(first, part.metadata.num_row_groups, 2):
            batches = part.batches(row_groups=[number])
            yield _Group(int(part.metadata.row_group(number).num_rows), fingerprint(batches))
