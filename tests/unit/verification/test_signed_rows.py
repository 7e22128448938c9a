"""Signatures of many rows: what is said to be plainly signed is what the thorough way opens, and nothing is skipped."""

from __future__ import annotations

import subprocess
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, open_note, sign_checkpoint
from compliance_pipelines.ledger.key_chain import KeyChain
from compliance_pipelines.ledger.store import StoredCheckpoint
from compliance_pipelines.verification import signed_rows as module
from compliance_pipelines.verification.signed_rows import plainly_signed, signed_rows, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY: Final = SigningKey("tests.example/audit", bytes(range(32)))
OTHER: Final = SigningKey("tests.example/audit", bytes(range(1, 33)))
CHAIN: Final = KeyChain(KEY.verifier_key())
NOTE: Final = sign_checkpoint(Checkpoint(KEY.name, 7, bytes(32)), KEY)


def row(size: int, *keys: SigningKey) -> StoredCheckpoint:
    root = size.to_bytes(32, "big")
    note = sign_checkpoint(Checkpoint(KEY.name, size, root), *keys)
    return StoredCheckpoint(size, root, size, b"", note, datetime(2026, 1, 1, tzinfo=UTC))


ROWS: Final = [
    row(size, *([OTHER] if size % 7 == 3 else [KEY, OTHER] if size % 7 == 5 else [KEY])) for size in range(1, 40)
]
EXPECTED: Final = [(each, each.size % 7 not in {3, 5}) for each in ROWS]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Processes from the fourth row on, and those that were started."""
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def noted(*arguments: Any, **named: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - passed on
        started.append(real(*arguments, **named))
        return started[-1]

    monkeypatch.setattr(module, "_FEW", 3)
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    monkeypatch.setattr(module, "_processors", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", noted)
    return started


def test_processes_say_of_each_row_in_order_what_this_one_says(processes: list[subprocess.Popen[bytes]]) -> None:
    assert [(each, plainly_signed(each.note, KEY.verifier_key())) for each in ROWS] == EXPECTED
    with closing(signed_rows(iter(ROWS), CHAIN)) as rows:
        assert list(rows) == EXPECTED
    assert [process.returncode for process in processes] == [-9, -9]


def test_processes_end_where_the_rows_are_not_read_to_their_end(processes: list[subprocess.Popen[bytes]]) -> None:
    with closing(signed_rows(iter(ROWS), CHAIN)) as rows:
        for _ in range(4):
            next(rows)
        assert [process.poll() for process in processes] == [None, None]
    assert [process.returncode for process in processes] == [-9, -9]


@pytest.mark.parametrize("interpreter", ["/bin/false", "/nowhere/python"])
def test_rows_of_which_no_process_says_anything_are_not_said_to_be_signed(
    processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, interpreter: str
) -> None:
    monkeypatch.setattr("sys.executable", interpreter)
    with closing(signed_rows(iter(ROWS), CHAIN)) as rows:
        assert list(rows) == [*EXPECTED[:3], *((each, False) for each in ROWS[3:])]
    assert len(processes) == (2 if interpreter == "/bin/false" else 0)


def test_few_rows_start_no_process(processes: list[subprocess.Popen[bytes]]) -> None:
    with closing(signed_rows(iter(ROWS[:2]), CHAIN)) as rows:
        assert list(rows) == EXPECTED[:2]
    assert processes == []


def _altered() -> Iterator[str]:
    yield from (
        NOTE[:at] + new + NOTE[at + 1 :] for at in range(len(NOTE)) for new in ("", "\n", "A", "=", NOTE[at] * 2)
    )
    yield from (NOTE + NOTE, NOTE + "\n", "\n\n" + NOTE, NOTE.replace("\n\n", "\nmore\n\n"), NOTE[:-1], "", "\n\n")


def test_an_altered_note_is_not_said_to_be_signed() -> None:
    key = KEY.verifier_key()
    altered = [note for note in _altered() if note != NOTE]
    assert [note for note in altered if plainly_signed(note, key)] == []
    assert plainly_signed(NOTE, key)
    assert open_note(NOTE, key) == text_of(NOTE)


@given(st.text(max_size=60), st.text(max_size=120))
def test_whatever_text_is_read_and_never_refused_with_an_error(text: str, line: str) -> None:
    assert not plainly_signed(f"{text}\n\n\u2014 {KEY.name} {line}\n", KEY.verifier_key())
    assert not plainly_signed(text + line, KEY.verifier_key())


@given(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_what_is_plainly_signed_and_says_what_is_expected_is_what_is_opened(size: int, root: bytes) -> None:
    expected = Checkpoint(KEY.name, size, root)
    note = sign_checkpoint(expected, KEY)
    assert plainly_signed(note, KEY.verifier_key())
    assert text_of(note) == expected.to_text()
    assert CHAIN.open_checkpoint(note) == expected
