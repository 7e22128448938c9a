"""What is fuzzed: for each kind of file a whole one, and what reads it, with the errors that it may end in."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive.errors import ManifestError
from compliance_pipelines.archive.examination import Examination, examine
from compliance_pipelines.archive.layout import object_key, part_root
from compliance_pipelines.archive.manifest import Manifest, parse_manifest
from compliance_pipelines.archive.parquet import PartLabel
from compliance_pipelines.audit_log.appending import Acceptance
from compliance_pipelines.audit_log.canonical import leaf_hash
from compliance_pipelines.audit_log.deletion import ACTION
from compliance_pipelines.audit_log.entry import InvalidEntryError
from compliance_pipelines.audit_log.import_source import ImportFileError, open_source
from compliance_pipelines.audit_log.json_lines import MAX_LINE_BYTES, InvalidLineError, entry_from_line
from compliance_pipelines.erasure.document_checks import (
    CERTIFICATE_FORMAT,
    RECORD_FORMAT,
    verify_certificate,
    verify_record,
)
from compliance_pipelines.erasure.errors import InvalidCertificateError
from compliance_pipelines.erasure.statements import CERTIFICATE_ACTION, canonical_json, statement_hash
from compliance_pipelines.ledger.checkpoint import Checkpoint, NoteError, SigningKey, open_checkpoint, sign_checkpoint
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.key_changes import KeyChange, MalformedKeyChangeError, key_change_record
from compliance_pipelines.ledger.merkle import inclusion_path, merkle_root
from compliance_pipelines.ledger.proof_document import (
    InvalidProofError,
    proof_document,
    proof_from_bytes,
    proof_to_text,
    verify_proof,
)
from compliance_pipelines.ledger.records import MalformedRecordError, Statement, record_of
from compliance_pipelines.ledger.segments import MalformedSegmentError, Segment
from compliance_pipelines.ledger.tiles import MalformedTileError, bundle_of, records_of
from compliance_pipelines.ledger.timestamping import Authority, BadTimeStampError
from compliance_pipelines.ledger.witnesses import MalformedPolicyError, parse_policy
from tests.unit.archive.examples import DAY, row, sealed_segments, write_part
from tests.unit.ledger import vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

KEY: Final = SigningKey("fuzz.example/audit", bytes(range(32)))
_VERIFIER: Final = KEY.verifier_key()
_NOW: Final = datetime(2026, 11, 27, tzinfo=UTC)
_ROWS: Final = [row(number) for number in range(1, 41)]
_SEGMENTS: Final = sealed_segments(_ROWS)
_POLICY: Final = (
    f"# who sees it\nlog {_VERIFIER.to_note_string()}\nwitness w1 {vectors.json_box('cosignature')['public_key']} "
    "https://w.example:8443/prefix\ngroup some any w1\nquorum some\n"
).encode()
_LABEL: Final = PartLabel.of(DAY, 1, part_root(_SEGMENTS))


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        seeds: whole files.
        read: reads one in a directory for files of its own; what it may raise is in `refusals`.
        start: of a seed, where changes begin.
        says_so: whether every change must be refused.
    """

    seeds: tuple[bytes, ...]
    read: Callable[[bytes, Path], object]
    refusals: tuple[type[Exception], ...]
    start: Callable[[bytes], int] = lambda _: 0
    says_so: bool = False


def _part(directory: Path) -> bytes:
    write_part(directory / "seed", _ROWS, _LABEL)
    return (directory / "seed").read_bytes()


