"""Signals that ask a process to end: SIGTERM, SIGINT (Ctrl-C) and SIGHUP (its terminal was closed).

Here: the one place that handles them, what is cancelled when one arrives, and the words about where the work stopped.
Not here: how the work at that moment stays whole, which every step has to see to for a SIGKILL too.

The first signal raises :class:`Stopped` in the main thread, wherever that is. A thread that waits inside a library is
not reached in that way; a watcher, which the kernel's half of the handler wakes at once, cancels what is registered
(:func:`cancelled_by_signals`) until it lets go. The second signal ends the process at once, whatever it is doing.

Others replace Python's handlers for a while, as Dagster does during a run. The watcher hears of every signal all the
same, and :func:`check_stopped` raises what was kept from us.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STATUS_OF_SIGNAL: Final = 128
# `make` and `timeout` pass a signal on to a process that has it from the terminal or the process group already.
_SAME_STOP_SECONDS: Final = 0.2
_CANCEL_AGAIN_SECONDS: Final = 0.1
_CLEANUP_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 5.0
_PIPE_BYTES: Final = 4096
_QUESTION: Final = b"\0"
_SHOW_CURSOR: Final = "\x1b[?25h"
_AGAIN: Final = "run it again to go on"


class Stopped(SystemExit):
    """A signal asked this process to end.

    Like every exit it passes by `except Exception`, ends the interpreter with its status, and makes psycopg cancel the
    statement that it waits for.

    Args:
        number: the signal; the exit status is 128 more.
        where: what was being done.
    """

    def __init__(self, number: int, where: str | None = None) -> None:
        super().__init__(_STATUS_OF_SIGNAL + number)
        self.number: Final = signal.Signals(number)
        self.where: Final = where

    def __str__(self) -> str:
        """One line for a person."""
        return f"stopped by {self.number.name}{f' while {self.where}' if self.where else ''}; {_AGAIN}"


class _Watcher:
    """Hears of signals in a thread of its own.

    Args:
        ends_process: whether a second signal, and a clean-up that takes too long, end the process.
        cleanup_seconds: how long the clean-up after the first signal may take; None: as long as it wants.
        ignored: signals that were ignored when it began.
    """

    def __init__(
        self,
        *,
        ends_process: bool,
        cleanup_seconds: float | None,
        ignored: frozenset[signal.Signals] = frozenset(),
    ) -> None:
        self.ends_process: Final = ends_process
        self.ignored: Final = ignored
        self.first: Stopped | None = None
        self.raised = False
        self._cleanup_seconds = cleanup_seconds
        self._first_at = 0.0
        self._cancels: list[Callable[[], None]] = []
        self._cancels_lock = threading.Lock()
        self._ended = threading.Event()
        self._answered = threading.Event()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._previous_descriptor = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="signal-watcher", daemon=True)
        self._thread.start()
        self._canceller = threading.Thread(target=self._cancel_until_ended, name="signal-canceller", daemon=True)

    def close(self) -> None:
        """Stop to hear of signals."""
        signal.set_wakeup_fd(self._previous_descriptor)
        self._ended.set()
        self.ask()
        for thread in (self._thread, self._canceller):
            if thread.ident is not None:
                thread.join()
        os.close(self._read_end)
        os.close(self._write_end)

    def ask(self) -> Stopped | None:
        """The first signal, also one that arrived this very moment."""
        self._answered.clear()
        # A full pipe is being read from anyway.
        with suppress(BlockingIOError):
            os.write(self._write_end, _QUESTION)
        self._answered.wait(_ANSWER_SECONDS)
        return self.first

    def add(self, cancel: Callable[[], None]) -> None:
        """Have it called when a signal arrives, also if one has arrived, again and again until it is removed."""
        with self._cancels_lock:
            self._cancels.append(cancel)

    def remove(self, cancel: Callable[[], None]) -> None:
        """Let it be called no more; when this returns it is not running either."""
        try:
            self._forget(cancel)
        except BaseException:
            # Interrupted, which happens once, before it could be removed: it must not be called on what is closed next.
            self._forget(cancel)
            raise

    def _forget(self, cancel: Callable[[], None]) -> None:
        with self._cancels_lock:
            if cancel in self._cancels:
                self._cancels.remove(cancel)

    def _watch(self) -> None:
        while not self._ended.is_set():
            patience = None
            if self.first is not None and self.ends_process and self._cleanup_seconds is not None:
                patience = max(0.0, self._first_at + self._cleanup_seconds - time.monotonic())
            readable, _, _ = select.select([self._read_end], [], [], patience)
            if readable:
                for number in os.read(self._read_end, _PIPE_BYTES):
                    self._hear(number)
            elif self.first is not None:
                _end_process(
                    self.first.number,
                    f"{self.first} (what was at work did not end within {self._cleanup_seconds:.0f} s and was cut off)",
                )

    def _hear(self, number: int) -> None:
        if number == _QUESTION[0]:
            self._answered.set()
        elif number not in SIGNALS:
            return
        elif self.first is None:
            self.first, self._first_at = Stopped(number, _doing[-1] if _doing else None), time.monotonic()
            self._canceller.start()
        elif self.ends_process and time.monotonic() - self._first_at > _SAME_STOP_SECONDS:
            _end_process(number, f"stopped at once by another {signal.Signals(number).name}; {_AGAIN}")

    def _cancel_until_ended(self) -> None:
        """In a thread of its own: a server that does not answer must not keep the watcher from the second signal."""
        while not self._ended.wait(_CANCEL_AGAIN_SECONDS):
            with self._cancels_lock:
                for cancel in self._cancels:
                    with suppress(Exception):
                        cancel()


def _end_process(number: int, line: str) -> NoReturn:
    """End without any clean-up: what a connection holds, its server lets go of when the connection is gone."""
    with suppress(OSError):
        os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}{line}\n".encode())
    os._exit(_STATUS_OF_SIGNAL + number)


_active: _Watcher | None = None
_doing: Final[list[str]] = []


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what is being done, for whoever stops it.

    Args:
        what: as the sentence goes on: "archiving 2026-08-01: 12 of 30 days done".
    """
    _doing.append(what)
    try:
        yield
    finally:
        _doing.pop()


