"""`make run` as a user runs it: a process of its own, a directory of its own, entries of their own."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.stops import running

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_TIMEOUT_SECONDS: Final = 3000
_OLD_DAYS: Final = 3


def _events(path: Path) -> Path:
    """Three days that are due at once, one that is not, entries newest first."""
    now = datetime.now(UTC)
    moments = [now - timedelta(days=200 + offset, minutes=number) for offset in range(_OLD_DAYS) for number in range(4)]
    moments.append(now - timedelta(days=2))
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for number, moment in enumerate(sorted(moments, reverse=True)):
            entry = {
                "log_entry_id": f"main-job-{number}",
                "timestamp": moment.isoformat(),
                "user_id": "user:1",
                "action": "conversation.read",
                "resource_type": None,
                "resource_id": None,
                "result": "success",
                "metadata": {"n": number},
            }
            file.write(json.dumps(entry) + "\n")
    return path


@contextmanager
def _stack(state: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _module("compliance_pipelines.local_stack", "down", "--state", str(state))


def _module(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=_CHECKOUT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )


def _environment(state: Path) -> dict[str, str]:
    exported = _module("compliance_pipelines.local_stack", "env", "--state", str(state))
    shell = subprocess.run(
        ["bash", "-c", f"{exported.stdout}\nenv -0"],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=True,
    )
    return dict(line.split("=", 1) for line in shell.stdout.split("\0") if "=" in line)


def _status(state: Path) -> dict[str, Any]:
    finished = _module("compliance_pipelines.cli", "status", "--json", environment=_environment(state))
    assert finished.returncode == 0, finished.stderr
    status: dict[str, Any] = json.loads(finished.stdout)
    return status


def _assert_the_entry_that_it_names_can_be_proven(shown: str, state: Path) -> None:
    (line,) = (line for line in shown.splitlines() if "compliance prove " in line)
    _, command, entry_id, option, _ = line.split()[:5]
    assert (command, option) == ("prove", "-o")
    proof, environment = state.parent / "proof.json", _environment(state)
    proven = _module("compliance_pipelines.cli", "prove", entry_id, "-o", str(proof), environment=environment)
    assert proven.returncode == 0, proven.stderr
    key = _module("compliance_pipelines.cli", "ledger", "key", environment=environment).stdout.strip()
    checked = _module("compliance_pipelines.cli", "verify-proof", str(proof), "--public-key", key)
    assert f"valid: entry '{entry_id}'" in checked.stdout


def _assert_everything_verifies(state: Path) -> None:
    verified = _module("compliance_pipelines.cli", "verify", "--all", "--json", environment=_environment(state))
    assert json.loads(verified.stdout)["ok"], verified.stdout


@pytest.mark.timeout(15_000)
@pytest.mark.parametrize("store", ["local", "s3"])
def test_the_main_job_archives_and_purges_a_users_own_entries_and_running_it_again_loses_nothing(
    tmp_path: Path, store: str
) -> None:
    state, events = tmp_path / "state", _events(tmp_path / "events.jsonl.gz")
    run = ("compliance_pipelines.demo", "--state", str(state), "--store", store, "--events", str(events))
    with _stack(state):
        first = _module(*run)
        assert first.returncode == 0, first.stdout + first.stderr
        assert f"{_OLD_DAYS} days archived" in first.stdout
        assert f"{_OLD_DAYS} days purged" in first.stdout
        status = _status(state)
        assert status["days"]["purged"] == _OLD_DAYS
        if store == "s3":
            _assert_everything_verifies(state)
            return
        _assert_the_entry_that_it_names_can_be_proven(first.stdout, state)

        again = _module(*run)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "0 days archived, 0 days purged, 0 failures" in again.stdout
        _assert_everything_verifies(state)
        imported = _status(state)["entries"]["total"]
    # The project's own entries grow by those of the second run, which made no part and purged nothing.
    assert imported > status["entries"]["total"]


@pytest.mark.timeout(15_000)
def test_the_main_job_stops_at_a_signal_and_leaves_the_servers_for_the_next_time(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with _stack(state), running(tmp_path, "-m", "compliance_pipelines.demo", "--state", str(state)) as child:
        child.until("entries are appended", lambda: "sample entries" in child.out)
        child.send(signal.SIGTERM)
        assert child.end() == 143
        assert child.err == "stopped by SIGTERM while filling and sealing the audit log; run it again to go on\n"
        assert _module("compliance_pipelines.local_stack", "status", "--state", str(state)).returncode == 0
        assert _status(state)["entries"]["total"] >= 0
