"""docs/erasure.md shows settings and commands that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import click

from compliance_pipelines.cli import compliance
from compliance_pipelines.cli.settings_reference import environment_names
from compliance_pipelines.erasure.table_rules import rules_from_json
from compliance_pipelines.erasure.targets import ENTRY_POINT_GROUP
from compliance_pipelines.settings import Settings

DOCUMENT: Final = (Path(__file__).parents[3] / "docs" / "erasure.md").read_text(encoding="utf-8")


def test_the_example_of_tables_can_be_used_as_it_is() -> None:
    example = next(block for block in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL) if block.startswith("["))
    assert [rule.table for rule in rules_from_json(example)] == [
        "user_preferences",
        "consent_records",
        "conversations",
        "user_profiles",
    ]
    assert json.loads(example)[-1]["user_column"] == "user_id"


def test_every_command_that_it_names_exists() -> None:
    context = click.Context(compliance)
    for name in ("erase", "hold"):
        group = compliance.get_command(context, name)
        assert isinstance(group, click.Group)
        known = set(group.list_commands(context))
        named = set(re.findall(rf"compliance {name} ([a-z]+)", DOCUMENT))
        assert named <= known
        assert named >= known - {"list", "show"}


def test_every_setting_that_it_names_exists() -> None:
    known = {name for key, field in Settings.model_fields.items() for name in environment_names(key, field)}
    assert set(re.findall(r"`((?:GDPR|CHECKPOINT|CONVERSATION)_[A-Z_]+)", DOCUMENT)) <= known


def test_it_names_the_entry_point_group() -> None:
    assert f'[project.entry-points."{ENTRY_POINT_GROUP}"]' in DOCUMENT
