"""`compliance erase` from the request to the certificate, as a person uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.cli import compliance
from compliance_pipelines.erasure.errors import TargetError
from tests.integration.erasure.application import EVERYTHING, Application
from tests.integration.erasure.command import Command
from tests.support.sealing import seal_all

if TYPE_CHECKING:
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings

ALICE = "user:alice"
_CHECKOUT = Path(__file__).parents[3]


class Erase(Command):
    """`compliance erase ARGUMENTS`."""

    def __call__(self, *arguments: str) -> Result:
        return super().__call__("erase", *arguments)

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON of any kind
        """What it prints with --json."""
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.output)


@pytest.fixture
def erase(services: Services, settings: Settings) -> Erase:
    return Erase(settings)


@pytest.fixture
def erase_pseudonymous(pseudonymous: Services) -> Erase:
    return Erase(pseudonymous.settings)


def test_a_request_is_recorded_listed_shown_run_and_certified(
    erase: Erase, services: Services, application: Application, tmp_path: Path
) -> None:
    application.meet(ALICE)
    result = erase("request", ALICE, "--requested-by", "support", "--received", "2026-11-01")
    assert result.exit_code == 0, result.output
    assert result.output == "erasure request 1 is recorded; its deadline is 2026-12-01\n"
    assert "is open for this person already" in erase("request", ALICE, "--requested-by", "support").output
    (listed,) = erase.json("list", "--open")
    assert (listed["state"], listed["reason"], listed["attempts"]) == ("open", "gdpr_article_17_user_request", 0)
    assert application.has_anything_of(ALICE)

    result = erase("run")
    assert result.exit_code == 0, result.output
    assert result.output == f"1: closed, {ALICE}, success, {sum(EVERYTHING.values())} items deleted\n"
    assert not application.has_anything_of(ALICE)
    assert erase("run").output == "no request is due\n"
    assert erase("list", "--open").output == "no requests\n"
    shown = erase.json("show", "1")
    assert shown["deleted"] == EVERYTHING
    assert [event["kind"] for event in shown["events"]].count("verified") == 8
    assert "2 sessions" in erase("show", "1").output

    seal_all(services)
    key = services.verifier_key.to_note_string()
    for command in ("certificate", "record"):
        for name in ("a.json", "a.html", "a.pdf"):
            result = erase(command, "1", "-o", str(tmp_path / name))
            assert result.exit_code == 0, result.output
        assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
        assert ALICE in (tmp_path / "a.html").read_text(encoding="utf-8")
        verified = CliRunner().invoke(compliance, ["verify-proof", str(tmp_path / "a.json"), "--public-key", key])
        assert verified.exit_code == 0, verified.output
        assert erase(command, "1", "-o", str(tmp_path / "a.txt")).exit_code == 2
        assert isinstance(erase(command, "1", "-o", str(tmp_path / "no" / "a.json")).exception, ComplianceError)


@pytest.fixture
def erased(erase: Erase, services: Services, application: Application) -> None:
    """Request 1 is closed and sealed."""
    application.meet(ALICE)
    erase("request", ALICE, "--requested-by", "support")
    erase("run")
    seal_all(services)


def test_the_certificate_is_written_in_the_language_and_to_the_addressee_that_are_asked_for(
    erase: Erase, erased: None, tmp_path: Path
) -> None:
    page = tmp_path / "a.html"
    addressee = ("--addressee", "Алиса", "--addressee", "1 Way")
    result = erase("certificate", "1", "-o", str(page), "--language", "de", *addressee)
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    for said in ('<html lang="de"', "Löschung", "Алиса", "1 Way", "Example Ltd", "privacy@example.org"):
        assert said in text
    erase.environment["GDPR_LANGUAGE"] = "fr"
    erase.environment["GDPR_AUTHORITY"] = "CNIL\\n3 place de Fontenoy"
    erase.environment["GDPR_DATA_WORDS"] = '{"user_preferences": {"fr": "Vos réglages"}}'
    assert erase("certificate", "1", "-o", str(page)).exit_code == 0
    text = page.read_text(encoding="utf-8")
    for said in ('<html lang="fr"', "effacement", ">CNIL<", ">3 place de Fontenoy<"):
        assert said in text
    assert erase("certificate", "1", "-o", str(page), "--language", "xx").exit_code == 2


def test_a_certificate_nobody_signs_is_refused_before_anything_is_done(
    erase: Erase, erased: None, tmp_path: Path
) -> None:
    erase.environment["GDPR_CONTROLLER"] = " "
    for name in ("a.html", "a.pdf"):
        assert "GDPR_CONTROLLER not set" in str(erase("certificate", "1", "-o", str(tmp_path / name)).exception)
        assert not (tmp_path / name).exists()
    assert erase("certificate", "1", "-o", str(tmp_path / "a.json")).exit_code == 0
    # The auditor's record is no letter.
    assert erase("record", "1", "-o", str(tmp_path / "a.pdf")).exit_code == 0


def test_a_request_that_stays_open_is_a_failure_that_says_why(
    erase: Erase, services: Services, application: Application
) -> None:
    application.meet(ALICE)
    application.execute("DROP TABLE consent_records")
    erase("request", ALICE, "--requested-by", "support")
    result = erase("run", "1")
    assert isinstance(result.exception, ComplianceError)
    assert "consent_records: TargetError: consent_records: there is no table consent_records" in str(result.exception)
    assert erase.json("list")[0]["state"] == "partial"
    assert erase("run").output == "no request is due\n"


def test_a_held_request_says_which_hold_and_why(erase: Erase, settings: Settings, application: Application) -> None:
    Command(settings)("hold", "add", "--user", ALICE, "--reason", "case 7", "--author", "counsel")
    erase("request", ALICE, "--requested-by", "support")
    result = erase("run")
    assert "hold 1 (user user:alice): case 7" in str(result.exception)
    assert erase.json("show", "1")["state"] == "held"
    assert "hold 1: case 7" in erase("show", "1").output


def test_replay_asks_and_erases_again(erase: Erase, application: Application) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    application.meet(ALICE)
    erase("request", ALICE, "--requested-by", "support")
    erase("run")
    application.log_in(ALICE)
    assert erase("replay", "--since", since).exit_code == 1
    assert application.has_anything_of(ALICE)
    result = erase("replay", "--since", since, "--yes")
    assert result.exit_code == 0, result.output
    assert "2: closed, user:alice, success, 2 items deleted" in result.output
    assert not application.has_anything_of(ALICE)
    assert "nobody was erased since then" in erase("replay", "--since", "2099-01-01", "--yes").output
    assert erase("replay", "--since", "yesterday").exit_code == 2


def test_a_pseudonym_is_looked_up_by_user_id(
    erase_pseudonymous: Erase, application: Application, tmp_path: Path
) -> None:
    erase = erase_pseudonymous
    erase("request", ALICE, "--requested-by", "support")
    erase("run")
    (record,) = erase.json("records", ALICE)
    assert record["user_id"].startswith("hmac-sha256:")
    assert ALICE not in json.dumps(record)
    assert erase.json("records", "user:bob") == []
    assert record["log_entry_id"] in erase("records", ALICE).output
    assert "no deletion record of user:bob or hmac-sha256:" in erase("records", "user:bob").output
    candidates = tmp_path / "candidates"
    candidates.write_text(f"user:bob\n{ALICE}\n", encoding="utf-8")
    assert erase("replay", "--since", "2020-01-01", "--candidates", str(candidates), "--yes").exit_code == 0


def test_the_targets_are_listed_in_their_order_without_secrets(
    erase: Erase, settings: Settings, application: Application
) -> None:
    result = erase("targets")
    names = [line.split(":")[0] for line in result.output.splitlines()]
    assert names == [
        "sessions",
        "conversations",
        "conversation_notes",
        "memories",
        *("user_preferences", "consent_records", "conversation_rows", "user_profiles"),
    ]
    assert settings.gdpr_session_redis_url is not None
    password = settings.gdpr_session_redis_url.get_secret_value().split(":")[2].split("@")[0]
    assert password
    assert password not in result.output


def _distribution(directory: Path, body: str) -> Path:
    """An installed distribution with one erasure target, as `pip install --target` leaves it."""
    metadata = directory / "crm_erasure-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: crm-erasure\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(
        "[compliance_pipelines.erasure_targets]\ncrm = crm_erasure:target\n", encoding="utf-8"
    )
    (directory / "crm_erasure.py").write_text(body, encoding="utf-8")
    return directory


_CRM = """
from pathlib import Path
from compliance_pipelines.erasure.targets import Findings, Item

