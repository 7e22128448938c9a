"""The proof of a segment's record in the format of C2SP tlog-proof (https://c2sp.org/tlog-proof).

Here: writing it, so that other people's programs check that the record is in the ledger. Not here: the proof of an
entry, of which it is a part (proof_document.py).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.ledger.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"


def tlog_proof(document: Mapping[str, Any]) -> str:
    """The proof of the record of an entry's segment.

    The record's bytes are the extra data: what they hash to is the leaf that is proved.

    Args:
        document: the proof of the entry, which was checked.
    """
    segment = Segment.from_json(document["segment"])
    lines = [
        FIRST_LINE,
        f"extra {_base64(segment.record_bytes())}",
        f"index {segment.seq}",
        *(_base64(bytes.fromhex(node)) for node in document["ledger_path"]),
    ]
    return "\n".join(lines) + "\n\n" + str(document["checkpoint"])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
