"""A certificate carries the cosignatures of witnesses, and whoever checks it may ask for them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from click.testing import CliRunner

from compliance_pipelines.cli import compliance
from compliance_pipelines.erasure.auditor_record import record_of
from compliance_pipelines.erasure.certificate import certificate_of
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.erasure.runner import run_request
from compliance_pipelines.ledger.proof_document import InvalidProofError
from compliance_pipelines.ledger.witnessing import ask_witnesses
from tests.integration.erasure.flaky import Shelf
from tests.support.sealing import seal_all
from tests.support.witness import cosigned_by, policy, witness

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.services import Services


def test_both_documents_of_an_erasure_are_cosigned(services: Services, tmp_path: Path) -> None:
    case, _ = record_request(services, NewRequest("user:alice", "asked by letter", "support"))
    run_request(services, [Shelf().put("a")], case.request.id)
    seal_all(services)
    key = services.verifier_key.to_note_string()
    with witness("w1.example", key, now=lambda: services.clock().timestamp()) as one:
        text = policy(one, quorum="all")
        seen = replace(services, settings=services.settings.model_copy(update={"ledger_witnesses": text}))
        ask_witnesses(seen)
        for make in (certificate_of, record_of):
            document = make(seen, case.request.id)
            assert cosigned_by(document["proof"]["checkpoint"], one)
            file, policy_file, other = tmp_path / "document.json", tmp_path / "policy", tmp_path / "other"
            file.write_text(json.dumps(document), encoding="utf-8")
            policy_file.write_text(text, encoding="utf-8")
            arguments = ["verify-proof", str(file), "--public-key", key, "--witnesses"]

            checked = CliRunner().invoke(compliance, [*arguments, str(policy_file)])

            assert checked.exit_code == 0, checked.output
            assert checked.output.splitlines()[-1].startswith("cosigned: w1 at ")
            with witness("w2.example", key) as two:
                other.write_text(policy(two, quorum="all"), encoding="utf-8")
            refused = CliRunner().invoke(compliance, [*arguments, str(other)])
            assert isinstance(refused.exception, InvalidProofError)
            assert refused.output == ""
