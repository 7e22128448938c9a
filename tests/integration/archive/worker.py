"""A process of its own that works on days, and dies where it is told to: `python -m tests.integration.archive.worker`.

One process starts and imports everything once; for each order, a line of JSON on standard input, it forks a child that
opens its own connections, does the work, and kills itself with SIGKILL when the named step is done.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.archive.repair import repair_day
from compliance_pipelines.archive.restore import restore_day
from compliance_pipelines.archive.scrub import scrub
from compliance_pipelines.ledger.sealing import seal
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from compliance_pipelines.services import Services

_CHECKOUT: Final = Path(__file__).resolve().parents[3]
_MOST_SECONDS: Final = 900


@dataclass(frozen=True)
class Order:
    """What a child is to do.

    Attributes:
        work: `archive`, `purge`, `restore`, `repair`, `scrub` or `seal`.
        day: the day; empty for `seal`.
        die_after: the step after which it kills itself; None lets it live.
        most_file_bytes: no file can grow beyond this: a disk that is full; None for no bound.
    """

    work: str
    day: str = ""
    die_after: str | None = None
    most_file_bytes: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a child ended: killed, or with an error, or well; and its peak memory in bytes."""

    killed: bool
    error: str | None
    peak_bytes: int


class Worker:
    """The process, seen from the tests."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, services: Services, order: Order) -> Outcome:
        """Have an order carried out on the same database and store, at the time of the same clock."""
        settings = services.settings
        assert settings.ledger_signing_key is not None
        message = {
            "order": dataclasses.asdict(order),
            "now": services.clock().isoformat(),
            "settings": {
                "audit_log_database_url": settings.require_database_url(),
                "audit_log_connection_pool_size": 2,
                "audit_cold_storage_provider": "local",
                "audit_cold_storage_path": str(settings.audit_cold_storage_path),
                "ledger_signing_key": settings.ledger_signing_key.get_secret_value(),
                "compliance_local_stack": settings.compliance_local_stack,
                "audit_archive_encryption": settings.audit_archive_encryption,
                "audit_archive_keyring_file": (
                    str(settings.audit_archive_keyring_file) if settings.audit_archive_keyring_file else None
                ),
                "archive_staging_path": str(settings.archive_staging_path) if settings.archive_staging_path else None,
            },
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


@contextmanager
def running_worker() -> Iterator[Worker]:
    """A worker for as long as the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=_CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Worker(process)


def _dies_after(step: str | None) -> Callable[[str], None]:
    def hook(done: str) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _carry_out(message: dict[str, Any]) -> None:
    order = Order(**message["order"])
    now = datetime.fromisoformat(message["now"])
    hook = _dies_after(order.die_after)
    with open_services(Settings(_env_file=None, **message["settings"]), clock=lambda: now) as services:
        if order.most_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order.most_file_bytes, order.most_file_bytes))
        if order.work == "seal":
            seal(services, step=hook)
            return
        day = date.fromisoformat(order.day)
        works: dict[str, Callable[[], object]] = {
            "archive": lambda: archive_day(services, day, hook=hook),
            "purge": lambda: purge_day(services, day, hook=hook),
            "restore": lambda: restore_day(services, day, hook=hook),
            "repair": lambda: repair_day(services, day, hook=hook),
            "scrub": lambda: scrub(services, {day}, progress=lambda *_: hook("reading")),
        }
        works[order.work]()


def _child(message: dict[str, Any], answer: int) -> None:
    signal.alarm(_MOST_SECONDS)
    error = None
    try:
        _carry_out(message)
    except BaseException as raised:  # noqa: BLE001 - the answer to the test
        error = f"{type(raised).__name__}: {raised}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    os.write(answer, json.dumps({"error": error, "peak_bytes": peak}).encode())
    os._exit(0)


def _outcome(message: dict[str, Any]) -> Outcome:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _child(message, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = answers.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGKILL:
        return Outcome(killed=True, error=None, peak_bytes=0)
    if code or not answer:
        return Outcome(killed=False, error=f"the child ended with {code}", peak_bytes=0)
    return Outcome(killed=False, **json.loads(answer))


def main() -> None:
    """Carry out orders until standard input ends."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(dataclasses.asdict(_outcome(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
