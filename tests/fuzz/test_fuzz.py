"""However a file is mutated, its reader refuses it or reads it: no other error, no growth, no crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import read_mutated, resident_kib
from tests.fuzz.targets import targets

_CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "kind",
    [
        "manifest",
        "bundle",
        "key record",
        "note",
        "cosigned",
        "policy",
        "stamp",
        "proof",
        "record",
        "certificate",
        "import",
    ],
)
def test_mutated_documents_are_refused_or_read(kind: str, tmp_path: Path) -> None:
    target = targets(tmp_path)[kind]
    refused = sum(read_mutated(target, number, tmp_path) for number in range(500))
    before = resident_kib()
    refused += sum(read_mutated(target, number, tmp_path) for number in range(500, 1_500))
    assert resident_kib() - before < 30_000
    assert refused or kind == "import"


@pytest.mark.parametrize("kind", ["footer", "part"])
def test_mutated_parquet_files_are_read_or_not_and_nothing_crashes(kind: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz", kind, "--count", "1000"]
    ended = subprocess.run(command, cwd=_CHECKOUT, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{kind}: 1,000 files" in ended.stdout
