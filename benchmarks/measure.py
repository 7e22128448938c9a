"""Timing and reporting: medians, ratios, peak memory.

Here: how a figure is taken and shown. Not here: what is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Stopwatch:
    """The seconds of each timed block, by name."""

    laps: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Time a block."""
        started = time.perf_counter()
        yield
        self.record(name, time.perf_counter() - started)

    def record(self, name: str, seconds: float) -> None:
        """Add a figure that was taken elsewhere."""
        self.laps.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        """The median of a name's laps, in seconds."""
        return statistics.median(self.laps[name])


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    name: str
    seconds: float | None = None
    peer: str | None = None
    ratio: float | None = None
    at_most: float | None = None
    peak_mb: float | None = None
    remark: str = ""

    @property
    def missed(self) -> bool:
        """Whether the ratio or the memory is above its limit."""
        return self.at_most is not None and (self.ratio or 0) > self.at_most


def peak_memory_mb(task: Callable[..., object], *arguments: object) -> float:
    """Run a task in a new process and return the process's peak resident memory in MB (2**20 bytes).

    Raises:
        RuntimeError: the process failed.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_run_and_report, args=(sending, task, arguments))
    process.start()
    sending.close()
    try:
        peak = float(receiving.recv())
    except EOFError:
        process.join()
        raise RuntimeError(f"the measured process ended with exit status {process.exitcode}") from None
    process.join()
    return peak


def _run_and_report(
    sending: multiprocessing.connection.Connection, task: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    task(*arguments)
    sending.send(_peak_mb())
    sending.close()


def _peak_mb() -> float:
    """This process's own peak. Linux's `ru_maxrss` would include what the parent had when it started this process."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def show(results: list[Result]) -> None:
    """Print the table."""
    table = Table(title="Benchmarks (medians; ratios within this run)")
    for column in ("what", "seconds", "ratio", "against", "at most", "peak MB", "remark"):
        table.add_column(column, justify="right" if column in {"seconds", "ratio", "at most", "peak MB"} else "left")
    for result in results:
        table.add_row(
            result.name,
            "" if result.seconds is None else f"{result.seconds:.2f}",
            "" if result.ratio is None else f"[{'red' if result.missed else 'green'}]{result.ratio:.2f}[/]",
            result.peer or "",
            "" if result.at_most is None else f"{result.at_most:g}",
            "" if result.peak_mb is None else f"{result.peak_mb:.0f}",
            result.remark,
        )
    Console(width=140).print(table)


def save(results: list[Result], path: Path) -> None:
    """Write name -> seconds, ratio, peak_mb as JSON."""
    figures = {
        result.name: {"seconds": result.seconds, "ratio": result.ratio, "peak_mb": result.peak_mb} for result in results
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
