"""Refused lines are kept byte for byte, all or none, and never in place of others."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.audit_log.rejects import RejectsError, open_rejects, reasons_path

if TYPE_CHECKING:
    from pathlib import Path


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_lines_are_kept_byte_for_byte_with_a_reason_each(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    with open_rejects(path) as rejects:
        rejects.add(3, [b"{broken\r\n"], "it is not JSON")
        rejects.add(7, [b"\xff\x00", b"long", b"\n"], "it is not UTF-8: \udc80")
        rejects.add(9, [b"no end"], "zu früh")
        rejects.place()

    assert path.read_bytes() == b"{broken\r\n\xff\x00long\nno end\n"
    assert [json.loads(line) for line in reasons_path(path).read_text("utf-8").splitlines()] == [
        {"line": 3, "reason": "it is not JSON"},
        {"line": 7, "reason": "it is not UTF-8: \udc80"},
        {"line": 9, "reason": "zu früh"},
    ]
    assert files(tmp_path) == ["rejects.jsonl", "rejects.jsonl.reasons.jsonl"]


def test_without_refused_lines_there_is_no_file(tmp_path: Path) -> None:
    with open_rejects(tmp_path / "rejects") as rejects:
        rejects.place()
    assert files(tmp_path) == []


def test_what_was_not_put_in_place_is_removed(tmp_path: Path) -> None:
    with open_rejects(tmp_path / "rejects") as rejects:
        rejects.add(1, [b"x\n"], "why")
        assert files(tmp_path) != []
    assert files(tmp_path) == []


def test_what_was_put_in_place_can_be_withdrawn(tmp_path: Path) -> None:
    with open_rejects(tmp_path / "rejects") as rejects:
        rejects.add(1, [b"x\n"], "why")
        rejects.place()
        rejects.withdraw()
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["rejects", "rejects.reasons.jsonl"])
def test_a_file_that_is_there_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("lines that stand nowhere else")
    with pytest.raises(RejectsError, match=rf"{name} exists, .* move it away"), open_rejects(tmp_path / "rejects"):
        pass
    assert files(tmp_path) == [name]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("name", ["rejects", "rejects.reasons.jsonl"])
def test_a_file_that_comes_meanwhile_is_not_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with open_rejects(tmp_path / "rejects") as rejects:
        rejects.add(1, [b"x\n"], "why")
        (tmp_path / name).write_text("somebody else's")
        with pytest.raises(RejectsError, match=f"{name} exists"):
            rejects.place()
        rejects.withdraw()
    assert files(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "somebody else's"


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    with open_rejects(tmp_path / "rejects") as rejects:
        rejects.add(1, [b"x\n"], "why")
        rejects.place()
    assert files(tmp_path) == ["rejects", "rejects.reasons.jsonl"]


def test_a_directory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "rejects"
    with (
        pytest.raises(RejectsError, match=r"cannot be written to .*nowhere/rejects: No such file or directory"),
        open_rejects(path),
    ):
        pass


# A bound on the size of files stands for a full disk: writing fails the same way.
_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from compliance_pipelines.audit_log.rejects import RejectsError, open_rejects

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with open_rejects(Path(sys.argv[1])) as rejects:
        for number in range(int(sys.argv[2])):
            rejects.add(number, [b"x" * 999 + b"\\n"], "why")
        rejects.place()
except RejectsError as error:
    print(error)
"""


@pytest.mark.parametrize("lines", [101, 1000])
def test_a_full_disk_is_said_so_and_leaves_nothing(tmp_path: Path, lines: int) -> None:
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path / "rejects"), str(lines)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    assert run.stdout.startswith(f"the refused lines cannot be written to {tmp_path}/rejects: File too large; nothing")
    assert files(tmp_path) == []
