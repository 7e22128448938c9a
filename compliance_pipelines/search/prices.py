"""What reading from a cold store costs.

Here: prices that are taken where none is set, and how many requests an object takes. Not here: whether anybody is
billed for it; docs/search.md has the sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.object_store.ranged import FIRST_RANGE, LARGEST_RANGE

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings

CHUNK_BYTES: Final = 4 * 2**20
"""What is read of an object at once, and asked for at least."""
_GIB: Final = 2**30


@dataclass(frozen=True)
class Prices:
    """In US dollars.

    Attributes:
        per_1000_requests: of reading requests.
        per_gib: of what leaves the provider's network; nothing is billed within its region.
    """

    per_1000_requests: float
    per_gib: float

    @classmethod
    def of(cls, settings: Settings) -> Prices:
        """Those of the settings, else of the provider's list."""
        listed = LIST_PRICES[settings.audit_cold_storage_provider]
        request, transfer = settings.audit_search_request_price, settings.audit_search_transfer_price
        return cls(
            listed.per_1000_requests if request is None else request, listed.per_gib if transfer is None else transfer
        )

    def of_reading(self, requests: int, size: int) -> Price:
        """The price of some requests that bring some bytes."""
        return Price(requests * self.per_1000_requests / 1000, size * self.per_gib / _GIB)


@dataclass(frozen=True)
class Price:
    """In US dollars: of the requests, and of the transfer, where it leaves the provider's network."""

    requests: float
    transfer: float

    @property
    def total(self) -> float:
        """Both."""
        return self.requests + self.transfer


LIST_PRICES: Final = {
    "local": Prices(0.0, 0.0),
    "s3": Prices(0.0004, 0.09),
    "gcs": Prices(0.0004, 0.12),
}
"""Of the standard class in the United States, without a free tier. Lists change: the settings have the last word."""


def requests_for(size: int, *, encrypted: bool) -> int:
    """How many requests a part takes: its manifest, the record of its key, the ranges of its object."""
    ranges, window, fetched = 1, FIRST_RANGE, FIRST_RANGE
    while fetched < size:
        # As RangedFile grows where it is read in a row.
        window = min(2 * window, LARGEST_RANGE)
        fetched += max(window, CHUNK_BYTES)
        ranges += 1
    return 1 + int(encrypted) + ranges