def _footer_start(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def _read_part(data: bytes, directory: Path) -> object:
    path = directory / "part"
    path.write_bytes(data)
    seen = examine(path, label=_LABEL, day=DAY, segments=_SEGMENTS)
    assert Examination.from_json(json.loads(json.dumps(seen.to_json()))) == seen
    return seen


def _manifest() -> bytes:
    root = part_root(_SEGMENTS)
    return Manifest(
        day=DAY,
        part=1,
        object_key=object_key(DAY, 1, root),
        object_sha256="ab" * 32,
        object_bytes=10_000,
        entry_count=len(_ROWS),
        canonical_bytes=5_000,
        first_id=1,
        last_id=len(_ROWS),
        root=root,
        segments=tuple(_SEGMENTS),
        created_at=_NOW,
    ).to_bytes(KEY)


def _note(segments: list[Segment]) -> str:
    head = LedgerHead().extended(segments)
    return sign_checkpoint(Checkpoint(KEY.name, head.size, head.root), KEY)


def _bundle() -> bytes:
    return bundle_of(segment.record_bytes() for segment in _SEGMENTS)


def _read_bundle(data: bytes, _: Path) -> object:
    segments = [Segment.from_record(record) for record in records_of(data, len(_SEGMENTS))]
    assert bundle_of(segment.record_bytes() for segment in segments) == data
    return segments


def _key_record() -> bytes:
    head = LedgerHead().extended(_SEGMENTS)
    new = SigningKey(KEY.name, bytes(range(32, 64)))
    return key_change_record(head, KEY, new, sealed_at=_NOW, until=_NOW).record_bytes()


def _read_key_record(data: bytes) -> object:
    record = record_of(data)
    assert record.record_bytes() == data
    if not isinstance(record, Statement):
        raise MalformedRecordError("a segment's record")
    return KeyChange.of_record(record)


def _proof(entry: Mapping[str, Any]) -> dict[str, Any]:
    leaves = [leaf_hash(entry), bytes(32), bytes(range(32))]
    segment = Segment(0, DAY, 0, 2**40, 1, 3, 3, merkle_root(leaves), _NOW)
    return proof_document(
        entry=entry,
        entry_index=0,
        entry_path=inclusion_path(leaves, 0),
        segment=segment,
        ledger_path=[],
        note=_note([segment]),
    )


def _record() -> bytes:
    statement = {
        "request": {"id": 7, "user_id": "ann\u00e9"},
        "deletion_count": 2,
        "deleted": [{"data_type": "conversations"}],
        "result": "success",
    }
    said = {
        "statement_sha256": statement_hash(canonical_json(statement)),
        "request_id": 7,
        "deletion_count": 2,
        "deleted_data_types": ["conversations"],
    }
    entry = row(1, action=ACTION, metadata=json.dumps(said))
    timestamp = entry["timestamp"]
    assert isinstance(timestamp, datetime)
    document = {
        "format": RECORD_FORMAT,
        "statement": statement,
        "closed_at": _NOW.isoformat(),
        "deletion_record": {"log_entry_id": entry["log_entry_id"], "timestamp": timestamp.isoformat()},
        "proof": _proof(entry),
    }
    verify_record(json.loads(json.dumps(document)), _VERIFIER)
    return json.dumps(document).encode()


def _certificate() -> bytes:
    statement = {"request": {"id": 7, "user_ids": ["ann\u00e9"]}, "deleted": [], "salt": "00"}
    said = {
        "certificate_sha256": statement_hash(canonical_json(statement)),
        "request_id": 7,
        "deletion_record": "gdpr_deletion_1",
    }
    document = {
        "format": CERTIFICATE_FORMAT,
        "language": "fr",
        "issued_on": "2026-10-01",
        "sender": {},
        "addressee": ["ann\u00e9"],
        "statement": statement,
        "deletion_record": "gdpr_deletion_1",
        "proof": _proof(row(1, action=CERTIFICATE_ACTION, metadata=json.dumps(said))),
    }
    verify_certificate(json.loads(json.dumps(document)), _VERIFIER)
    return json.dumps(document).encode()


def _import_file() -> bytes:
    lines = [
        {
            "log_entry_id": f"entry-{number}",
            "timestamp": "2026-10-01T12:00:00.123456+02:00",
            "user_id": "user\u00e9-1",
            "action": "message.send",
            "result": "success",
            "resource_id": None,
            "metadata": {"a": [1, 2.5e3, True, None, {"b": "\u2028"}]},
        }
        for number in range(3)
    ]
    return "".join(json.dumps(line, ensure_ascii=number % 2 == 0) + "\n" for number, line in enumerate(lines)).encode()


def _read_import(data: bytes, directory: Path) -> object:
    path = directory / "import"
    path.write_bytes(data)
    accept = Acceptance(date(2020, 1, 1), None)
    taken = 0
    with open_source(path, max_line_bytes=MAX_LINE_BYTES) as source:
        for line in source.lines():
            try:
                entry_from_line(_decoded(line), accept, _NOW + timedelta(minutes=5))
            except InvalidEntryError:
                continue
            taken += 1
    return taken


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InvalidLineError("it is not UTF-8") from error


def _seen(data: bytes, _: Path) -> object:
    policy = parse_policy(_POLICY.decode())
    return policy.seen(data.decode("utf-8", "surrogateescape"))


def _stamp(data: bytes, _: Path) -> object:
    note, root = vectors.box("cosigned checkpoint"), vectors.box("time stamp root")
    return Authority(root.encode()).time_of(note.encode(), data)


def targets(directory: Path) -> dict[str, Target]:
    """All kinds by name.

    Args:
        directory: for the files that the seeds are made in.
    """
    part = _part(directory)
    proof = proof_to_text(_proof(row(1))).encode()
    lines = _import_file()
    return {
        "footer": Target((part,), _read_part, (), start=_footer_start),
        "part": Target((part,), _read_part, ()),
        "manifest": Target(
            (_manifest(),),
            lambda data, _: parse_manifest(data, _VERIFIER, name="it"),
            (ManifestError,),
            says_so=True,
        ),
        "bundle": Target((_bundle(),), _read_bundle, (MalformedTileError, MalformedSegmentError)),
        "key record": Target(
            (_key_record(),), lambda data, _: _read_key_record(data), (MalformedRecordError, MalformedKeyChangeError)
        ),
        "note": Target(
            (_note(_SEGMENTS).encode(),),
            lambda data, _: open_checkpoint(data.decode("utf-8", "surrogateescape"), _VERIFIER),
            (NoteError,),
            says_so=True,
        ),
        "cosigned": Target((vectors.box("cosigned checkpoint").encode(),), _seen, (NoteError,)),
        "policy": Target(
            (_POLICY,), lambda data, _: parse_policy(data.decode("utf-8", "surrogateescape")), (MalformedPolicyError,)
        ),
        "stamp": Target((base64.b64decode(vectors.box("time stamp")),), _stamp, (BadTimeStampError,)),
        "proof": Target(
            (proof,), lambda data, _: verify_proof(proof_from_bytes(data), _VERIFIER), (InvalidProofError,)
        ),
        "record": Target(
            (_record(),),
            lambda data, _: verify_record(proof_from_bytes(data), _VERIFIER),
            (InvalidProofError, InvalidCertificateError),
        ),
        "certificate": Target(
            (_certificate(),),
            lambda data, _: verify_certificate(proof_from_bytes(data), _VERIFIER),
            (InvalidProofError, InvalidCertificateError),
        ),
        "import": Target((lines, gzip.compress(lines, mtime=0)), _read_import, (ImportFileError,)),
    }
