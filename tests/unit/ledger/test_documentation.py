"""docs/ledger.md holds: a stranger who has only the document, and the package, come to the values in it."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from compliance_pipelines.audit_log import canonical
from compliance_pipelines.audit_log.entry import COLUMNS
from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, VerifierKey, open_checkpoint, sign_checkpoint
from compliance_pipelines.ledger.cosignatures import WitnessKey, cosigned
from compliance_pipelines.ledger.expiries import Expiry, is_expiry
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.key_changes import key_change_record
from compliance_pipelines.ledger.log_reading import EMPTY_LOG, read_head
from compliance_pipelines.ledger.losses import Loss, is_loss
from compliance_pipelines.ledger.merkle import merkle_root
from compliance_pipelines.ledger.proof_document import proof_document, verify_proof
from compliance_pipelines.ledger.publication import publish
from compliance_pipelines.ledger.records import record_of
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.ledger.timestamping import Authority
from compliance_pipelines.ledger.tlog_proof import tlog_proof
from compliance_pipelines.ledger.witnesses import parse_policy
from tests.support.witness import Witness
from tests.unit.ledger import stranger, vectors

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.object_store.local import LocalObjectStore

ENTRIES: Final = vectors.json_box("entries")
SEGMENTS: Final = vectors.json_box("segments")
KEY: Final = vectors.json_box("key")
PROOF: Final = vectors.json_box("proof")


def row(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as the package has it."""
    times = {name: datetime.fromisoformat(entry[name]) for name in ("timestamp", "created_at")}
    return {**entry, **times, "nonce": bytes.fromhex(entry["nonce"])}


def records() -> list[Segment]:
    return [Segment.from_json(vector["segment"]) for vector in SEGMENTS]


@pytest.mark.parametrize("vector", ENTRIES, ids=lambda vector: vector["entry"]["log_entry_id"])
def test_entries_have_the_bytes_and_leaves_of_the_document(vector: dict[str, Any]) -> None:
    entry, public, private = vector["entry"], bytes.fromhex(vector["public"]), bytes.fromhex(vector["private"])
    assert stranger.public_bytes(entry) == canonical.public_bytes(row(entry)) == public
    assert stranger.private_bytes(entry) == canonical.private_bytes(row(entry)) == private
    commitment = hashlib.sha256(b"\2" + bytes.fromhex(entry["nonce"]) + private)
    assert stranger.commitment(entry).hex() == commitment.hexdigest() == vector["commitment"]
    assert hashlib.sha256(b"\0" + public + commitment.digest()).hexdigest() == vector["leaf"]
    assert stranger.entry_leaf(entry).hex() == canonical.leaf_hash(row(entry)).hex() == vector["leaf"]


def test_the_columns_of_the_document_are_those_of_the_package() -> None:
    table = vectors.DOCUMENT.read_text(encoding="utf-8").split("## Entries")[1].split("## Trees")[0]
    named = [line.split("`")[1] for line in table.splitlines() if line.startswith("| ") and "`" in line.split("|")[2]]
    assert named == list(COLUMNS) == list(stranger.COLUMNS) == list(PROOF["entry"])


def test_the_segment_has_the_root_of_the_document() -> None:
    vector = vectors.json_box("segment root")
    leaves = [bytes.fromhex(leaf) for leaf in vector["leaves"]]
    assert vector["leaves"] == [entry["leaf"] for entry in ENTRIES[:3]]
    assert stranger.node_hash(leaves[0], leaves[1]).hex() == vector["inner"]
    assert stranger.node_hash(bytes.fromhex(vector["inner"]), leaves[2]).hex() == vector["root"]
    assert (
        stranger.tree_root(leaves).hex()
        == merkle_root(leaves).hex()
        == vector["root"]
        == SEGMENTS[1]["segment"]["root"]
    )


@pytest.mark.parametrize("vector", SEGMENTS, ids=lambda vector: str(vector["segment"]["seq"]))
def test_segments_have_the_records_and_leaves_of_the_document(vector: dict[str, Any]) -> None:
    segment = Segment.from_json(vector["segment"])
    record = bytes.fromhex(vector["record"])
    assert stranger.record_bytes(vector["segment"]) == segment.record_bytes() == record
    assert Segment.from_record(record) == segment
    assert stranger.leaf_hash(record).hex() == segment.leaf_hash().hex() == vector["leaf"]


def test_segments_are_those_of_the_entries() -> None:
    for vector in SEGMENTS:
        segment = vector["segment"]
        inside = [
            (entry["entry"]["id"], bytes.fromhex(entry["leaf"]))
            for entry in ENTRIES
            if entry["entry"]["timestamp"][:10] == segment["day"]
            and segment["tx_from"] <= entry["entry"]["tx_id"] < segment["tx_to"]
        ]
        ids, leaves = zip(*sorted(inside), strict=True)
        assert (ids[0], ids[-1], len(ids)) == (segment["first_id"], segment["last_id"], segment["entry_count"])
        assert stranger.tree_root(leaves).hex() == segment["root"]


