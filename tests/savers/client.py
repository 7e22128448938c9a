"""The other end of driver.py: a saver of some generation in a process of its own, as the tests use it.

Here: starting and ending the process, requests and answers, all bounded in time. Not here: what the process does.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from tests.savers.generations import Generation

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_MOST_SECONDS: Final = 180.0
_END_SECONDS: Final = 30.0


class SaverError(Exception):
    """The saver, or LangGraph over it, failed; the message is its own."""


@dataclass
class Paused:
    """A writer that stands still before something that it is about to send.

    Attributes:
        sent: the packets that it has sent, each with its commands that change something.
        next: the commands of the packet that waits.
    """

    process: SaverProcess
    sent: list[list[str]]
    next: list[str]

    def go_on(self) -> dict[str, Any]:
        """Let it send, and finish.

        Raises:
            SaverError: it failed.
        """
        self.process._send_line("continue")
        result: dict[str, Any] = self.process._answer()
        return result

    def stop(self) -> None:
        """Let it die here: nothing more is sent."""
        self.process._send_line("stop")
        self.process._answer()


@dataclass
class Resumer:
    """A writer that goes on with threads at random until it is told to stop; what it acknowledged so far."""

    acks: list[dict[str, Any]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more turns are acknowledged."""
        wanted = len(self.acks) + count
        self.wait_until(lambda: len(self.acks) >= wanted)

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so; it is asked after each acknowledgement."""
        with self._changed:
            if not self._changed.wait_for(reached, _MOST_SECONDS):
                raise AssertionError(f"not reached within {_MOST_SECONDS:.0f} s, after {len(self.acks)} turns")

    def _take(self, ack: dict[str, Any]) -> None:
        with self._changed:
            self.acks.append(ack)
            self._changed.notify_all()


class SaverProcess:
    """A process with the packages of one generation; a context manager that starts and ends it.

    Args:
        generation: whose packages.
    """

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._resumer: Resumer | None = None
        self._owes_an_answer = False
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def __enter__(self) -> Self:
        packages = self.generation.packages()
        self._home = tempfile.TemporaryDirectory(prefix="saver-")
        self._log = (Path(self._home.name) / "log").open("w+b")
        # The checkout first: for the driver, and nothing else in it has the name of a package.
        searched = [_CHECKOUT] if packages is None else [_CHECKOUT, packages]
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": self._home.name,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(map(str, searched)),
        }
        self._process = subprocess.Popen(
            # -P: where it is started is no place to import from.
            [sys.executable, "-P", "-m", "tests.savers.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._home.name,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(_END_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(_END_SECONDS)
        self._process.stdout.close()
        self._log.close()
        self._home.cleanup()

    @property
    def at_rest(self) -> bool:
        """Whether it runs and everything that was asked of it is answered: then somebody else may have it."""
        return self._process.poll() is None and not self._owes_an_answer

    # Requests

    def open(self, url: str, kind: str, prefixes: dict[str, str] | None = None) -> None:
        """Open a saver on a Redis and make its indexes; one that is open is closed first."""
        version = self.call(
            "open", url=url, shallow="shallow" in kind, is_async=kind.startswith("async"), prefixes=prefixes or {}
        )
        assert version == self.generation.version, f"{version} runs instead of {self.generation.version}"

    def say(self, thread: str, *, graph: str = "chat", at: datetime | None = None) -> dict[str, Any]:
        """A turn; in the graphs that ask for consent it ends with the question."""
        values: dict[str, Any] = self.call("say", graph=graph, thread=thread, at=at and at.isoformat())
        return values

    def consent(self, thread: str, *, graph: str = "question", at: datetime | None = None) -> dict[str, Any]:
        """Answer the question."""
        values: dict[str, Any] = self.call("consent", graph=graph, thread=thread, at=at and at.isoformat())
        return values

    def state(self, thread: str) -> dict[str, Any]:
        """All that the saver's own interface gives of a thread."""
        state: dict[str, Any] = self.call("state", thread=thread)
        return state

    def begin(self, op: str, pause_at: int, **arguments: Any) -> Paused | dict[str, Any]:
        """Do something, standing still before the Nth packet that changes something; its result if there are fewer."""
        self._send({"op": op, "pause_at": pause_at, **arguments})
        answer = self._next()
        if "paused" in answer:
            return Paused(self, answer["sent"], answer["next"])
        result: dict[str, Any] = self._result(answer)
        return result

    def call(self, op: str, **arguments: Any) -> Any:
        """Do something.

        Raises:
            SaverError: it failed.
        """
        self._send({"op": op, **arguments})
        return self._answer()

    @contextmanager
    def resuming(self, threads: Sequence[tuple[str, str]], seed: int) -> Iterator[Resumer]:
        """Let it go on with threads, (graph, thread id) each, at random as fast as it can.

        Args:
            threads: which.
            seed: of the choice.
        """
        resumer = self._resumer = Resumer()
        self._send({"op": "resume", "threads": list(threads), "seed": seed})
        try:
            yield resumer
        finally:
            self._send_line("stop")
            self._answer()
            self._resumer = None

    # The pipe

    def _send(self, request: dict[str, Any]) -> None:
        self._owes_an_answer = True
        self._send_line(json.dumps(request))

    def _send_line(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise AssertionError(f"the saver's process is gone:\n{self._tail()}") from error

    def _answer(self) -> Any:
        return self._result(self._next())

    def _result(self, answer: dict[str, Any]) -> Any:
        self._owes_an_answer = False
        if "error" in answer:
            raise SaverError(answer["error"])
        return answer["ok"]

    def _next(self) -> dict[str, Any]:
        try:
            answer = self._answers.get(timeout=_MOST_SECONDS)
        except queue.Empty:
            raise AssertionError(f"no answer within {_MOST_SECONDS:.0f} s:\n{self._tail()}") from None
        if answer is None:
            self._answers.put(None)
            raise AssertionError(f"the saver's process ended:\n{self._tail()}")
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if "ack" in answer and self._resumer is not None:
                self._resumer._take(answer["ack"])
            else:
                self._answers.put(answer)
        self._answers.put(None)

    def _tail(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")[-4000:]
