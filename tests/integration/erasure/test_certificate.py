"""A certificate says what was asked, deleted and kept, and proves it to somebody who has the public key alone."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.cli import compliance
from compliance_pipelines.erasure import closing
from compliance_pipelines.erasure.certificate import certificate_of, verify_certificate
from compliance_pipelines.erasure.closing import canonical_json, statement_hash
from compliance_pipelines.erasure.decisions import Correction, correct, extend
from compliance_pipelines.erasure.errors import ErasureError, InvalidCertificateError
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.erasure.runner import run_request
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.proof_document import InvalidProofError
from compliance_pipelines.ledger.proofs import EntryNotSealedError
from tests.integration.erasure.flaky import SHARED, Shelf
from tests.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock

ALICE = "user:alice"


def closed(services: Services, user_id: str = ALICE, **values: Any) -> int:  # noqa: ANN401 - Shelf's fields
    case, _ = record_request(services, NewRequest(user_id, "asked by letter", "support"))
    run_request(services, [Shelf(**values).put("a", "b")], case.request.id)
    return case.request.id


@pytest.fixture
def certificate(services: Services) -> dict[str, Any]:
    number = closed(services, reported=(SHARED,))
    seal_all(services)
    document: dict[str, Any] = json.loads(json.dumps(certificate_of(services, number)))
    return document


def test_it_says_what_was_asked_deleted_where_and_when_and_kept_why(certificate: dict[str, Any]) -> None:
    statement = certificate["statement"]
    assert statement["request"]["user_id"] == statement["request"]["subject"] == ALICE
    assert statement["request"]["reason"] == "asked by letter"
    (deleted,) = statement["deleted"]
    assert (deleted["data_type"], deleted["count"], deleted["location"]) == ("things", 2, "memory")
    assert deleted["at"]
    assert [each["target"] for each in statement["verified"]] == ["shelf"]
    shared, entries, record = statement["kept"]
    assert (shared["references"], shared["why"]) == (["default"], "several people share it")
    assert all("17(3)" in each["exception"] for each in (entries, record))
    assert statement["result"] == "partial"


def test_it_is_proven_by_the_public_key_alone(services: Services, certificate: dict[str, Any]) -> None:
    proven = verify_certificate(certificate, services.verifier_key)
    assert proven.statement == certificate["statement"]
    assert proven.record.entry["user_id"] == ALICE
    assert json.loads(proven.record.entry["metadata"])["deletion_count"] == 2


def test_a_request_of_several_ids_that_was_extended_corrected_and_interrupted_is_certified(services: Services) -> None:
    shelf = Shelf().put("a", "b")
    shelf.fails, shelf.fails_after = OSError(), 1
    case, _ = record_request(services, NewRequest("user:alcie", "asked", "support", aliases=("alice-2019",)))
    record_request(services, NewRequest("user:alcie", "asked again", "support"))
    extend(services, case.request.id, by="dpo", reason="many systems")
    correct(services, case.request.id, Correction(subject=ALICE), by="dpo", reason="mistyped")
    run_request(services, [shelf], case.request.id)
    shelf.fails = None
    run_request(services, [shelf], case.request.id)
    seal_all(services)
    document = json.loads(json.dumps(certificate_of(services, case.request.id)))
    statement = verify_certificate(document, services.verifier_key).statement
    assert statement["request"]["identifiers"] == [ALICE, "alice-2019"]
    assert [each["kind"] for each in statement["decisions"]] == ["asked_again", "extended", "corrected"]
    assert (statement["deletion_count"], statement["gone"][0]["count"]) == (1, 1)
    assert "alcie" not in json.dumps(document)


def test_another_key_proves_nothing(certificate: dict[str, Any]) -> None:
    with pytest.raises(InvalidProofError):
        verify_certificate(certificate, SigningKey.generate("tests.example/audit").verifier_key())


def _change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = document
        for name in parents:
            place = place[int(name) if name.isdecimal() else name]
        place[int(last) if last.isdecimal() else last] = value

    return change


CHANGES: Final = (
    ("statement.request.user_id", "user:bob"),
    ("statement.request.deadline", "2030-01-01"),
    ("statement.deleted.0.count", 3),
    ("statement.deleted.0.at", "2026-01-01T00:00:00+00:00"),
    ("statement.deleted.0.location", "elsewhere"),
    ("statement.kept.0.why", "no reason"),
    ("statement.result", "success"),
    ("statement.more", 1),
    ("statement", None),
    ("deletion_record.log_entry_id", "gdpr_deletion_2"),
    ("deletion_record.timestamp", "2026-01-01T00:00:00+00:00"),
    ("more", 1),
    ("format", "other"),
    ("proof.entry.metadata", '{"deletion_count": 5}'),
    ("proof.entry.result", "success"),
    ("proof.checkpoint", "x"),
    ("proof", None),
)


def test_no_word_of_it_can_be_changed(services: Services, certificate: dict[str, Any]) -> None:
    for path, value in CHANGES:
        changed = copy.deepcopy(certificate)
        _change(path, value)(changed)
        with pytest.raises((InvalidCertificateError, InvalidProofError)):
            verify_certificate(changed, services.verifier_key)


def test_the_proof_of_another_erasure_does_not_fit(services: Services) -> None:
    one, other = closed(services), closed(services, "user:bob")
    seal_all(services)
    mixed = certificate_of(services, one)
    theirs = certificate_of(services, other)
    for part in ("proof", "statement"):
        with pytest.raises(InvalidCertificateError):
            verify_certificate({**mixed, part: theirs[part]}, services.verifier_key)
    with pytest.raises(InvalidCertificateError, match="is not the one that the deletion record"):
        verify_certificate(
            {**mixed, "proof": theirs["proof"], "deletion_record": theirs["deletion_record"]}, services.verifier_key
        )


def test_an_open_request_has_no_certificate(services: Services) -> None:
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    with pytest.raises(ErasureError, match=f"erasure request {case.request.id} is open"):
        certificate_of(services, case.request.id)


def test_a_record_that_is_not_sealed_yet_has_no_proof_yet(services: Services) -> None:
    number = closed(services)
    with pytest.raises(EntryNotSealedError, match="compliance seal"):
        certificate_of(services, number)


def test_a_record_that_left_postgresql_for_the_archive_is_proven_from_there(
    services: Services, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = clock() - timedelta(days=100)
    day = moment.date()
    with services.engine.begin() as connection:
        ensure_days(connection, [day])
    log = AuditLog(services.engine)
    monkeypatch.setattr(
        closing, "_append", lambda _services, connection, entry: log.append_within(connection, entry.at(moment))
    )
    number = closed(services)
    seal_all(services)
    archive_day(services, day)
    clock.advance(days=8)
    purge_day(services, day)
    proven = verify_certificate(certificate_of(services, number), services.verifier_key)
    assert proven.statement["request"]["user_id"] == ALICE


def verify(file: Path, key: str) -> Any:  # noqa: ANN401 - click's result
    return CliRunner(env={"AUDIT_LOG_DATABASE_URL": "", "LEDGER_SIGNING_KEY": ""}).invoke(
        compliance, ["verify-proof", str(file), "--public-key", key]
    )


def test_the_command_checks_the_certificate_itself_and_the_proof_taken_out_of_it(
    services: Services, certificate: dict[str, Any], tmp_path: Path
) -> None:
    key = services.verifier_key.to_note_string()
    whole, proof, changed = (tmp_path / f"{name}.json" for name in ("whole", "proof", "changed"))
    whole.write_text(json.dumps(certificate, ensure_ascii=False, indent=2), encoding="utf-8")
    proof.write_text(json.dumps(certificate["proof"]), encoding="utf-8")
    result = verify(whole, key)
    assert result.exit_code == 0, result.output
    assert "certificate of erasure request" in result.output
    assert "is in segment" in result.output
    result = verify(proof, key)
    assert result.exit_code == 0, result.output
    assert "certificate" not in result.output
    certificate["statement"]["deleted"][0]["count"] = 9
    changed.write_text(json.dumps(certificate), encoding="utf-8")
    assert isinstance(verify(changed, key).exception, InvalidCertificateError)


def test_checking_needs_neither_database_nor_network(
    services: Services, certificate: dict[str, Any], tmp_path: Path
) -> None:
    """In a process of its own in which every connection and every look at the environment's settings fails."""
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate), encoding="utf-8")
    script = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('no network')\n"
        "socket.socket.connect = refuse; socket.create_connection = refuse\n"
        "import compliance_pipelines.settings as settings\n"
        "settings.load_settings = refuse\n"
        "from compliance_pipelines.cli import main\n"
        "sys.argv = ['compliance', 'verify-proof', sys.argv[1], '--public-key', sys.argv[2]]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(file), services.verifier_key.to_note_string()],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={"PATH": os.environ["PATH"]},
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert "valid: certificate" in done.stdout


def test_with_pseudonyms_the_ledger_does_not_learn_the_name(pseudonymous: Services) -> None:
    number = closed(pseudonymous)
    seal_all(pseudonymous)
    document = certificate_of(pseudonymous, number)
    assert ALICE not in json.dumps(document["proof"])
    assert document["statement"]["request"]["user_id"] == ALICE
    assert document["proof"]["entry"]["user_id"] == document["statement"]["request"]["subject"]
    assert document["proof"]["entry"]["user_id"].startswith("hmac-sha256:")
    verify_certificate(document, pseudonymous.verifier_key)


def test_the_statement_has_one_text_however_the_certificate_is_written(certificate: dict[str, Any]) -> None:
    text = canonical_json(certificate["statement"])
    for spaced in (
        json.dumps(certificate["statement"], indent=4),
        json.dumps(certificate["statement"], sort_keys=True),
    ):
        assert canonical_json(json.loads(spaced)) == text
    assert json.loads(certificate["proof"]["entry"]["metadata"])["statement_sha256"] == statement_hash(text)
