"""The test vectors of docs/ledger.md, read from the document itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "ledger.md"

_BOXES: Final[dict[str, str]] = dict(
    re.findall(
        r"^<!-- vectors: ([a-z ]+) -->\n```(?:json)?\n(.*?)^```$",
        DOCUMENT.read_text(encoding="utf-8"),
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
    """The checkpoint objects by their keys: lines of the box in turn a key and an object."""
    lines = box("objects").splitlines(keepends=True)
    return {key.removesuffix("\n"): data.encode() for key, data in zip(lines[::2], lines[1::2], strict=True)}
