"""What is only listed or refused starts without what the commands work with, and lists what they say of themselves."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from compliance_pipelines.cli.contents import CONTENTS
from compliance_pipelines.cli.groups import ListedGroup
from tests.unit.cli.tree import EVERY

if TYPE_CHECKING:
    from pathlib import Path

FRAMEWORKS = ("dagster", "sqlalchemy", "psycopg", "psycopg2", "adbc_driver_manager", "boto3", "botocore", "redis")
HEAVY = (*FRAMEWORKS, "pyarrow", "numpy", "pydantic", "pydantic_settings", "rich")
GROUPS = [path for path, command in EVERY.items() if isinstance(command, click.Group)]

# Prints which of the modules are there when the command has come to its end, on the last line of standard error.
PROGRAM = """
import sys
try:
    from compliance_pipelines.cli import main
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def loaded(directory: Path, *arguments: str, status: int) -> set[str]:
    """The packages that a command has loaded, in a process and a place of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    assert ended.returncode == status, ended
    return set(ended.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--version",), 0),
        (("nothing",), 2),
        (("hold", "nothing"), 2),
        *(((*path, "--help"), 0) for path in GROUPS),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_only_listed_loads_nothing_that_works(tmp_path: Path, arguments: tuple[str, ...], status: int) -> None:
    found = loaded(tmp_path, *arguments, status=status)
    assert "click" in found
    assert found.isdisjoint(HEAVY), found.intersection(HEAVY)


@pytest.mark.parametrize("member", ["", '"format": "compliance-pipelines/erasure-certificate/v2"'])
def test_a_proof_is_checked_without_anything_that_connects(tmp_path: Path, member: str) -> None:
    (tmp_path / "proof.json").write_text(f"{{{member}}}")
    key = "tests.example/audit+cc82cb64+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
    found = loaded(tmp_path, "verify-proof", "proof.json", "--public-key", key, status=1)
    assert found.isdisjoint(FRAMEWORKS), found.intersection(FRAMEWORKS)


def test_the_lists_say_of_each_command_what_it_says_itself() -> None:
    listed = {
        (*above, name): each.summary
        for above, contents in [((), CONTENTS)]
        + [((name,), each.commands) for name, each in CONTENTS.items() if isinstance(each, ListedGroup)]
        for name, each in contents.items()
    }
    said = {path: command.get_short_help_str(sys.maxsize) for path, command in EVERY.items() if path}
    assert listed == said


def test_no_command_of_a_module_is_left_out() -> None:
    modules = {
        each.module
        for contents in [CONTENTS, *(each.commands for each in CONTENTS.values() if isinstance(each, ListedGroup))]
        for each in contents.values()
        if not isinstance(each, ListedGroup)
    }
    there = [command for module in modules for command in sys.modules[f"compliance_pipelines.cli.{module}"].COMMANDS]
    assert len(there) == len([command for command in EVERY.values() if not isinstance(command, click.Group)])
