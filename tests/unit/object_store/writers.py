"""Processes that write to a local store, and what they leave under way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[3]


def staging_files(root: Path) -> list[Path]:
    return list((root / ".object-store" / "staging").iterdir())


def writer_command(command: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.unit.object_store.writer_process", command, *map(str, arguments)]


def run_writer(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        writer_command(command, *arguments), cwd=PROJECT, capture_output=True, text=True, check=False, timeout=900
    )
