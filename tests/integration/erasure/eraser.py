"""A process of its own that erases, and dies where it is told to: `python -m tests.integration.erasure.eraser`.

One process imports everything once; for each order, a line of JSON on standard input, it forks a child that opens its
own connections, makes one attempt at a request, and kills itself with SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.erasure.configured import configured_targets
from compliance_pipelines.erasure.decisions import withdraw
from compliance_pipelines.erasure.runner import run_request
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import Settings
from tests.support.command import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from compliance_pipelines.erasure.targets import ErasureTarget, Findings, Item

_CHECKOUT = Path(__file__).resolve().parents[3]
_MOST_SECONDS = 900


class Eraser:
    """The process, seen from the tests."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def dies(self, settings: Settings, request_id: int, *, step: str, target: str | None = None) -> bool:
        """Have an attempt made that dies when this step is done.

        `halfway` is in the middle of a deletion, `withdraw` before the commit of a withdrawal.
        """
        message = {
            "settings": {name.lower(): value for name, value in environment(settings).items()},
            "request_id": request_id,
            "step": step,
            "target": target,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return code == -signal.SIGKILL


@contextmanager
def running_eraser() -> Iterator[Eraser]:
    """An eraser for as long as the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=_CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Eraser(process)


class _DiesHalfway:
    """A target that deletes half of what it should, and dies."""

    def __init__(self, target: ErasureTarget) -> None:
        self._target = target
        self.name = target.name
        self.location = target.location

    def find(self, user_id: str) -> Findings:
        return self._target.find(user_id)

    def delete(self, user_id: str, items: Sequence[Item]) -> Mapping[str, int]:
        self._target.delete(user_id, items[: len(items) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def rescan(self, user_id: str) -> Findings:
        return self._target.rescan(user_id)


def _attempt(message: dict[str, Any]) -> None:
    settings = Settings(_env_file=None, **message["settings"])
    targets = configured_targets(settings)
    if message["step"] == "halfway":
        targets = [_DiesHalfway(each) if each.name == message["target"] else each for each in targets]

    def hook(step: str, target: str | None, /) -> None:
        if (step, target) == (message["step"], message["target"]):
            os.kill(os.getpid(), signal.SIGKILL)

    with open_services(settings) as services:
        if message["step"] == "withdraw":
            _die_before_the_commit()
            withdraw(services, message["request_id"], by="dpo", reason="the test")
        run_request(services, targets, message["request_id"], hook=hook)


def _die_before_the_commit() -> None:
    append = AuditLog.append_within

    def append_and_die(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - whatever it takes
        append(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    AuditLog.append_within = append_and_die  # type: ignore[method-assign, assignment]


def main() -> None:
    """Carry out orders until standard input ends."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.alarm(_MOST_SECONDS)
            _attempt(json.loads(line))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
