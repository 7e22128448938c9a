"""The proof that an entry is in the ledger, as a file: its form, and checking one.

Here: what needs the file and the public key alone, neither database nor network nor settings. Not here: making a proof
(proofs.py). docs/ledger.md specifies the form for strangers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from compliance_pipelines.audit_log.canonical import CanonicalEncodingError, leaf_hash
from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.base.clock import utc_day
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.printable import printable
from compliance_pipelines.base.strict_json import MalformedJsonError, parse_strictly
from compliance_pipelines.ledger.checkpoint import Checkpoint, NoteError
from compliance_pipelines.ledger.key_chain import KeyChain
from compliance_pipelines.ledger.merkle import ProofError, verify_inclusion
from compliance_pipelines.ledger.records import MalformedRecordError, record_of
from compliance_pipelines.ledger.segments import MalformedSegmentError, Segment
from compliance_pipelines.ledger.tlog_proof import FIRST_LINE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.ledger.witnesses import Policy

FORMAT: Final = "compliance-pipelines/proof/v2"
MOST_BYTES: Final = 64 * 2**20
"""No proof is larger, and no certificate of an erasure, which holds one."""

_MOST_VALUES: Final = 1_000_000
_MOST_SAID: Final = 500
_JSON_TYPES: Final = {
    "format": str,
    "entry": dict,
    "entry_index": int,
    "entry_path": list,
    "segment": dict,
    "ledger_path": list,
    "checkpoint": str,
    "keys": list,
}
_TIMES: Final = frozenset(field.name for field in ENTRY_SCHEMA if pa.types.is_timestamp(field.type))
_INTEGERS: Final = frozenset(field.name for field in ENTRY_SCHEMA if pa.types.is_integer(field.type))
_BYTES: Final = frozenset(field.name for field in ENTRY_SCHEMA if pa.types.is_fixed_size_binary(field.type))
# An entry that is not blinded has a user and a nonce.
_NULLABLE: Final = frozenset(field.name for field in ENTRY_SCHEMA if field.nullable) - {"user_id", "nonce"}


class InvalidProofError(ComplianceError):
    """The proof does not prove that its entry is in the ledger."""


@dataclass(frozen=True)
class ProvenEntry:
    """What a valid proof says: the entry's columns, its segment, and the signed tree head over it."""

    entry: dict[str, Any]
    segment: Segment
    checkpoint: Checkpoint


def proof_document(  # noqa: PLR0913 - the parts of a proof, each by its name
    *,
    entry: Mapping[str, Any],
    entry_index: int,
    entry_path: Sequence[bytes],
    segment: Segment,
    ledger_path: Sequence[bytes],
    note: str,
    keys: Sequence[bytes] = (),
) -> dict[str, Any]:
    """The proof as JSON values.

    Args:
        entry: its columns, as ENTRY_SCHEMA has them.
        entry_index: its place in the segment, from 0.
        entry_path: nodes from the entry to the segment's root, 32 bytes each.
        segment: the record.
        ledger_path: nodes from the record to the ledger's root, 32 bytes each.
        note: the signed checkpoint.
        keys: the ledger's records about keys before the checkpoint, in order.
    """
    return {
        "format": FORMAT,
        "entry": _entry_to_json(entry),
        "entry_index": entry_index,
        "entry_path": [node.hex() for node in entry_path],
        "segment": segment.to_json(),
        "ledger_path": [node.hex() for node in ledger_path],
        "checkpoint": note,
        "keys": [record.hex() for record in keys],
    }


def proof_to_text(document: Mapping[str, Any]) -> str:
    """The proof's file."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def proof_from_bytes(data: bytes) -> object:
    """Parse a proof's file; :func:`verify_proof` judges what is in it.

    Raises:
        InvalidProofError: it is larger than any proof or certificate, no JSON in UTF-8, or gives a name twice, so that
            readers could take different values.
    """
    if data.startswith(FIRST_LINE.encode()):
        raise InvalidProofError(
            "this is no proof of an entry but a tlog-proof of its segment's record, which programs for that format "
            "check; `compliance prove` without --format writes what is checked here"
        )
    try:
        return parse_strictly(data, most_bytes=MOST_BYTES, most_values=_MOST_VALUES)
    except MalformedJsonError as error:
        raise InvalidProofError(f"this is no proof: {printable(str(error), _MOST_SAID)}") from error


def verify_proof(document: object, key: VerifierKey) -> ProvenEntry:
    """Check a proof document: from the entry to its segment's root, from the segment to the signed tree head.

    Args:
        document: the parsed JSON.
        key: a key of the ledger; what it leads to by the records in the proof counts, too.

    Raises:
        InvalidProofError: something in it was changed, or the checkpoint is not signed by the key in charge, or that
            key was revoked.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidProofError(f"this is no proof of the format {FORMAT}")
    if {name: type(value) for name, value in document.items()} != _JSON_TYPES:
        raise InvalidProofError(f"a proof has {', '.join(_JSON_TYPES)}, and nothing else; this one has another form")
    try:
        return _verify(document, key)
    except (NoteError, ProofError, MalformedSegmentError, MalformedRecordError, CanonicalEncodingError) as error:
        raise InvalidProofError(printable(str(error), _MOST_SAID)) from error


