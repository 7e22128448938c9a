"""What a signal raises, who hears of it, and what is put back afterwards."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.base import interruption
from compliance_pipelines.base.interruption import (
    SIGNALS,
    Stopped,
    cancelled_by_signals,
    check_stopped,
    doing,
    reinstate_handlers,
    stopping_on_signals,
    watching_signals,
)
from tests.support.stops import dispositions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATIENCE_SECONDS: Final = 900


@pytest.fixture(autouse=True)
def handlers() -> Iterator[Mapping[signal.Signals, object]]:
    """The handlers before the test, which must be those after it; none is ignored, as in a script's background."""
    with dispositions(SIGINT=signal.default_int_handler):
        before = {number: signal.getsignal(number) for number in SIGNALS}
        yield before
        assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_says_what_was_being_done_and_ends_with_its_status(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        pytest.raises(Stopped) as stopped,
        stopping_on_signals(),
        doing("the whole"),
        doing("archiving 2026-08-01: 12 of 30 days done"),
    ):
        signal.raise_signal(number)
    assert stopped.value.code == 128 + number
    line = f"stopped by {number.name} while archiving 2026-08-01: 12 of 30 days done; run it again to go on\n"
    assert capsys.readouterr().err == line


def test_an_error_that_the_signal_led_to_is_not_taken_for_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise ConnectionError("lost while cleaning up")

    with pytest.raises(Stopped) as stopped, stopping_on_signals():
        work()
    assert isinstance(stopped.value.__cause__, ConnectionError)
    assert capsys.readouterr().err == "stopped by SIGTERM; run it again to go on\n"


def test_without_a_signal_errors_and_exits_pass_as_they_are() -> None:
    for error in (ValueError("x"), SystemExit(1), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised, stopping_on_signals():
            raise error
        assert raised.value is error


def test_what_others_kept_from_us_is_raised_at_the_next_safe_point() -> None:
    """As Dagster does: it handles the signal itself, and leaves SIGTERM with the handler of SIGINT."""

    def work() -> None:
        ours = signal.getsignal(signal.SIGTERM)
        check_stopped()
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.raise_signal(signal.SIGTERM)
        reinstate_handlers()
        assert signal.getsignal(signal.SIGTERM) is ours
        check_stopped()

    with pytest.raises(Stopped) as stopped, stopping_on_signals():
        work()
    assert stopped.value.number is signal.SIGTERM


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals():
            signal.raise_signal(signal.SIGHUP)
            check_stopped()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_others_leave_ignored_is_heard_again(capsys: pytest.CaptureFixture[str]) -> None:
    """In the background of a script SIGINT is ignored; Dagster then leaves SIGTERM ignored after each run."""

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
        reinstate_handlers()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    with dispositions(SIGINT=signal.SIG_IGN), pytest.raises(Stopped), stopping_on_signals():
        work()
    assert capsys.readouterr().err == "stopped by SIGTERM; run it again to go on\n"


def test_what_waits_in_a_library_is_cancelled_until_it_lets_go() -> None:
    """The first attempt comes too early, before there is anything to cancel."""
    attempts = 0
    free = threading.Event()

    def cancel() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RuntimeError("nothing to cancel yet")
        free.set()

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with watching_signals(), cancelled_by_signals(cancel):
            signal.raise_signal(signal.SIGTERM)
            assert free.wait(PATIENCE_SECONDS)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_who_only_watches_neither_raises_nor_replaces_a_handler() -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with watching_signals():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            check_stopped()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM, signal.SIGTERM]


def test_outside_the_main_thread_it_does_nothing() -> None:
    passed = []

    def work() -> None:
        with stopping_on_signals(), watching_signals(), cancelled_by_signals(lambda: None):
            check_stopped()
            passed.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert passed == [True]


def test_a_clean_up_that_hangs_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off = threading.Event()
    lines = []

    def end(_number: int, line: str) -> None:
        lines.append(line)
        cut_off.set()

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            assert cut_off.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(interruption, "_end_process", end)
    with pytest.raises(Stopped), stopping_on_signals(cleanup_seconds=0), doing("proving"):
        work()
    assert lines[0].startswith("stopped by SIGTERM while proving; run it again to go on (what was at work did not end")


def test_only_a_signal_that_comes_later_is_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` signals the process and its group, `make` the child of a group that was signalled: that is one stop."""
    moment = 1000.0
    ended: list[tuple[int, str]] = []
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    monkeypatch.setattr(interruption, "_end_process", lambda number, line: ended.append((number, line)))
    with stopping_on_signals(cleanup_seconds=None):
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped):
            check_stopped()
        assert not ended
        moment += 0.3
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped):
            check_stopped()
    assert ended == [(signal.SIGINT, "stopped at once by another SIGINT; run it again to go on")]