def test_the_ledger_has_the_roots_of_the_document() -> None:
    leaves = [bytes.fromhex(vector["leaf"]) for vector in SEGMENTS]
    roots = vectors.json_box("ledger roots")
    assert [stranger.tree_root(leaves[:size]).hex() for size in range(4)] == roots
    assert [LedgerHead().root.hex()] == roots[:1]
    assert [LedgerHead().extended(records()[:size]).root.hex() for size in (1, 2, 3)] == roots[1:]


def test_the_expiry_has_the_record_and_the_leaf_of_the_document() -> None:
    vector = vectors.json_box("expiry")
    stated, record = vector["expiry"], bytes.fromhex(vector["record"])
    statement = record_of(record)
    assert is_expiry(statement)
    expiry = Expiry.of(statement)
    assert stranger.expiry_bytes(stated) == statement.record_bytes() == record
    assert stranger.read_expiry(record) == stated
    assert (str(expiry.day), expiry.part, expiry.years) == (stated["day"], stated["part"], stated["years"])
    assert stranger.leaf_hash(record).hex() == statement.leaf_hash().hex() == vector["leaf"]
    assert stranger.tree_root([bytes.fromhex(SEGMENTS[1]["leaf"])]) == expiry.root
    assert LedgerHead().extended([*records(), statement]).root.hex() == vector["root"]


def test_the_loss_has_the_record_and_the_leaf_of_the_document() -> None:
    vector = vectors.json_box("loss")
    stated, record = vector["loss"], bytes.fromhex(vector["record"])
    statement = record_of(record)
    assert is_loss(statement)
    loss = Loss.of(statement)
    assert stranger.loss_bytes(stated) == statement.record_bytes() == record
    assert stranger.read_loss(record) == stated
    assert {"entries": loss.entries, "found": loss.found, "author": loss.author, "reason": loss.reason} == {
        name: stated[name] for name in ("entries", "found", "author", "reason")
    }
    assert [list(each) for each in loss.ranges] == stated["ranges"]
    assert (statement.seq, statement.tx_to) == (stated["seq"], stated["tx_to"])
    assert stranger.leaf_hash(record).hex() == statement.leaf_hash().hex() == vector["leaf"]
    leaves = [bytes.fromhex(segment["leaf"]) for segment in [*SEGMENTS, vector]]
    assert (
        stranger.tree_root(leaves).hex() == LedgerHead().extended([*records(), statement]).root.hex() == vector["root"]
    )
    left = stranger.standing([*(segment["segment"] for segment in SEGMENTS), stated])
    assert left == [segment["segment"] for segment in SEGMENTS[:2]]


def test_the_key_is_that_of_its_seed() -> None:
    key = SigningKey(KEY["private_key"].split("+")[2], bytes.fromhex(KEY["seed"]))
    assert key.to_note_string() == KEY["private_key"]
    assert key.verifier_key().to_note_string() == KEY["public_key"]
    assert stranger.read_public_key(KEY["public_key"]).name == key.name


def test_the_checkpoint_is_signed_by_the_key_over_the_ledger() -> None:
    note = vectors.box("checkpoint")
    root = bytes.fromhex(vectors.json_box("ledger roots")[3])
    key = SigningKey.from_note_string(KEY["private_key"])
    assert stranger.open_checkpoint(note, stranger.read_public_key(KEY["public_key"])) == (3, root)
    assert open_checkpoint(note, key.verifier_key()) == Checkpoint(key.name, 3, root)
    assert sign_checkpoint(Checkpoint(key.name, 3, root), key) == note


def test_the_objects_rebuild_the_ledger(object_store: LocalObjectStore) -> None:
    objects = vectors.objects()
    rebuilt = stranger.rebuild(objects, stranger.read_public_key(KEY["public_key"]))
    assert rebuilt == [vector["segment"] for vector in SEGMENTS]
    key = SigningKey.from_note_string(KEY["private_key"])
    log, steps = EMPTY_LOG, list[str]()
    for segments in (records()[:2], records()[2:]):
        head = log.head.extended(segments)
        note = sign_checkpoint(Checkpoint(key.name, head.size, head.root), key)
        log = publish(object_store, log, segments, note, steps.append)
    assert {info.key: object_store.get_bytes(info.key) for info in object_store.list("")} == objects
    assert read_head(object_store, key.verifier_key()).records == log.records
    assert log.note == vectors.box("checkpoint")


