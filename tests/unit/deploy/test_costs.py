"""The cost table of docs/costs.md is what the script prints, and the script counts as its formula says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.costs import CLASSES, MEASURED, Measured, cost, gb_read_a_year, measured_table, stored_gb, table

_DOCUMENT = Path(__file__).parents[3] / "docs" / "costs.md"


def between(marker: str) -> str:
    """What stands between two markers of the document."""
    text = _DOCUMENT.read_text(encoding="utf-8")
    return text.split(f"<!-- {marker} -->\n")[1].split(f"<!-- /{marker} -->")[0]


def test_the_document_has_the_table_and_what_it_rests_on() -> None:
    assert between("costs") == table(), "run `python -m benchmarks.costs`, and put it between the markers"
    assert between("measured") == measured_table()


def test_the_formula_by_hand() -> None:
    """1,000 entries a day of 1,000 bytes are 2.557 GB; the class has a dollar for each."""
    measured = Measured(1_000.0, 10, 20, 5, 0, 0)
    assert stored_gb(1_000, measured) == pytest.approx(2.557)
    assert gb_read_a_year(1_000, measured) == pytest.approx(2.557 * (365.25 / 90 + 2 / 7))
    rare = next(prices for prices in CLASSES if prices.name == "S3 Standard-IA")
    assert rare.use is not None
    found = cost(1_000, rare, measured)
    assert found.storage == pytest.approx(2.557 * 0.0125 * 12)
    requests = 365.25 * 10 * 0.01 + (365.25 * 20 + (2557 * 365.25 / 90 + 365.25) * 5) * 0.001
    assert found.requests == pytest.approx(requests / 1_000)
    assert found.reading == pytest.approx(gb_read_a_year(1_000, measured) * 0.01)


def test_a_price_that_is_not_known_is_left_to_the_formula() -> None:
    unknown = [prices for prices in CLASSES if prices.use is None]
    assert unknown
    assert all(cost(1, prices, MEASURED).requests is None for prices in unknown)
    assert table().count("by the formula | by the formula |  |") == 3 * len(unknown)
