"""The statement of an erasure as a text and its hash, and what else a check of it needs to know.

Here: what making and checking share, without database or settings. Not here: what a statement says (closing.py,
person_statement.py).
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

SUCCESS: Final = "success"
"""The result of a request that was closed with nothing kept."""
CERTIFICATE_ACTION: Final = "erasure.certificate"
"""The action of the entry that binds what the person is told."""


def canonical_json(value: object) -> str:
    """The one text of a JSON value: sorted keys, no spaces, UTF-8 as it is. Whole numbers and texts only."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def statement_hash(statement: str) -> str:
    """SHA-256 of the statement's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(statement.encode()).hexdigest()