def test_the_change_of_the_key_has_the_bytes_of_the_document(object_store: LocalObjectStore) -> None:
    vector = vectors.json_box("key change")
    old = SigningKey.from_note_string(KEY["private_key"])
    new = SigningKey(old.name, bytes.fromhex(vector["seed"]))
    assert (new.to_note_string(), new.verifier_key().to_note_string()) == (vector["private_key"], vector["public_key"])
    head = LedgerHead().extended(records())
    sealed_at = records()[-1].sealed_at + timedelta(minutes=1)
    record = key_change_record(head, old, new, sealed_at=sealed_at, until=sealed_at + timedelta(days=30))
    data = record.record_bytes()
    assert (data.hex(), record.body.decode()) == (vector["record"], vector["body"])
    assert stranger.leaf_hash(data).hex() == record.leaf_hash().hex() == vector["leaf"]
    grown = head.extended([record])
    assert sign_checkpoint(Checkpoint(new.name, 4, grown.root), new, old) == vector["checkpoint"]
    for key in (KEY["public_key"], vector["public_key"]):
        chain = stranger.chain_through(stranger.read_public_key(key), [data])
        assert stranger.open_checkpoint(vector["checkpoint"], chain) == (4, grown.root)
        assert vector["root"] == grown.root.hex()
    log = EMPTY_LOG
    for added, note in ((records(), vectors.box("checkpoint")), ([record], vector["checkpoint"])):
        log = publish(object_store, log, added, note, list[str]().append)
    objects = {info.key: object_store.get_bytes(info.key) for info in object_store.list("")}
    assert objects["audit-ledger/keys/00000000000000000003"] == data
    rebuilt = stranger.rebuild(objects, stranger.read_public_key(vector["public_key"]))
    assert rebuilt[:3] == [each["segment"] for each in SEGMENTS]
    assert rebuilt[3]["body"].decode() == vector["body"]
    assert read_head(object_store, new.verifier_key()).keys == (record,)


def test_the_proof_of_the_record_alone_is_a_tlog_proof() -> None:
    record = stranger.verify_tlog_proof(vectors.box("tlog proof"), stranger.read_public_key(KEY["public_key"]))
    assert record == records()[1].record_bytes()
    assert tlog_proof(PROOF) == vectors.box("tlog proof")


def test_the_proof_proves_its_entry() -> None:
    stranger.verify_proof(PROOF, stranger.read_public_key(KEY["public_key"]))
    proven = verify_proof(PROOF, VerifierKey.from_note_string(KEY["public_key"]))
    assert proven.entry == row(ENTRIES[1]["entry"])
    assert PROOF["entry"] == ENTRIES[1]["entry"]
    assert proven.segment == records()[1]
    assert (
        proof_document(
            entry=proven.entry,
            entry_index=PROOF["entry_index"],
            entry_path=[bytes.fromhex(node) for node in PROOF["entry_path"]],
            segment=proven.segment,
            ledger_path=[bytes.fromhex(node) for node in PROOF["ledger_path"]],
            note=PROOF["checkpoint"],
        )
        == PROOF
    )


def test_the_cosigned_checkpoint_is_that_of_its_witness() -> None:
    vector, note = vectors.json_box("cosignature"), vectors.box("cosigned checkpoint")
    witness = Witness("witness.example/w1", bytes.fromhex(vector["seed"]))
    text = note.rpartition("\n\n")[0] + "\n"
    assert witness.vkey == vector["public_key"]
    assert vector["message"] == f"cosignature/v1\ntime {vector['time']}\n{text}"
    assert note == vectors.box("checkpoint") + witness.line(text, vector["time"])
    key = WitnessKey.from_note_string(vector["public_key"])
    assert cosigned(note, [key]).times[key].timestamp() == vector["time"]
    assert open_checkpoint(note, VerifierKey.from_note_string(KEY["public_key"])).size == 3
    assert stranger.open_checkpoint(note, stranger.read_public_key(KEY["public_key"]))[0] == 3


def test_the_policy_of_the_document_can_be_read() -> None:
    document = vectors.DOCUMENT.read_text(encoding="utf-8")
    policy = next(box for box in document.split("```\n") if box.startswith("witness w1 "))
    seeds = {name: Witness(f"{name}.example", bytes([number] * 32)) for number, name in enumerate(("w2", "w3"))}
    whole = policy
    for name, each in seeds.items():
        whole = whole.replace(f"witness {name} ...", f"witness {name} {each.vkey}")
    assert parse_policy(whole).needed == "2 of w1, w2, w3"


def test_the_time_stamp_is_over_the_cosigned_checkpoint_and_openssl_takes_it(tmp_path: Path) -> None:
    stamp = base64.b64decode(vectors.box("time stamp"))
    note, root = vectors.box("cosigned checkpoint").encode(), vectors.box("time stamp root").encode()
    time = Authority(root).time_of(note, stamp)
    for name, data in {"note": note, "stamp": stamp, "root.pem": root}.items():
        (tmp_path / name).write_bytes(data)
    files = ("-data", "note", "-in", "stamp", "-CAfile", "root.pem", "-attime", str(int(time.timestamp())))
    done = subprocess.run(
        ["openssl", "ts", "-verify", *files], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert "Verification: OK" in done.stdout