def require_cosignatures(document: Mapping[str, Any], policy: Policy) -> Mapping[str, datetime]:
    """When each witness of a policy cosigned the checkpoint of a proof that was verified.

    Raises:
        InvalidProofError: they are not as many as must agree, or the line of one is not its cosignature.
    """
    times, bad, agreed = policy.seen(document["checkpoint"])
    if bad:
        raise InvalidProofError("; ".join(f"the line of the witness {name}: {how}" for name, how in bad.items()))
    if not agreed:
        who = ", ".join(times) or "none of the witnesses"
        raise InvalidProofError(f"its checkpoint is cosigned by {who}, and needed is {policy.needed}")
    return times


def _verify(document: Mapping[str, Any], key: VerifierKey) -> ProvenEntry:
    chain = _chain(document, key)
    checkpoint = chain.open_checkpoint(document["checkpoint"])
    end = chain.end_of(chain.in_charge(checkpoint.size))
    if end is not None and end.revoked:
        raise InvalidProofError(
            f"its checkpoint is signed by {end.old}, which became known to others, so that anybody may have made it: "
            "have the proof made again, with a checkpoint of a later key"
        )
    segment = Segment.from_json(document["segment"])
    verify_inclusion(segment.leaf_hash(), segment.seq, checkpoint.size, _path(document, "ledger_path"), checkpoint.root)
    entry = _entry_from_json(document["entry"])
    verify_inclusion(
        leaf_hash(entry), document["entry_index"], segment.entry_count, _path(document, "entry_path"), segment.root
    )
    if utc_day(entry["timestamp"]) != segment.day or not segment.covers(entry["tx_id"]):
        raise InvalidProofError(f"the entry is not one of segment {segment.seq}: another day or transaction")
    return ProvenEntry(entry, segment, checkpoint)


def _chain(document: Mapping[str, Any], key: VerifierKey) -> KeyChain:
    """The chain of the ledger's keys; every record in the proof is a link of it, and in its place."""
    records = [record_of(data) for data in _hex_values(document, "keys", "record")]
    chain, problems = KeyChain.linked(key, records)
    if problems:
        raise InvalidProofError(f"its keys are not a chain that {key} is in: {problems[0].message}")
    if [change.seq for change in chain.changes] != [record.seq for record in records]:
        raise InvalidProofError("its keys are not in order, or hold a record that is not about a key")
    return chain


def _entry_to_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value_to_json(value) for name, value in entry.items()}


def _value_to_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value.hex() if isinstance(value, bytes) else value


def _entry_from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    if set(values) != set(ENTRY_SCHEMA.names):
        raise InvalidProofError(f"the entry does not have exactly the columns {', '.join(ENTRY_SCHEMA.names)}")
    for name, value in values.items():
        wanted = int if name in _INTEGERS else str
        if type(value) is not wanted and not (value is None and name in _NULLABLE):
            raise InvalidProofError(
                f"the entry's {name} is {type(value).__name__} where it should be {wanted.__name__}"
            )
    if values["commitment"] is not None:
        raise InvalidProofError("the entry is blinded, which this version cannot check")
    try:
        times = {name: datetime.fromisoformat(values[name]) for name in _TIMES}
        raw = {name: bytes.fromhex(values[name]) for name in _BYTES if values[name] is not None}
        entry = {**values, **times, **raw}
        exact = _entry_to_json(entry) == values
    except (ValueError, OverflowError) as error:
        raise InvalidProofError(
            f"the entry's times are no times, or its nonce is no nonce: {printable(str(error), _MOST_SAID)}"
        ) from error
    if not exact:
        raise InvalidProofError(
            "the entry's times are not written in UTC with microseconds, or its nonce not in lower-case hex digits"
        )
    return entry


def _path(document: Mapping[str, Any], name: str) -> list[bytes]:
    return _hex_values(document, name, "hash")


def _hex_values(document: Mapping[str, Any], name: str, what: str) -> list[bytes]:
    try:
        values = [bytes.fromhex(value) for value in document[name]]
    except (TypeError, ValueError) as error:
        raise InvalidProofError(
            f"{name} holds something that is no {what}: {printable(str(error), _MOST_SAID)}"
        ) from error
    if [value.hex() for value in values] != document[name]:
        raise InvalidProofError(f"{name} is not written in lower-case hex digits")
    return values
