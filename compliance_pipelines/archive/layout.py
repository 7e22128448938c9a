"""Where the parts of a day lie in the cold store, and what identifies a part.

Here: keys and the root of a part. Not here: anything that reads or writes the store.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.merkle import merkle_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.ledger.segments import Segment

PREFIX: Final = "audit-archives/"
OBJECT_SUFFIX: Final = ".parquet"
MANIFEST_SUFFIX: Final = ".manifest.json"

_ROOT_DIGITS: Final = 8
FIRST_REVISION: Final = 0
"""Of a part as it was archived. A repair makes the next one, of the same segments with the same root."""
_STEM = re.compile(
    r"audit-archives/(?P<year>\d{4})/(?P<month>\d{2})/"
    r"audit-logs-(?P<day>\d{4}-\d{2}-\d{2})\.(?P<part>[1-9]\d*)-(?P<root>[0-9a-f]{8})\.(?P<revision>0|[1-9]\d{0,3})"
    r"(?P<suffix>\.parquet|\.manifest\.json)"
)

Family = tuple[date, int, str]


@dataclass(frozen=True)
class PartKey:
    """What the key of an object or of a manifest says about it."""

    day: date
    part: int
    root_prefix: str
    is_manifest: bool
    revision: int = FIRST_REVISION

    @classmethod
    def of(cls, day: date, part: int, root: bytes, revision: int = FIRST_REVISION) -> PartKey:
        """The key of the object of a part with this root."""
        return cls(day, part, root.hex()[:_ROOT_DIGITS], is_manifest=False, revision=revision)

    @property
    def family(self) -> Family:
        """What all revisions of a part have in common."""
        return self.day, self.part, self.root_prefix

    @property
    def family_prefix(self) -> str:
        """What the keys of all revisions of a part begin with, and no other part's."""
        return f"{day_prefix(self.day)}{self.part}-{self.root_prefix}."

    @property
    def _stem(self) -> str:
        return f"{self.family_prefix}{self.revision}"

    @property
    def object_key(self) -> str:
        """The key of the part's object."""
        return self._stem + OBJECT_SUFFIX

    @property
    def manifest_key(self) -> str:
        """The key of the part's manifest."""
        return self._stem + MANIFEST_SUFFIX


def day_prefix(day: date) -> str:
    """What the keys of a day's objects and manifests begin with, and no other day's."""
    return f"{PREFIX}{day:%Y}/{day:%m}/audit-logs-{day.isoformat()}."


def object_key(day: date, part: int, root: bytes, revision: int = FIRST_REVISION) -> str:
    """The key of the Parquet object of a part with this root."""
    return PartKey.of(day, part, root, revision).object_key


def manifest_key(day: date, part: int, root: bytes, revision: int = FIRST_REVISION) -> str:
    """The key of the manifest beside :func:`object_key`."""
    return PartKey.of(day, part, root, revision).manifest_key


def parse_key(key: str) -> PartKey | None:
    """What a key says, or None where it is no key of an archive part."""
    match = _STEM.fullmatch(key)
    if match is None:
        return None
    try:
        day = date.fromisoformat(match["day"])
    except ValueError:
        return None
    is_manifest = match["suffix"] == MANIFEST_SUFFIX
    parsed = PartKey(day, int(match["part"]), match["root"], is_manifest, int(match["revision"]))
    written = parsed.manifest_key if parsed.is_manifest else parsed.object_key
    return parsed if written == key else None


def part_root(segments: Sequence[Segment]) -> bytes:
    """The root of a part: the RFC 6962 tree over the leaf hashes of its segment records, in the order of their seq."""
    return merkle_root([segment.leaf_hash() for segment in sorted(segments, key=lambda segment: segment.seq)])
