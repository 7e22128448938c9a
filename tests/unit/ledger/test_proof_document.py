from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from compliance_pipelines.ledger.checkpoint import Checkpoint, SigningKey, VerifierKey, sign_checkpoint
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.proof_document import InvalidProofError, proof_from_bytes, proof_to_text, verify_proof
from compliance_pipelines.ledger.segments import Segment
from tests.unit.ledger import stranger, vectors
from tests.unit.ledger.alterations import alterations

if TYPE_CHECKING:
    from collections.abc import Callable

PROOF: Final[dict[str, Any]] = vectors.json_box("proof")
PUBLIC_KEY: Final[str] = vectors.json_box("key")["public_key"]
KEY: Final = VerifierKey.from_note_string(PUBLIC_KEY)
CHECKOUT: Final = Path(__file__).parents[3]


def test_the_proof_is_valid() -> None:
    assert verify_proof(PROOF, KEY).checkpoint.size == 3


def accepted(verify: Callable[[Any], object], refusals: tuple[type[Exception], ...]) -> list[str]:
    """Where the proof can be changed without being refused."""
    found = []
    changes = list(alterations(PROOF))
    assert len(changes) > 1_500
    for where, altered in changes:
        try:
            verify(altered)
        except refusals:
            continue
        found.append(where)
    return found


def test_no_altered_proof_is_valid() -> None:
    assert accepted(lambda altered: verify_proof(altered, KEY), (InvalidProofError,)) == []


def test_a_verifier_after_the_document_accepts_no_altered_proof_either() -> None:
    key = stranger.read_public_key(PUBLIC_KEY)
    errors = (ValueError, TypeError, AttributeError, KeyError)
    assert accepted(lambda altered: stranger.verify_proof(altered, key), errors) == []


def test_a_proof_by_another_key_of_the_same_name_is_not_valid() -> None:
    another = SigningKey("example.org/audit", bytes(32)).verifier_key()
    with pytest.raises(InvalidProofError, match=r"not signed by example\.org/audit"):
        verify_proof(PROOF, another)


def test_a_valid_proof_of_another_entry_does_not_lend_its_parts() -> None:
    entry = vectors.json_box("entries")[0]["entry"]
    for changed in ({"entry": entry}, {"entry": entry, "entry_index": 0}):
        with pytest.raises(InvalidProofError, match="inclusion"):
            verify_proof({**PROOF, **changed}, KEY)


def test_an_entry_of_another_day_or_transaction_than_its_segment_is_refused_although_its_path_is_right() -> None:
    # Only a sealer that is wrong, or that has the key and lies, can make such a proof: of a segment of one entry.
    signer = SigningKey.from_note_string(vectors.json_box("key")["private_key"])
    record = {**vectors.json_box("segments")[2]["segment"], "seq": 0}
    entry = vectors.json_box("entries")[4]["entry"]
    for lie in ({}, {"day": "2025-10-03"}, {"tx_to": entry["tx_id"]}, {"tx_from": entry["tx_id"] + 1}):
        segment = Segment.from_json({**record, **lie})
        head = LedgerHead().extended([segment])
        proof = {
            **PROOF,
            "entry": entry,
            "entry_index": 0,
            "entry_path": [],
            "segment": segment.to_json(),
            "ledger_path": [],
            "checkpoint": sign_checkpoint(Checkpoint(signer.name, 1, head.root), signer),
        }
        if not lie:
            verify_proof(proof, KEY)
        else:
            with pytest.raises(InvalidProofError, match="another day or transaction"):
                verify_proof(proof, KEY)


def test_a_file_is_read_as_it_was_written() -> None:
    assert proof_from_bytes(proof_to_text(PROOF).encode()) == PROOF


def test_the_order_of_names_and_white_space_mean_nothing() -> None:
    turned = json.dumps(dict(reversed(PROOF.items())), separators=(",", ":"), sort_keys=True)
    verify_proof(proof_from_bytes(turned.encode()), KEY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"format": "\xff"}',
        b"[" * 100_000,
        json.dumps(PROOF).encode("utf-16"),
        json.dumps(PROOF).replace('"entry": {', '"entry": {"user_id": "somebody else", ').encode(),
        json.dumps(PROOF).replace('"format"', '"checkpoint": "", "format"').encode(),
    ],
    ids=["empty", "half", "bytes", "no UTF-8", "deep", "UTF-16", "a column twice", "a member twice"],
)
def test_what_is_no_proof_file_is_named_so(data: bytes) -> None:
    with pytest.raises(InvalidProofError, match="this is no proof"):
        proof_from_bytes(data)


def test_the_other_form_of_a_proof_is_named_so() -> None:
    with pytest.raises(InvalidProofError, match="a tlog-proof of its segment's record"):
        proof_from_bytes(vectors.box("tlog proof").encode())


@pytest.mark.parametrize("document", [None, [], "proof", {}, {"format": "compliance-pipelines/proof/v1"}])
def test_another_format_is_named_so(document: object) -> None:
    with pytest.raises(InvalidProofError, match="no proof of the format compliance-pipelines/proof/v2"):
        verify_proof(document, KEY)


def run_without_network(arguments: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run `compliance` in an empty environment, in a process to which the kernel gives no socket."""
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "tests/unit/ledger/without_network.py"), *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_a_proof_is_verified_without_database_network_or_settings(tmp_path: Path) -> None:
    (tmp_path / "proof.json").write_text(proof_to_text(PROOF), encoding="utf-8")
    (tmp_path / "key").write_text(PUBLIC_KEY + "\n", encoding="utf-8")
    for key in (PUBLIC_KEY, "key"):
        done = run_without_network(["verify-proof", "proof.json", "--public-key", key], tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(
            "valid: entry 'e-2' of 2025-10-01T23:59:59.999999+00:00 ('', '-', 'failure') is in"
        )


def test_an_altered_proof_is_refused_without_database_network_or_settings(tmp_path: Path) -> None:
    altered = copy.deepcopy(PROOF)
    altered["entry"]["user_id"] = "mallory"
    (tmp_path / "proof.json").write_text(proof_to_text(altered), encoding="utf-8")
    done = run_without_network(["verify-proof", "proof.json", "--public-key", PUBLIC_KEY], tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("compliance: inclusion: the root is ")
    assert len(done.stderr.splitlines()) == 1
