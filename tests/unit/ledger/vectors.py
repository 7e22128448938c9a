"""The test vectors of docs/ledger.md and docs/archive-format.md, read from the documents themselves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

_DOCUMENTS: Final = Path(__file__).parents[3] / "docs"
DOCUMENT: Final = _DOCUMENTS / "ledger.md"

_BOXES: Final[dict[str, str]] = dict(
    re.findall(
        r"^<!-- vectors: ([a-z ]+) -->\n```(?:json)?\n(.*?)^```$",
        DOCUMENT.read_text(encoding="utf-8") + (_DOCUMENTS / "archive-format.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


def box(name: str) -> str:
    """The text of a box, each line ended by a line feed."""
    return _BOXES[name]


def json_box(name: str) -> Any:  # noqa: ANN401 - whatever JSON the document holds
    """The content of a box that holds JSON."""
    return json.loads(_BOXES[name])


def objects() -> dict[str, bytes]:
    """The ledger's objects by their keys; the box has the checkpoint as text, the tiles and bundles in hex."""
    written: dict[str, str] = json_box("objects")
    return {key: bytes.fromhex(data) if "/tile/" in key else data.encode() for key, data in written.items()}
