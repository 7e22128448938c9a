"""The figures of the whole as a table for a person: `compliance status`, and the demo after its main job.

Here: the words and the table. Not here: how any figure is found.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.table import Table

from compliance_pipelines.archive.scrub_record import in_words
from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rich.console import Console

    from compliance_pipelines.archive.figures import Figures
    from compliance_pipelines.archive.scrub_record import ScrubState
    from compliance_pipelines.holds import Hold
    from compliance_pipelines.ledger.losses import Loss
    from compliance_pipelines.ledger.records import Statement

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024
_MOST_SAID: Final = 500


def human_bytes(count: float) -> str:
    """A size with the unit that fits it."""
    for unit in _UNITS[:-1]:
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} {_UNITS[-1]}"


def _compression(ratio: float | None) -> str:
    if ratio is None:
        return ""
    if ratio < 1:  # days of a few entries are mostly footer and bloom filters
        return f", {1 / ratio:.1f} times the entries' size"
    return f", {ratio:.1f} times smaller than the entries"


def _held(holds: Collection[Hold]) -> str:
    """How many of the verified days are not purged, and which holds they wait for."""
    by_hold = sorted(Counter(hold.id for hold in holds).items())
    days = "1 verified day is" if len(holds) == 1 else f"{len(holds):,} verified days are"
    return f"{days} not purged: " + ", ".join(f"{count:,} by hold {hold}" for hold, count in by_hold)


def _next_due(figures: Figures) -> str:
    due = figures.next_due
    if due is None:
        return "nothing"
    doubt = ", unless held" if due.action == "purge" and figures.held is None else ""
    return f"{due.action} {due.day} from {due.at:%Y-%m-%d %H:%M} UTC on{doubt}"


def _read_back(scrub: ScrubState) -> str:
    """When archives were read back from the cold store, and what is wrong with that."""
    since = "" if scrub.unread_since is None else f", each since {scrub.unread_since:%Y-%m-%d %H:%M} UTC"
    said = [f"{scrub.parts:,} parts{since}"]
    if scrub.damaged:
        said.append(f"DAMAGED: {in_words(scrub.damaged)}; see `compliance repair`")
    if scrub.overdue:
        said.append(f"overdue: {in_words(scrub.overdue)}; see `compliance scrub`")
    return "; ".join(said)


def _loss(statement: Statement, loss: Loss) -> str:
    segments = sum(after - first for first, after in loss.ranges)
    what = f"{segments:,} segments with {loss.entries:,} entries, of which {loss.found:,} were found again"
    said = f"{statement.sealed_at:%Y-%m-%d %H:%M} UTC by {loss.author}: {loss.reason}"
    return escape(printable(f"{what if loss.ranges else 'a recovery without a loss'}; {said}", _MOST_SAID))


def show_for_copying(console: Console, name: str, value: str) -> None:
    """Print a hash, key or id on a line of its own, which is never broken, however narrow the terminal is.

    What stands in a table is broken to fit, and what is copied from there is not the value any more.
    """
    console.print(f"{name} {value}", soft_wrap=True, highlight=False, markup=False)


def show_summary(
    console: Console, title: str | None, figures: Figures, outside: Mapping[str, str] | None = None
) -> None:
    """Print the figures as a table of two columns, and below it the root of the ledger.

    Args:
        console: to print on.
        title: of the table.
        figures: the figures.
        outside: what somebody outside has seen of the ledger, in words, by who that is.
    """
    table = Table(title=title, show_header=False, title_justify="left", min_width=72)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    totals = figures.totals
    if figures.replica is not None:
        table.add_row("database", f"a read-only replica: {figures.replica.in_words()}")
    table.add_row("days", ", ".join(f"{count} {state}" for state, count in figures.days.items() if count) or "none")
    table.add_row(
        "entries",
        f"{totals.total_entries:,} in all: {totals.hot_entries:,} hot, {totals.cold_entries:,} cold "
        f"({totals.hot_entries + totals.cold_entries - totals.total_entries:,} in both until purged)",
    )
    table.add_row("hot store", f"{human_bytes(totals.hot_bytes)} in PostgreSQL, indexes included")
    table.add_row("cold store", f"{human_bytes(totals.cold_bytes)} of Parquet{_compression(totals.compression)}")
    if figures.scrub is not None and figures.scrub.parts:
        table.add_row("read back", _read_back(figures.scrub))
    if figures.checkpoint_time is not None:
        signed = f"{figures.checkpoint_time:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row("ledger", f"{figures.ledger_size:,} records, last checkpoint signed {signed}")
    for name, seen in (outside or {}).items():
        table.add_row(name, seen)
    for statement, loss in figures.losses:
        table.add_row("loss accepted", _loss(statement, loss))
    if figures.held is None:
        table.add_row("held", "cannot be told: this login may not see whom holds are on")
    elif figures.held:
        table.add_row("held", _held(figures.held.values()))
    table.add_row("next due", _next_due(figures))
    console.print(table)
    if figures.ledger_root is not None:
        show_for_copying(console, "ledger root", figures.ledger_root.hex())
