"""The commands reach a bucket of Google Cloud Storage by settings alone, by the names that the agent server has, too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.object_store.gcs_stores import gcs, rules
from tests.support.command import Command, environment

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.settings import Settings
    from tests.support.gcs_rules import GcsRules
    from tests.support.gcs_server import GcsServer

__all__ = ["gcs", "rules"]  # fixtures


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
