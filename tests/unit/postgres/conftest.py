"""Nothing of libpq's environment is set, whoever runs the tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    ServiceFile = Callable[[str], None]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path))


@pytest.fixture
def service_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ServiceFile:
    """A service file with the one service `audit`, in a directory with a space in its name."""

    def write(lines: str) -> None:
        file = tmp_path / "a directory" / "services.conf"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"[audit]\n{lines}\n", encoding="utf-8")
        monkeypatch.setenv("PGSERVICEFILE", str(file))

    return write
