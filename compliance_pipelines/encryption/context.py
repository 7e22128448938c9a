"""The context that a wrapped key is bound to: what it is the key of.

Here: the context and its exact bytes. A wrapped key that was moved to another object's record does not unwrap.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def context_of(object_key: str, key_id: str) -> dict[str, str]:
    """The context of the key of an object."""
    return {"purpose": "compliance-pipelines/data-key", "object": object_key, "key": key_id}


def context_bytes(context: Mapping[str, str]) -> bytes:
    """JSON with sorted names, no white space, ASCII only."""
    return json.dumps(dict(context), sort_keys=True, separators=(",", ":")).encode("ascii")
