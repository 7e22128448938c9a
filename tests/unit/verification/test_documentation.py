"""docs/verification.md explains every kind, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from compliance_pipelines.verification.findings import Kind, NoteKind

_DOCUMENT: Final = Path(__file__).resolve().parents[3] / "docs" / "verification.md"


@pytest.mark.parametrize(("heading", "kinds"), [("Findings", Kind), ("Notes", NoteKind)])
def test_every_kind_is_explained_and_no_other(heading: str, kinds: type[Kind | NoteKind]) -> None:
    section = _DOCUMENT.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    explained = re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)
    assert sorted(explained) == sorted(kind.value for kind in kinds)
