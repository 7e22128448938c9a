"""Dagster's pages over a stack of the test's own, and a browser in front of them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from playwright.sync_api import sync_playwright

from tests.ui.pages import HEIGHT, WIDTH, DagsterPages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

CHECKOUT: Final = Path(__file__).resolve().parents[2]
_CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
_PREPARE: Final = """
import pathlib, sys
from compliance_pipelines.demo.stack import prepare
prepare(pathlib.Path(sys.argv[1]))
"""
_SECONDS: Final = 600
_DAYS: Final = 10
_ENTRIES: Final = 20


def _module(*arguments: str, environment: dict[str, str] | None = None) -> str:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
        timeout=_SECONDS,
        check=True,
    ).stdout


def _environment(state: Path) -> dict[str, str]:
    """What `local_stack env` exports, as a shell understands it."""
    exports = _module("compliance_pipelines.local_stack", "env", "--state", str(state))
    return dict(word.split("=", 1) for word in shlex.split(exports) if word != "export")


def _entry(day: date, number: int) -> dict[str, Any]:
    moment = datetime.combine(day, time(hour=12, minute=number), UTC)
    return {
        "log_entry_id": f"ui-{day}-{number}",
        "timestamp": moment.isoformat(),
        "user_id": f"user:{number % 5}",
        "action": "conversation.read",
        "resource_type": None,
        "resource_id": None,
        "result": "success",
        "metadata": {"n": number},
    }


@pytest.fixture(scope="module")
def days() -> list[date]:
    """Ten days that are due for the cold store, oldest first."""
    last = datetime.now(UTC).date() - timedelta(days=100)
    return [last - timedelta(days=_DAYS - 1 - number) for number in range(_DAYS)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, days: list[date]) -> Iterator[dict[str, str]]:
    """The environment of an embedded stack with sealed entries of the ten days."""
    directory = tmp_path_factory.mktemp("ui")
    state = directory / "state"
    events = directory / "events.jsonl"
    events.write_text("".join(json.dumps(_entry(day, number)) + "\n" for day in days for number in range(_ENTRIES)))
    try:
        subprocess.run([sys.executable, "-c", _PREPARE, str(state)], cwd=CHECKOUT, timeout=_SECONDS, check=True)
        environment = _environment(state)
        _module("compliance_pipelines.cli", "import", str(events), environment=environment)
        _module("compliance_pipelines.cli", "seal", environment=environment)
        yield {**environment, "UI_STATE": str(state)}
    finally:
        _module("compliance_pipelines.local_stack", "down", "--state", str(state))


@pytest.fixture(scope="module")
def dagster_address(stack: dict[str, str]) -> Iterator[str]:
    """Where Dagster's pages are; its daemon runs beside them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state = stack["UI_STATE"]
    command = [sys.executable, "-m", "compliance_pipelines.demo", "--state", state, "--ui", "--port", str(port)]
    with (
        Path(state, "pages.log").open("wb") as log,
        subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT) as pages,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            pages.send_signal(signal.SIGINT)


@pytest.fixture
def pages(dagster_address: str) -> Iterator[DagsterPages]:
    """A browser that Debian's packages brought; nothing is downloaded."""
    chromium = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs rights that root in a container has not.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            yield DagsterPages(page, dagster_address)
        finally:
            browser.close()
