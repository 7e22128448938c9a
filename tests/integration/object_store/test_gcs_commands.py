"""The commands reach a bucket of Google Cloud Storage by settings alone, by the names that the agent server has too."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.object_store.gcs_trials import NEEDED
from tests.integration.object_store.gcs_stores import gcs, rules
from tests.support.command import Command, environment

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings
    from tests.support.gcs_rules import GcsRules
    from tests.support.gcs_server import GcsServer

__all__ = ["gcs", "rules"]  # fixtures

PROJECT: Final = Path(__file__).parents[3]


@pytest.fixture
def command(
    gcs: GcsServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    command = Command(monkeypatch, capsys, tmp_path)
    command.set(
        AUDIT_COLD_STORAGE_PROVIDER="gcs",
        GCP_GCS_AUDIT_BUCKET="company-audit-archives",
        GCP_PROJECT_ID="my-project",
        GCP_GCS_LOCATION="europe-west3",
        AUDIT_COLD_STORAGE_LOCK="compliance",
        AUDIT_COLD_STORAGE_ENDPOINT_URL=gcs.url,
        AUDIT_COLD_STORAGE_TIMEOUT_SECONDS="1",
    )
    return command


def test_a_store_is_made_bound_shown_and_tried(command: Command, settings: Settings, rules: GcsRules) -> None:
    for name, value in environment(settings).items():
        if not name.startswith("AUDIT_COLD_STORAGE"):
            command.set(**{name: value})

    missing = command("store", "check")
    made = command("store", "init")
    shown = command("store", "show")
    checked = command("store", "check", "--json")

    assert missing.status == 1
    assert "company-audit-archives" in missing.out + missing.err
    assert made.status == shown.status == 0
    assert made.out.startswith("gs://company-audit-archives: ")
    assert rules.bucket("company-audit-archives").settings["location"] == "europe-west3"
    assert checked.status == 0, checked.out
    assert "what is locked cannot be deleted" in json.dumps(json.loads(checked.out))


def test_what_is_broken_is_told_with_its_remedy(command: Command, rules: GcsRules) -> None:
    rules.make_bucket({"name": "company-audit-archives"}, {})

    checked = command("store", "check")

    assert checked.status == 1
    assert "the bucket has no object retention" in checked.out
    assert "turn object retention on" in checked.out


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="Google's command line is not installed")
def test_the_documents_commands_make_a_bucket_that_keeps_everything(
    command: Command, gcs: GcsServer, rules: GcsRules, tmp_path: Path
) -> None:
    """Google's command line takes them, and the service of the tests makes what it is asked for."""
    text = (PROJECT / "docs" / "cold-storage.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- gcloud -->\n```console\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines()]
    assert len(lines) == 2
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{gcs.url}/storage/v1/",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
    }
    for line in lines:
        done = subprocess.run(
            shlex.split(line), cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stderr

    bucket = rules.bucket("company-audit-archives")
    bucket.rights = set(NEEDED)
    checked = command("store", "check", "--json")

    assert bucket.settings["lifecycle"]["rule"][0]["action"]["type"] == "SetStorageClass"
    assert checked.status == 0, checked.out
    assert not any(check["is_risk"] for check in json.loads(checked.out)["checks"]), checked.out
