"""The person's certificate and the auditor's record prove what they say to somebody who has the public key alone."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from click.testing import CliRunner

from compliance_pipelines.archive.export import archive_day
from compliance_pipelines.archive.lookup import ArchiveEntryFinder
from compliance_pipelines.archive.purge import purge_day
from compliance_pipelines.audit_log.entry import UndatedEntry
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.cli import compliance
from compliance_pipelines.erasure import closing, sql
from compliance_pipelines.erasure.auditor_record import record_of
from compliance_pipelines.erasure.certificate import certificate_of
from compliance_pipelines.erasure.closing import result_of, statement_of
from compliance_pipelines.erasure.document_checks import verify_certificate, verify_record
from compliance_pipelines.erasure.errors import ErasureError, InvalidCertificateError
from compliance_pipelines.erasure.letter import letter_of
from compliance_pipelines.erasure.pages_html import to_html
from compliance_pipelines.erasure.record import NewRequest, record_request
from compliance_pipelines.erasure.runner import run_request
from compliance_pipelines.erasure.statements import CERTIFICATE_ACTION, canonical_json, statement_hash
from compliance_pipelines.erasure.targets import Item, Reported
from compliance_pipelines.holds import HoldScope
from compliance_pipelines.holds.record import NewHold, add_hold, release_hold
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.proof_document import InvalidProofError
from compliance_pipelines.ledger.proofs import EntryNotSealedError, prove
from tests.integration.erasure.flaky import SHARED, Shelf
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry, JsonValue
    from compliance_pipelines.erasure.record import Case
    from compliance_pipelines.services import Services
    from tests.conftest import MovableClock

ALICE = "user:alice"


def closed(services: Services, user_id: str = ALICE, **values: Any) -> int:  # noqa: ANN401 - Shelf's fields
    case, _ = record_request(services, NewRequest(user_id, "asked by letter", "support"))
    run_request(services, [Shelf(**values).put("a", "b")], case.request.id)
    return case.request.id


@pytest.fixture
def record(services: Services) -> dict[str, Any]:
    number = closed(services, reported=(SHARED,))
    seal_all(services)
    document: dict[str, Any] = json.loads(json.dumps(record_of(services, number)))
    return document


@pytest.fixture
def certificate(services: Services) -> dict[str, Any]:
    number = closed(services, reported=(SHARED,))
    seal_all(services)
    document: dict[str, Any] = json.loads(json.dumps(certificate_of(services, number)))
    return document


def test_the_record_says_what_was_asked_deleted_where_and_when_and_kept_why(record: dict[str, Any]) -> None:
    statement = record["statement"]
    assert statement["request"]["user_id"] == statement["request"]["subject"] == ALICE
    assert statement["request"]["reason"] == "asked by letter"
    (deleted,) = statement["deleted"]
    assert (deleted["data_type"], deleted["count"], deleted["location"]) == ("things", 2, "memory")
    assert deleted["at"]
    assert [each["target"] for each in statement["verified"]] == ["shelf"]
    shared, entries, erasure = statement["kept"]
    assert (shared["references"], shared["why"]) == (["default"], "several people share it")
    assert all("17(3)" in each["exception"] for each in (entries, erasure))
    assert statement["result"] == "partial"


def test_the_certificate_says_what_the_person_may_know(certificate: dict[str, Any], clock: MovableClock) -> None:
    statement = certificate["statement"]
    assert statement["request"]["user_ids"] == [ALICE]
    assert (statement["outcome"], [each["reason"] for each in statement["not_deleted"]]) == ("partial", ["shared"])
    assert [(each["kind"], each["count"]) for each in statement["deleted"]] == [("other", 2)]
    assert statement["verified_at"]
    assert certificate["issued_on"] == clock().date().isoformat()
    assert certificate["sender"]["controller"] == "Example Ltd\n1 Example Street"


def test_both_are_proven_by_the_public_key_alone(
    services: Services, certificate: dict[str, Any], record: dict[str, Any]
) -> None:
    proven = verify_record(record, services.verifier_key)
    assert proven.statement == record["statement"]
    assert proven.record.entry["user_id"] == ALICE
    assert json.loads(proven.record.entry["metadata"])["deletion_count"] == 2
    bound = verify_certificate(certificate, services.verifier_key)
    assert bound.statement == certificate["statement"]
    assert bound.entry.entry["action"] == "erasure.certificate"


def test_another_key_proves_nothing(certificate: dict[str, Any], record: dict[str, Any]) -> None:
    other = SigningKey.generate("tests.example/audit").verifier_key()
    with pytest.raises(InvalidProofError):
        verify_certificate(certificate, other)
    with pytest.raises(InvalidProofError):
        verify_record(record, other)


def _change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = document
        for name in parents:
            place = place[int(name) if name.isdecimal() else name]
        place[int(last) if last.isdecimal() else last] = value

    return change


CHANGES_OF_RECORD: Final = (
    ("statement.request.user_id", "user:bob"),
    ("statement.request.deadline", "2030-01-01"),
    ("statement.deleted.0.count", 3),
    ("statement.deleted.0.at", "2026-01-01T00:00:00+00:00"),
    ("statement.deleted.0.location", "elsewhere"),
    ("statement.kept.0.why", "no reason"),
    ("statement.result", "success"),
    ("statement.more", 1),
    ("statement.certificate.statement.outcome", "complete"),
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
CHANGES_OF_CERTIFICATE: Final[tuple[tuple[str, object], ...]] = (
    ("statement.request.user_ids.0", "user:bob"),
    ("statement.request.id", 2),
    ("statement.request.deadline", "2030-01-01"),
    ("statement.outcome", "complete"),
    ("statement.deleted.0.count", 3),
    ("statement.deleted.0.kind", "sessions"),
    ("statement.deleted.0.last_at", "2026-01-01T00:00:00+00:00"),
    ("statement.not_deleted", []),
    ("statement.not_deleted.0.reason", "unattributable"),
    ("statement.kept_by_law.0.years", 1),
    ("statement.salt", ""),
    ("statement.salt", "\ud800"),
    ("statement.more", 1),
    ("statement", None),
    ("statement", []),
    ("deletion_record", "gdpr_deletion_2"),
    ("more", 1),
    ("format", "other"),
    ("format", "compliance-pipelines/erasure-record/v1"),
    ("proof.entry.metadata", "{}"),
    ("proof.entry.user_id", "user:bob"),
    ("proof.checkpoint", "x"),
    ("proof", None),
)


def test_no_word_of_either_can_be_changed(
    services: Services, certificate: dict[str, Any], record: dict[str, Any]
) -> None:
    documents: tuple[tuple[dict[str, Any], Any, Any], ...] = (
        (record, verify_record, CHANGES_OF_RECORD),
        (certificate, verify_certificate, CHANGES_OF_CERTIFICATE),
    )
    for document, check, changes in documents:
        for path, value in changes:
            changed = copy.deepcopy(document)
            _change(path, value)(changed)
            with pytest.raises((InvalidCertificateError, InvalidProofError)):
                check(changed, services.verifier_key)


def test_the_proof_of_another_erasure_does_not_fit(services: Services) -> None:
    one, other = closed(services), closed(services, "user:bob")
    seal_all(services)
    documents: tuple[tuple[Any, Any], ...] = ((record_of, verify_record), (certificate_of, verify_certificate))
    for make, check in documents:
        mixed, theirs = make(services, one), make(services, other)
        for part in ("proof", "statement"):
            with pytest.raises(InvalidCertificateError):
                check({**mixed, part: theirs[part]}, services.verifier_key)
        with pytest.raises(InvalidCertificateError, match="something in it was changed"):
            check(
                {**mixed, "proof": theirs["proof"], "deletion_record": theirs["deletion_record"]},
                services.verifier_key,
            )


def test_an_entry_that_binds_nothing_proves_no_statement_that_has_no_hash(services: Services) -> None:
    """An application can append an entry of any action; a statement of a lone surrogate has no bytes to be hashed."""
    number = closed(services)
    values: JsonValue = {"request_id": number, "deletion_record": "x"}
    entry = UndatedEntry(
        log_entry_id="forged", user_id=ALICE, action=CERTIFICATE_ACTION, result="success", metadata=values
    )
    AuditLog(services.engine).append(entry)
    seal_all(services)
    forged = {
        **certificate_of(services, number),
        "statement": {"request": {"id": number}, "salt": "\ud800"},
        "deletion_record": "x",
        "proof": prove(services, "forged", finder=ArchiveEntryFinder(services)),
    }
    with pytest.raises(InvalidCertificateError, match="something in it was changed"):
        verify_certificate(forged, services.verifier_key)


def test_a_statement_that_somebody_else_bound_must_be_of_a_person(services: Services) -> None:
    number = closed(services)
    statement = {"request": {"id": number, "user_ids": [7]}}
    values: JsonValue = {
        "request_id": number,
        "deletion_record": "x",
        "certificate_sha256": statement_hash(canonical_json(statement)),
    }
    entry = UndatedEntry(
        log_entry_id="forged", user_id=ALICE, action=CERTIFICATE_ACTION, result="success", metadata=values
    )
    AuditLog(services.engine).append(entry)
    seal_all(services)
    proof = prove(services, "forged", finder=ArchiveEntryFinder(services))
    forged = {**certificate_of(services, number), "statement": statement, "deletion_record": "x", "proof": proof}
    with pytest.raises(InvalidCertificateError, match="do not name the same request"):
        verify_certificate(forged, services.verifier_key)


def test_an_open_request_has_neither(services: Services) -> None:
    case, _ = record_request(services, NewRequest(ALICE, "asked", "support"))
    for make in (record_of, certificate_of):
        with pytest.raises(ErasureError, match=f"erasure request {case.request.id} is open"):
            make(services, case.request.id)


def test_what_is_not_sealed_yet_has_no_proof_yet(services: Services) -> None:
    number = closed(services)
    for make in (record_of, certificate_of):
        with pytest.raises(EntryNotSealedError, match="compliance seal"):
            make(services, number)


def test_entries_that_left_postgresql_for_the_archive_are_proven_from_there(
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
    proven = verify_record(record_of(services, number), services.verifier_key)
    assert proven.statement["request"]["user_id"] == ALICE
    bound = verify_certificate(certificate_of(services, number), services.verifier_key)
    assert bound.statement["request"]["user_ids"] == [ALICE]


def close_as_before(services: Services, connection: sqlalchemy.Connection, case: Case) -> AuditEntry:
    """How requests were closed when nothing was written down for the person yet."""
    statement = canonical_json(statement_of(case, subject=case.request.user_id))
    more = {"statement_sha256": statement_hash(statement)}
    result = result_of(case)
    entry = closing._deletion_record(services, case, case.deleted(), success=result == "success", errors=[], more=more)
    appended = closing._append(services, connection, entry)
    values = {
        "request_id": case.request.id,
        "result": result,
        "log_entry_id": appended.log_entry_id,
        "entry_timestamp": appended.timestamp,
        "statement": statement,
    }
    connection.execute(sql.INSERT_CLOSURE, values)
    return appended


def test_a_request_that_was_closed_before_has_both_and_the_certificate_claims_no_proof(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "close", close_as_before)
    number = closed(services, reported=(SHARED,))
    seal_all(services)
    record = record_of(services, number)
    verify_record(record, services.verifier_key)
    # A certificate that was handed out then is the same document under its former name.
    verify_record({**record, "format": "compliance-pipelines/erasure-certificate/v1"}, services.verifier_key)
    certificate = certificate_of(services, number)
    assert certificate["proof"] is None
    assert certificate["deletion_record"] == record["deletion_record"]["log_entry_id"]
    assert certificate["statement"]["outcome"] == "partial"
    # Of the kinds that are not the project's own nobody counted how many they are.
    assert [each["count"] for each in certificate["statement"]["not_deleted"]] == [None]
    with pytest.raises(InvalidCertificateError, match=f"has no proof: .* {certificate['deletion_record']!r}"):
        verify_certificate(certificate, services.verifier_key)


def test_the_date_of_issue_is_the_day_on_which_it_is_made(services: Services, clock: MovableClock) -> None:
    number = closed(services)
    seal_all(services)
    first = certificate_of(services, number, language="fr", addressee=["Alice", "1 Way"])
    clock.advance(days=30)
    second = certificate_of(services, number)
    assert date.fromisoformat(second["issued_on"]) - date.fromisoformat(first["issued_on"]) == timedelta(days=30)
    assert first["statement"] == second["statement"]
    assert (first["language"], first["addressee"]) == ("fr", ["Alice", "1 Way"])
    assert (second["language"], second["addressee"]) == ("en", [])


def test_nothing_internal_reaches_the_person(services: Services) -> None:
    """Not even inside the proof, which shows the whole entry that it is of."""
    secrets = [
        "zq-shelf",
        "zq-host.internal",
        "zq-kind",
        "zq-thread-of-bob",
        "zq-why",
        "zq-clerk",
        "zq-note",
        "zq-case",
    ]
    shelf = Shelf(
        name="zq-shelf",
        location="redis://login@zq-host.internal:6379/0",
        reported=(
            Reported("zq-kind", "zq-thread-of-bob", "zq-why"),
            Reported("zq-kind", "session:zq-thread-of-bob", "zq-why", is_theirs=False),
        ),
        things={"zq-ref": Item("zq-kind", "zq-ref")},
    )
    case, _ = record_request(services, NewRequest(ALICE, "zq-note", "zq-clerk"))
    hold = add_hold(services, NewHold(HoldScope.USER, "zq-case 4711", "zq-counsel", subject=ALICE)).hold
    assert run_request(services, [shelf], case.request.id).closure is None
    release_hold(services, hold.id, reason="zq-case closed", author="zq-judge")
    shelf.fails = OSError("zq-host.internal refused zq-login")
    assert run_request(services, [shelf], case.request.id).closure is None
    shelf.fails = None
    assert run_request(services, [shelf], case.request.id).closure is not None
    seal_all(services)
    certificate = certificate_of(services, case.request.id)
    text = json.dumps(certificate) + to_html(letter_of(certificate), with_fonts=False)
    assert not [secret for secret in [*secrets, "zq-"] if secret in text]
    record = json.dumps(record_of(services, case.request.id))
    assert [secret for secret in secrets if secret not in record] == []
    assert certificate["statement"]["delayed_by_legal_claims"] is True
    assert certificate["statement"]["deleted"][0]["count"] == 1


def verify(file: Path, key: str) -> Any:  # noqa: ANN401 - click's result
    return CliRunner(env={"AUDIT_LOG_DATABASE_URL": "", "LEDGER_SIGNING_KEY": ""}).invoke(
        compliance, ["verify-proof", str(file), "--public-key", key]
    )


@pytest.mark.parametrize(("kind", "named"), [("certificate", "the statement of a certificate"), ("record", "record")])
def test_the_command_checks_either_document_and_the_proof_taken_out_of_it(
    services: Services, tmp_path: Path, request: pytest.FixtureRequest, kind: str, named: str
) -> None:
    document: dict[str, Any] = request.getfixturevalue(kind)
    key = services.verifier_key.to_note_string()
    whole, proof, changed = (tmp_path / f"{name}.json" for name in ("whole", "proof", "changed"))
    whole.write_text(json.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8")
    proof.write_text(json.dumps(document["proof"]), encoding="utf-8")
    result = verify(whole, key)
    assert result.exit_code == 0, result.output
    assert f"valid: {named} of erasure request" in result.output
    assert "is in segment" in result.output
    result = verify(proof, key)
    assert result.exit_code == 0, result.output
    assert "erasure request" not in result.output
    document["statement"]["deleted"][0]["count"] = 9
    changed.write_text(json.dumps(document), encoding="utf-8")
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
    assert "valid: the statement of a certificate" in done.stdout


def test_with_pseudonyms_the_ledger_does_not_learn_the_name(pseudonymous: Services) -> None:
    number = closed(pseudonymous)
    seal_all(pseudonymous)
    record, certificate = record_of(pseudonymous, number), certificate_of(pseudonymous, number)
    for document in (record, certificate):
        assert ALICE not in json.dumps(document["proof"])
        assert document["proof"]["entry"]["user_id"] == record["statement"]["request"]["subject"]
        assert document["proof"]["entry"]["user_id"].startswith("hmac-sha256:")
    assert record["statement"]["request"]["user_id"] == certificate["statement"]["request"]["user_ids"][0] == ALICE
    verify_record(record, pseudonymous.verifier_key)
    verify_certificate(certificate, pseudonymous.verifier_key)


def test_a_statement_has_one_text_however_the_document_is_written(
    record: dict[str, Any], certificate: dict[str, Any]
) -> None:
    for document, name in ((record, "statement_sha256"), (certificate, "certificate_sha256")):
        text = canonical_json(document["statement"])
        for spaced in (
            json.dumps(document["statement"], indent=4),
            json.dumps(document["statement"], sort_keys=True),
        ):
            assert canonical_json(json.loads(spaced)) == text
        assert json.loads(document["proof"]["entry"]["metadata"])[name] == statement_hash(text)
