"""What makes the bucket: each description is one that its tool takes, and all of them give the same rights."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from compliance_pipelines.archive import layout
from compliance_pipelines.cli.settings_reference import environment_names
from compliance_pipelines.encryption.wrapped_key import RECORDS
from compliance_pipelines.ledger import tiles
from compliance_pipelines.object_store.gcs_trials import NEEDED
from compliance_pipelines.object_store.promises import PROBES
from compliance_pipelines.settings import Settings

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
TEMPLATE: Final = DEPLOY / "cloudformation" / "cold-store.yaml"
TERRAFORM: Final = DEPLOY / "terraform" / "s3"
TERRAFORM_GCS: Final = DEPLOY / "terraform" / "gcs"
DOCUMENT: Final = DEPLOY.parent / "docs" / "cold-storage.md"


class _Loader(yaml.SafeLoader):
    """Takes CloudFormation's own tags for what stands behind them."""


def _untagged(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _untagged)


def _lint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sysconfig.get_path("scripts")) / "cfn-lint"), str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_cloudformation_takes_the_template(tmp_path: Path) -> None:
    linted = _lint(TEMPLATE)
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")
    broken = tmp_path / "broken.yaml"
    broken.write_text(TEMPLATE.read_text(encoding="utf-8").replace("Status: Enabled", "Status: On", 1))
    assert "is not one of ['Enabled', 'Suspended']" in _lint(broken).stdout


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_terraform_takes_the_files() -> None:
    checked = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", str(DEPLOY)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert checked.returncode == 0, checked.stdout


def _rights_of_template(resource: str) -> set[str]:
    template: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one
    rights: set[str] = set()
    for statement in template["Resources"][resource]["Properties"]["PolicyDocument"]["Statement"]:
        actions = statement["Action"]
        rights |= {actions} if isinstance(actions, str) else set(actions)
    return rights


def _rights_of_terraform(document: str) -> set[str]:
    text = (TERRAFORM / "main.tf").read_text(encoding="utf-8")
    (block,) = re.findall(rf'^data "aws_iam_policy_document" "{document}" {{(.*?)^}}', text, re.MULTILINE | re.DOTALL)
    lists = re.findall(r"actions\s*=\s*\[(.*?)\]", block, re.DOTALL)
    return {right for each in lists for right in re.findall(r'"([^"]+)"', each)}


@pytest.mark.parametrize("role", ["archiver", "auditor", "expirer"])
def test_both_give_a_role_the_same_rights(role: str) -> None:
    rights = _rights_of_terraform(role)

    assert rights == _rights_of_template(f"{role.title()}Policy")
    assert not any("Bypass" in right or "*" in right or "DeleteBucket" in right for right in rights)


def test_an_archive_is_deleted_by_the_right_of_the_expirer_alone() -> None:
    replaced = {tiles.PREFIX, RECORDS, PROBES}
    template: dict[str, Any] = yaml.load(TEMPLATE.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe one

    def deletable(role: str) -> set[str]:
        found: set[str] = set()
        for statement in template["Resources"][f"{role}Policy"]["Properties"]["PolicyDocument"]["Statement"]:
            resources = statement["Resource"]
            if "s3:DeleteObjectVersion" in statement["Action"]:
                found |= {resources} if isinstance(resources, str) else set(resources)
        return {resource.removeprefix("${Bucket.Arn}/${Prefix}").removesuffix("*") for resource in found}

    assert (deletable("Archiver"), deletable("Expirer")) == (replaced, {layout.PREFIX})
    assert _rights_of_terraform("expirer") == {"s3:DeleteObjectVersion"}
    terraform = (TERRAFORM / "main.tf").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^  replaced = \[(.*?)\]", terraform, re.MULTILINE)
    assert set(re.findall(r"\$\{local\.below\}([^\"]+)\*", listed)) == replaced


def test_the_document_names_the_rights_that_the_pipelines_get() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (named,) = re.findall(r"\*\*Rights\*\* of the pipelines' role(.*?)Not:", text, re.DOTALL)

    assert set(re.findall(r"`(s3:[A-Za-z]+)`", named)) == {
        right for right in _rights_of_terraform("archiver") if right.startswith("s3:")
    }


def test_nobody_passes_a_lock_and_no_default_retention_locks_what_must_be_replaced() -> None:
    terraform = (TERRAFORM / "main.tf").read_text(encoding="utf-8")
    template = TEMPLATE.read_text(encoding="utf-8")

    assert _rights_of_terraform("bucket") == {"s3:*", "s3:BypassGovernanceRetention"}
    assert _rights_of_template("BucketPolicy") == {"s3:*", "s3:BypassGovernanceRetention"}
    assert "DefaultRetention" not in template
    assert "default_retention" not in terraform


class TestGcs:
    @pytest.fixture(scope="class")
    def main(self) -> str:
        return (TERRAFORM_GCS / "main.tf").read_text(encoding="utf-8")

    def rights(self, main: str, role: str) -> set[str]:
        pattern = rf'^resource "google_project_iam_custom_role" "{role}" {{(.*?)^}}'
        (block,) = re.findall(pattern, main, re.MULTILINE | re.DOTALL)
        (permissions,) = re.findall(r"permissions = \[(.*?)\]", block, re.DOTALL)
        return set(re.findall(r'"([^"]+)"', permissions))

    def test_the_pipelines_get_what_they_need_and_no_more(self, main: str) -> None:
        assert self.rights(main, "archiver") == set(NEEDED)

    def test_auditors_change_nothing_and_an_expirer_puts_nothing(self, main: str) -> None:
        looks = {"storage.objects.get", "storage.objects.list"}

        assert self.rights(main, "auditor") == {*looks, "storage.buckets.get"}
        assert self.rights(main, "expirer") == {*looks, "storage.objects.delete"}

    def test_each_role_is_given_on_the_bucket_alone(self, main: str) -> None:
        assert set(re.findall(r"google_\w+_iam_(?:member|binding|policy)", main)) == {
            "google_kms_crypto_key_iam_member",
            "google_storage_bucket_iam_member",
        }

    def test_nothing_of_the_bucket_locks_what_must_be_replaced(self, main: str) -> None:
        settings = "\n".join(line for line in main.splitlines() if not line.lstrip().startswith("#"))

        assert "retention_policy" not in settings
        assert "event_based_hold" not in settings
        assert "Delete" not in settings
        assert re.search(r"enable_object_retention\s*= true", settings)
        assert re.search(r'public_access_prevention\s*= "enforced"', settings)
        assert re.search(r"uniform_bucket_level_access\s*= true", settings)

    def test_the_document_names_the_rights_of_the_roles(self, main: str) -> None:
        text = DOCUMENT.read_text(encoding="utf-8")
        (named,) = re.findall(r"\*\*Rights\*\* on a GCS bucket(.*?)Not:", text, re.DOTALL)

        assert set(re.findall(r"`(storage\.[A-Za-z.]+)`", named)) == self.rights(main, "archiver")

    def test_its_settings_are_ones_that_there_are(self) -> None:
        output = (TERRAFORM_GCS / "outputs.tf").read_text(encoding="utf-8")
        (block,) = re.findall(r"value = \{(.*?)\}", output, re.DOTALL)
        names = {name for key, field in Settings.model_fields.items() for name in environment_names(key, field)}

        assert set(re.findall(r"^\s+([A-Z_]+)\s+=", block, re.MULTILINE)) <= names
