from __future__ import annotations

import json
import os
import stat
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.cli import compliance
from compliance_pipelines.ledger.checkpoint import SigningKey
from tests.integration.archive.days import entry
from tests.integration.ledger.moves import move_to_another_cluster, seal_without_publishing
from tests.support.sealing import settle
from tests.unit.ledger import stranger

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.services import Services
    from tests.integration.archive.days import Days
    from tests.integration.ledger.inspector import Inspector


class Command:
    """The `compliance` command, with the settings of the test in the environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._runner = CliRunner()

    def __call__(self, *arguments: object, code: int | None = 0, **environment: str | None) -> str:
        """Run it; its output. A domain error is raised, as `main` gets it."""
        result: Result = self._runner.invoke(
            compliance, [str(argument) for argument in arguments], env={**self._environment, **environment}
        )
        if isinstance(result.exception, ComplianceError):
            raise result.exception
        assert code in {None, result.exit_code}, result.output
        return result.output


@pytest.fixture
def command(services: Services, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    settings = services.settings
    assert settings.ledger_signing_key is not None
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in list(os.environ):
        if name.startswith(("AUDIT_", "LEDGER_", "COMPLIANCE_")):
            monkeypatch.delenv(name)
    return Command(
        {
            "AUDIT_LOG_DATABASE_URL": settings.require_database_url(),
            "AUDIT_LOG_MIGRATION_DATABASE_URL": database_url,
            "AUDIT_COLD_STORAGE_PROVIDER": "local",
            "AUDIT_COLD_STORAGE_PATH": str(settings.audit_cold_storage_path),
            "LEDGER_SIGNING_KEY": settings.ledger_signing_key.get_secret_value(),
        }
    )


def test_seal_seals_everything_pass_by_pass(command: Command, days: Days, inspector: Inspector, day: date) -> None:
    entries = []
    for _ in range(2):
        entries += days.append(day, 3, sealed=False)
    entries += days.append(day, 2, sealed=False)

    settle(days.services)
    lines = command("seal", LEDGER_SEAL_MAX_ENTRIES="5").splitlines()

    assert [line.split(";")[0] for line in lines] == ["3 entries in 1 segments", "5 entries in 1 segments"]
    assert command("seal") == "nothing to seal\n"
    inspector.assert_each_is_sealed_once(each.log_entry_id for each in entries)


def test_seal_says_what_stops_it(command: Command, days: Days, day: date) -> None:
    days.append(day, 1)
    move_to_another_cluster(days)
    with pytest.raises(ComplianceError, match="run `compliance ledger adopt-cluster`"):
        command("seal")


def test_a_proof_is_made_and_verified(
    command: Command, services: Services, days: Days, tmp_path: Path, day: date
) -> None:
    entries = days.append(day, 3)
    proof = tmp_path / "proof.json"
    public_key = command("ledger", "key").strip()

    made = command("prove", entries[1].log_entry_id, "-o", proof)
    verified = command("verify-proof", proof, "--public-key", public_key)

    assert made == f"{proof}: entry {entries[1].log_entry_id}, segment 0\n"
    assert verified.startswith(f"valid: entry '{entries[1].log_entry_id}' of ")
    stranger.verify_proof(json.loads(proof.read_bytes()), stranger.read_public_key(public_key))
    assert days.execute("SELECT resource_id FROM audit_logs WHERE action = 'audit.prove'") == [
        (entries[1].log_entry_id,)
    ]


def test_only_sealing_needs_the_signing_key(
    command: Command, services: Services, days: Days, tmp_path: Path, day: date
) -> None:
    (proved,) = days.append(day, 1)
    days.append(day, 1, sealed=False)
    proof, public_key = tmp_path / "proof.json", services.verifier_key.to_note_string()
    with_public_key = partial(command, LEDGER_SIGNING_KEY=None, LEDGER_PUBLIC_KEY=public_key)

    assert command("ledger", "checkpoint", LEDGER_SIGNING_KEY=None).startswith("tests.example/audit\n1\n")
    with_public_key("prove", proved.log_entry_id, "-o", proof)
    assert with_public_key("verify-proof", proof, "--public-key", public_key).startswith("valid: ")
    with pytest.raises(ComplianceError, match="no signing key: set LEDGER_SIGNING_KEY_FILE"):
        with_public_key("seal")
    with pytest.raises(ComplianceError, match="no signing key: set LEDGER_SIGNING_KEY_FILE"):
        with_public_key("ledger", "key")


def test_the_public_key_may_be_in_a_file(command: Command, days: Days, tmp_path: Path, day: date) -> None:
    (proved,) = days.append(day, 1)
    proof, key = tmp_path / "proof.json", tmp_path / "key+of the ledger"
    key.write_text(command("ledger", "key"), encoding="utf-8")
    command("prove", proved.log_entry_id, "--output", proof)

    assert command("verify-proof", proof, "--public-key", key).startswith("valid: ")
    with pytest.raises(ComplianceError, match="cannot be read from"):
        command("verify-proof", proof, "--public-key", tmp_path / "missing")
    with pytest.raises(ComplianceError, match="verifier key"):
        command("verify-proof", proof, "--public-key", "name+hash+key")
    another = SigningKey.generate("tests.example/audit").verifier_key().to_note_string()
    with pytest.raises(ComplianceError, match="not signed by"):
        command("verify-proof", proof, "--public-key", another)


def test_the_record_is_proved_in_the_format_of_others(
    command: Command, days: Days, inspector: Inspector, tmp_path: Path, day: date
) -> None:
    (proved,) = days.append(day, 1)
    days.append(day, 2)
    proof = tmp_path / "record.tlog-proof"
    command("prove", proved.log_entry_id, "-o", proof, "--format", "tlog-proof")
    record = stranger.verify_tlog_proof(proof.read_text(encoding="utf-8"), inspector.public_key)
    assert stranger.read_record(record) == inspector.segments()[0]


def test_the_day_chooses_between_entries_of_one_id(command: Command, days: Days, tmp_path: Path, day: date) -> None:
    other = day + timedelta(days=5)
    for each in (day, other):
        days.append_entries(each, [entry(each, 1, log_entry_id="twice")])
    with pytest.raises(ComplianceError, match="give the day with --day"):
        command("prove", "twice", "-o", tmp_path / "proof.json")
    assert not (tmp_path / "proof.json").exists()

    command("prove", "twice", "-o", tmp_path / "proof.json", "--day", other)

    assert json.loads((tmp_path / "proof.json").read_bytes())["segment"]["day"] == str(other)


def test_a_proof_that_cannot_be_written_is_an_error(command: Command, days: Days, tmp_path: Path, day: date) -> None:
    (proved,) = days.append(day, 1)
    with pytest.raises(ComplianceError, match=r"the proof cannot be written to .*: No such file or directory"):
        command("prove", proved.log_entry_id, "-o", tmp_path / "missing" / "proof.json")


def test_another_key_follows(command: Command, days: Days, tmp_path: Path, day: date) -> None:
    (proved,) = days.append(day, 1)
    new, proof = tmp_path / "new.key", tmp_path / "proof.json"
    old_key = command("ledger", "key").strip()
    new_key = command("ledger", "new-key", new, "--name", "tests.example/audit").strip()

    said = command("ledger", "rotate-key", new)

    assert said.splitlines()[-1] == new_key
    assert "record 1 is on record: checkpoints of more than 1 records are signed by tests.example/audit+" in said
    assert "GDPR_PSEUDONYM_KEY is not set" in said
    assert "record 1 was on record already" in command("ledger", "rotate-key", new, GDPR_PSEUDONYM_KEY="x" * 32)
    settle(days.services)
    with pytest.raises(ComplianceError, match=r"the ledger is signed by .* since record 1, and the settings have"):
        command("seal")
    assert "1 entries in 1 segments" in command("seal", LEDGER_SECOND_SIGNING_KEY_FILE=str(new))
    changed = partial(command, LEDGER_SIGNING_KEY=None, LEDGER_SIGNING_KEY_FILE=str(new))
    changed("prove", proved.log_entry_id, "-o", proof)
    for key in (old_key, new_key):
        assert command("verify-proof", proof, "--public-key", key).startswith("valid: ")
        assert "nothing is wrong: " in command("verify", "--all", "--public-key", key)
    assert "ok    cold store: signing: the settings have the key in charge" in changed("check", code=None)
    assert "FAIL  cold store: signing: the ledger is signed by" in command("check", code=None)


def test_a_login_that_only_reads_changes_no_key(command: Command, reader_database_url: str, tmp_path: Path) -> None:
    new = tmp_path / "new.key"
    command("ledger", "new-key", new, "--name", "tests.example/audit")
    with pytest.raises(ComplianceError, match="`compliance ledger rotate-key` changes data"):
        command("ledger", "rotate-key", new, AUDIT_LOG_DATABASE_URL=reader_database_url)


def test_a_new_key_is_made_once_for_its_owner_alone(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "ledger.key"
    public_key = command("ledger", "new-key", path, "--name", "example.org/audit")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_key.startswith("example.org/audit+")
    assert command("ledger", "key", LEDGER_SIGNING_KEY=None, LEDGER_SIGNING_KEY_FILE=str(path)) == public_key
    with pytest.raises(ComplianceError, match="cannot be written to"):
        command("ledger", "new-key", path)
    assert command("ledger", "key", LEDGER_SIGNING_KEY=None, LEDGER_SIGNING_KEY_FILE=str(path)) == public_key


def test_the_last_checkpoint_in_the_cold_store_is_printed_as_it_was_signed(
    command: Command, inspector: Inspector, days: Days, day: date
) -> None:
    with pytest.raises(ComplianceError, match="there is no checkpoint yet"):
        command("ledger", "checkpoint")
    days.append(day, 1)
    days.append(day, 1)
    days.append(day, 1, sealed=False)
    seal_without_publishing(days.services)

    size, root = stranger.open_checkpoint(command("ledger", "checkpoint"), inspector.public_key)

    leaves = [stranger.leaf_hash(stranger.record_bytes(record)) for record in inspector.cold_records()]
    assert (size, root) == (2, stranger.tree_root(leaves))


def test_another_cluster_is_adopted_when_it_is_confirmed(
    command: Command, inspector: Inspector, days: Days, day: date
) -> None:
    entries = days.append(day, 1)
    move_to_another_cluster(days)
    assert "Aborted" in command("ledger", "adopt-cluster", code=1)
    assert command("ledger", "adopt-cluster", "--yes").startswith("adopted: transaction ids are raised by ")
    entries += days.append(day, 1, sealed=False)
    settle(days.services)
    command("seal")

    inspector.assert_each_is_sealed_once(each.log_entry_id for each in entries)
    with pytest.raises(ComplianceError, match="nothing to do"):
        command("ledger", "adopt-cluster", "--yes")


def test_the_adoption_names_entries_that_no_segment_will_hold(command: Command, days: Days, day: date) -> None:
    days.append(day, 1)
    move_to_another_cluster(days)
    (lost,) = days.append(day, 1, sealed=False)
    days.execute("UPDATE audit_logs SET tx_id = 1 WHERE log_entry_id = :id", id=lost.log_entry_id)
    with pytest.raises(ComplianceError, match=f"are in no segment: {lost.log_entry_id}; append them again"):
        command("ledger", "adopt-cluster", "--yes")