class Crm:
    name = "crm"
    location = "crm.example"

    def __init__(self, directory):
        self.directory = directory

    def find(self, user_id):
        found = [path for path in self.directory.iterdir() if path.name == user_id]
        return Findings(tuple(Item("contacts", str(path)) for path in found))

    def delete(self, user_id, items):
        for item in items:
            Path(item.reference).unlink()
        return {"contacts": len(items)}

    def rescan(self, user_id):
        return self.find(user_id)

def target(settings):
    return Crm(Path(__file__).parent / "contacts")
"""


def _compliance(erase: Erase, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from compliance_pipelines.cli import main; main()", "erase", *arguments],
        env={**os.environ, **erase.environment, "PYTHONPATH": f"{directory}{os.pathsep}{_CHECKOUT}"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_a_package_brings_a_target_along_by_its_entry_point(
    erase: Erase, application: Application, tmp_path: Path
) -> None:
    directory = _distribution(tmp_path / "site", _CRM)
    (directory / "contacts").mkdir()
    for user_id in (ALICE, "user:bob"):
        (directory / "contacts" / user_id).touch()
    erase("request", ALICE, "--requested-by", "support")
    done = _compliance(erase, directory, "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"1: closed, {ALICE}, success, 1 items deleted\n"
    assert [path.name for path in (directory / "contacts").iterdir()] == ["user:bob"]
    assert erase.json("show", "1")["deleted"] == {"contacts": 1}


def test_a_package_whose_target_cannot_be_loaded_stops_every_erasure(erase: Erase, tmp_path: Path) -> None:
    directory = _distribution(tmp_path / "site", "raise RuntimeError('licence expired')")
    erase("request", ALICE, "--requested-by", "support")
    done = _compliance(erase, directory, "run")
    assert done.returncode == 1
    assert "the erasure target crm (crm_erasure:target) cannot be used: RuntimeError: licence expired" in done.stderr
    assert erase.json("list")[0]["state"] == "open"


def test_without_any_target_an_erasure_is_refused(services: Services, settings: Settings) -> None:
    bare = settings.model_copy(
        update=dict.fromkeys(
            ("gdpr_session_redis_url", "gdpr_store_redis_url", "checkpoint_redis_url", "gdpr_sql_targets")
        )
    )
    erase = Erase(bare)
    erase("request", ALICE, "--requested-by", "support")
    assert isinstance(erase("run").exception, TargetError)
    assert erase("targets").output == "no target is configured: an erasure would be refused\n"
