"""What a search will read, and what it cannot show.

Here: the plan, made of what is recorded and of what the filters say. Not here: reading anything of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.search.prices import Prices, requests_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.search.holdings import Holdings, HotDay
    from compliance_pipelines.search.period import Period
    from compliance_pipelines.search.prices import Price
    from compliance_pipelines.search_filters import Matching, Wanted

_NAMED: Final = 3


@dataclass(frozen=True)
class PartToRead:
    """A part of the cold store.

    Attributes:
        versions: what the store called its objects when they were put, by key.
        manifest_sha256: hex, of its manifest, where the catalogue knows it.
        manifest: where it was read already.
        row_groups: those that can hold what is wanted; None: any.
    """

    day: date
    part: int
    object_key: str
    object_bytes: int
    entry_count: int
    encrypted: bool
    manifest_key: str
    versions: dict[str, str] = field(default_factory=dict)
    manifest_sha256: str | None = None
    manifest: Manifest | None = None
    row_groups: tuple[int, ...] | None = None

    @classmethod
    def of_catalogue(cls, part: ArchivedPart, row_groups: tuple[int, ...] | None) -> PartToRead:
        """A part as the catalogue has it."""
        return cls(
            part.day,
            part.part,
            part.object_key,
            part.object_bytes,
            part.entry_count,
            part.encryption is not None,
            part.manifest_key,
            part.versions,
            part.manifest_sha256,
            row_groups=row_groups,
        )

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> PartToRead:
        """A part as its manifest has it, which was read."""
        return cls(
            manifest.day,
            manifest.part,
            manifest.object_key,
            manifest.object_bytes,
            manifest.entry_count,
            manifest.encryption is not None,
            manifest.manifest_key,
            manifest=manifest,
        )


@dataclass(frozen=True)
class Plan:
    """What one search reads.

    Attributes:
        period: what it is about.
        wanted: likewise.
        parts: what is read of the cold store, whole objects.
        stored_parts: how many parts of these days are in the cold store alone.
        stored_bytes: how many bytes these have.
        hot_days: days of which rows in PostgreSQL are read.
        gaps: what cannot be shown although it is on record, in words; with any, the result is partial.
        notes: what else is to be said.
        price: of reading the parts.
        requests: how many that takes, about.
    """

    period: Period
    wanted: Wanted
    parts: tuple[PartToRead, ...]
    stored_parts: int
    stored_bytes: int
    hot_days: tuple[HotDay, ...]
    gaps: tuple[str, ...]
    notes: tuple[str, ...]
    price: Price
    requests: int

    @property
    def object_bytes(self) -> int:
        """Bytes that are read of the cold store."""
        return sum(part.object_bytes for part in self.parts)

    @property
    def hot_rows(self) -> int:
        """Rows that there are in PostgreSQL on the days that are read."""
        return sum(day.rows for day in self.hot_days)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "period": self.period.to_json(),
            "parts": len(self.parts),
            "bytes": self.object_bytes,
            "requests": self.requests,
            "price_usd": round(self.price.total, 6),
            "stored_parts": self.stored_parts,
            "stored_bytes": self.stored_bytes,
            "row_groups": _row_groups(self.parts),
            "hot_days": len(self.hot_days),
            "hot_rows": self.hot_rows,
            "missing": list(self.gaps),
            "notes": list(self.notes),
        }


def _row_groups(parts: Sequence[PartToRead]) -> int | None:
    """How many row groups are looked into; None where that is not known of some part."""
    known = [part.row_groups for part in parts if part.row_groups is not None]
    return sum(map(len, known)) if len(known) == len(parts) else None


def plan_of(found: Holdings, matching: Matching, period: Period, wanted: Wanted, prices: Prices) -> Plan:
    """The plan for what is recorded and what the filters say."""
    chosen = [(part, matching.row_groups[part.object_key]) for part in found.parts]
    read = tuple(PartToRead.of_catalogue(part, groups) for part, groups in chosen if groups is None or groups)
    notes = [
        f"{part.day}: part {part.part} with {part.entry_count:,} entries expired at {part.expired_at:%Y-%m-%d}, so "
        "that nothing of it can be shown"
        for part in found.expired
    ]
    notes += _said_of_filters(matching) if wanted.by_column else []
    return with_price(
        read,
        period,
        wanted,
        prices,
        stored=(len(found.parts), sum(part.object_bytes for part in found.parts)),
        hot_days=found.hot_days,
        gaps=found.gaps,
        notes=tuple(notes),
    )


def _said_of_filters(matching: Matching) -> list[str]:
    """Why parts are read whole, or not, as far as it is not what one would expect."""
    said = (
        ("read whole, because their filters are not what was made of them", matching.not_believed),
        ("read whole, because they have no filters (`compliance search-index rebuild` makes them)", matching.without),
        ("read whole, because their filters cannot be asked without their keys", matching.without_key),
        (
            (
                "not encrypted, and something is left out because the catalogue says so, which whoever can write to it "
                "may have made it say"
            ),
            matching.on_trust,
        ),
    )
    return [
        f"{what}: {', '.join(keys[:_NAMED])}{f', and {len(keys) - _NAMED:,} more' if len(keys) > _NAMED else ''}"
        for what, keys in said
        if keys
    ]


def with_price(  # noqa: PLR0913 - what a plan is made of
    parts: tuple[PartToRead, ...],
    period: Period,
    wanted: Wanted,
    prices: Prices,
    *,
    stored: tuple[int, int],
    hot_days: tuple[HotDay, ...] = (),
    gaps: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Plan:
    """A plan, with what it costs to read its parts.

    Args:
        parts: that are read.
        period: what it is about.
        wanted: likewise.
        prices: of the cold store.
        stored: how many parts there are, and their bytes.
        hot_days: as :class:`Plan` has them.
        gaps: likewise.
        notes: likewise.
    """
    requests = sum(requests_for(part.object_bytes, encrypted=part.encrypted) for part in parts)
    price = prices.of_reading(requests, sum(part.object_bytes for part in parts))
    return Plan(period, wanted, parts, *stored, hot_days, gaps, notes, price, requests)
