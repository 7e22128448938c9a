"""What seven years of archives cost, by provider: measured sizes and requests times prices that others have published.

Here: the prices with their sources, what was measured, and the table of docs/costs.md. Not here: measuring
(cost_measures.py).

    python -m benchmarks.costs              # the table, as the document has it
    python -m benchmarks.costs --measure    # measures anew what MEASURED holds, on embedded servers

A price that could not be confirmed is None, and the table has a formula in its place.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Final

YEARS: Final = 7
DAYS: Final = 2_557
"""Of seven years, with two leap days."""
_MONTHS_A_YEAR: Final = 12
_GB: Final = 10**9
_SCRUB_DAYS: Final = 90
_DAYS_A_YEAR: Final = 365.25
_PASSES_A_DAY: Final = 1_440
VOLUMES: Final = (100_000, 2_000_000, 20_000_000)


@dataclass(frozen=True)
class Measured:
    """What one day's archive takes, by `--measure` with a million entries.

    Attributes:
        bytes_per_entry: of an encrypted Parquet object, per entry.
        writes_per_part: requests that write or list, for the archive of a part, its verification included.
        reads_per_part: requests that read or look, for the same.
        reads_per_reading: requests that read or look, for one scrub of a part.
        writes_per_pass: requests that write or list, for a sealing pass and its publication.
        reads_per_pass: requests that read or look, for the same.
    """

    bytes_per_entry: float
    writes_per_part: int
    reads_per_part: int
    reads_per_reading: int
    writes_per_pass: int
    reads_per_pass: int


MEASURED: Final = Measured(
    bytes_per_entry=75.74,
    writes_per_part=13,
    reads_per_part=26,
    reads_per_reading=20,
    writes_per_pass=7,
    reads_per_pass=10,
)


@dataclass(frozen=True)
class Use:
    """What using objects of a storage class costs, in US dollars.

    Attributes:
        writes: a thousand requests that write or list.
        reads: a thousand requests that read.
        gb_read: reading a GB back, within the region.
    """

    writes: float
    reads: float
    gb_read: float


@dataclass(frozen=True)
class Prices:
    """What a storage class costs, in US dollars.

    Attributes:
        name: of the provider and the class.
        gb_month: a GB for a month.
        use: None where it could not be confirmed.
        ledger: of the class that tiles, checkpoints, manifests and records of keys stay in.
    """

    name: str
    gb_month: float
    use: Use | None
    ledger: Use


# us-east-1; storage and reading back: costnimbus.com/article/s3-storage-classes-cost-guide, "as of March 2026";
# requests: c3x.dev/blog/s3-request-fees-explained.
# us-central1; storage: cloud.google.com/storage/pricing, a stored copy; Standard's requests:
# cloud.google.com/storage/pricing-examples; Nearline's requests and reading back: oneuptime.com/blog, 2026-02-17.
# All looked up on 2026-11-30.
_STANDARD: Final = Use(0.005, 0.0004, 0.0)
"""The same at both."""
CLASSES: Final = (
    Prices("S3 Standard", 0.023, _STANDARD, _STANDARD),
    Prices("S3 Standard-IA", 0.0125, Use(0.01, 0.001, 0.01), _STANDARD),
    Prices("S3 Glacier Instant Retrieval", 0.004, Use(0.02, 0.01, 0.03), _STANDARD),
    Prices("GCS Standard", 0.020, _STANDARD, _STANDARD),
    Prices("GCS Nearline", 0.010, Use(0.01, 0.001, 0.01), _STANDARD),
    Prices("GCS Coldline", 0.004, None, _STANDARD),
    Prices("GCS Archive", 0.0012, None, _STANDARD),
)


@dataclass(frozen=True)
class Cost:
    """A year's cost once seven years are kept, in US dollars; None where a price could not be confirmed."""

    storage: float
    requests: float | None
    reading: float | None


def stored_gb(entries_a_day: int, measured: Measured = MEASURED) -> float:
    """GB of Parquet objects of seven years."""
    return entries_a_day * measured.bytes_per_entry * DAYS / _GB


def gb_read_a_year(entries_a_day: int, measured: Measured = MEASURED) -> float:
    """GB read back in a year: each new part twice (verification, purge), and all of them every 90 days."""
    scrubs = _DAYS_A_YEAR / _SCRUB_DAYS
    return stored_gb(entries_a_day, measured) * (scrubs + 2 / YEARS)


def cost(entries_a_day: int, prices: Prices, measured: Measured = MEASURED) -> Cost:
    """A year's cost once seven years are kept.

    Args:
        entries_a_day: that are archived, one part a day.
        prices: of the class that the Parquet objects are in.
        measured: sizes and requests.
    """
    storage = stored_gb(entries_a_day, measured) * prices.gb_month * _MONTHS_A_YEAR
    use, ledger = prices.use, prices.ledger
    if use is None:
        return Cost(storage, None, None)
    passes = _PASSES_A_DAY * _DAYS_A_YEAR
    # All requests of an archive count at the price of its class, though its small objects stay in the other.
    writes = _DAYS_A_YEAR * measured.writes_per_part * use.writes + passes * measured.writes_per_pass * ledger.writes
    # The purge reads, too.
    readings = DAYS * _DAYS_A_YEAR / _SCRUB_DAYS + _DAYS_A_YEAR
    reads = (_DAYS_A_YEAR * measured.reads_per_part + readings * measured.reads_per_reading) * use.reads
    reads += passes * measured.reads_per_pass * ledger.reads
    return Cost(storage, (writes + reads) / 1_000, gb_read_a_year(entries_a_day, measured) * use.gb_read)


def measured_table() -> str:
    """What the table rests on, in Markdown."""
    rows = [
        ("bytes of an encrypted archive per entry (*b*)", f"{MEASURED.bytes_per_entry}"),
        ("archive of a part, verified: requests that write or list", f"{MEASURED.writes_per_part}"),
        ("archive of a part, verified: requests that read or look", f"{MEASURED.reads_per_part}"),
        ("reading of a part: requests", f"{MEASURED.reads_per_reading}"),
        ("sealing pass: requests that write or list", f"{MEASURED.writes_per_pass}"),
        ("sealing pass: requests that read or look", f"{MEASURED.reads_per_pass}"),
    ]
    return "| | |\n|---|---|\n" + "".join(f"| {what} | {count} |\n" for what, count in rows)


def table() -> str:
    """The table of the document, in Markdown."""
    lines = [
        "| entries a day | kept after 7 years | class of the objects | storage | requests | reading back | together |",
        "|---|---|---|---|---|---|---|",
    ]
    for volume in VOLUMES:
        for prices in CLASSES:
            found = cost(volume, prices)
            known = found.requests is not None and found.reading is not None
            together = found.storage + (found.requests or 0) + (found.reading or 0)
            cells = [
                f"{volume:,}",
                f"{stored_gb(volume):,.1f} GB",
                prices.name,
                f"{found.storage:,.2f}",
                "by the formula" if found.requests is None else f"{found.requests:,.2f}",
                "by the formula" if found.reading is None else f"{found.reading:,.2f}",
                f"{together:,.2f}" if known else "",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, or what it rests on, measured anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure sizes and requests anew, and print them")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the measured day")
    arguments = parser.parse_args()
    if arguments.measure:
        from benchmarks.cost_measures import measure  # noqa: PLC0415 - the table needs no server

        print(json.dumps(measure(arguments.entries), indent=2))
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