@contextmanager
def stopping_on_signals(*, cleanup_seconds: float | None = _CLEANUP_SECONDS) -> Iterator[None]:
    """Handle signals for a whole program, and print the line that says where it stopped.

    Signals that were ignored when it began, as `nohup` and background jobs of scripts have it, stay ignored. Does
    nothing within itself and outside the main thread.

    Args:
        cleanup_seconds: how long the program may take to end after the first signal; None: as long as it wants.

    Raises:
        Stopped: a signal arrived; also in the place of any other error that its arrival led to.
    """
    global _active  # noqa: PLW0603 - signals belong to the process
    if _active is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    ignored = frozenset(number for number, handler in previous.items() if handler in {signal.SIG_IGN, None})
    watcher = _active = _Watcher(ends_process=True, cleanup_seconds=cleanup_seconds, ignored=ignored)
    reinstate_handlers()
    try:
        yield
    except BaseException as error:
        succeeded = isinstance(error, SystemExit) and not error.code
        stopped = error if isinstance(error, Stopped) else watcher.ask()
        if stopped is None or succeeded:
            raise
        with suppress(OSError):
            sys.stderr.write(f"{stopped}\n")
            sys.stderr.flush()
        if stopped is error:
            raise
        raise stopped from error
    finally:
        for number, handler in previous.items():
            if handler is not None:
                signal.signal(number, handler)
        watcher.close()
        _active = None


def reinstate_handlers() -> None:
    """Put our handlers back after something that replaces them and does not restore them all. Main thread only.

    What was ignored at the beginning counts, and not what is ignored now: where SIGINT was, as in the background of a
    script, Dagster leaves SIGTERM ignored, too.
    """
    if _active is not None and _active.ends_process and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if number not in _active.ignored:
                signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> None:
    handler: Any = signal.getsignal(signal.SIGINT)
    if number == signal.SIGHUP and callable(handler) and handler is not _stop:
        # Somebody has replaced what it knows, and expects to hear of a stop in its own way.
        signal.raise_signal(signal.SIGINT)
    elif _active is not None and not _active.raised:
        _active.raised = True
        raise Stopped(number, _doing[-1] if _doing else None)


def check_stopped() -> None:
    """Stop here if a signal arrived, although its exception went astray.

    Raises:
        Stopped: one did.
    """
    if _active is not None and _active.ends_process and (stopped := _active.ask()) is not None:
        _active.raised = True
        raise stopped


@contextmanager
def watching_signals() -> Iterator[None]:
    """Have what is registered cancelled by signals that somebody else handles.

    Does nothing within itself or :func:`stopping_on_signals`, and outside the main thread.
    """
    global _active  # noqa: PLW0603 - signals belong to the process
    if _active is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    watcher = _active = _Watcher(ends_process=False, cleanup_seconds=None)
    try:
        yield
    finally:
        _active = None
        watcher.close()


@contextmanager
def cancelled_by_signals(cancel: Callable[[], None]) -> Iterator[None]:
    """Have `cancel` called from another thread when a signal arrives, every now and then until the block is left.

    It is for what waits inside a library, where no signal reaches it. Does nothing where nobody watches for signals.

    Args:
        cancel: makes the wait end with an error; what it raises itself is ignored, for it is called again.
    """
    watcher = _active
    if watcher is None:
        yield
        return
    watcher.add(cancel)
    try:
        yield
    finally:
        watcher.remove(cancel)
