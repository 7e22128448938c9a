"""What `--help` says is said whole."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from compliance_pipelines.cli import compliance
from tests.unit.cli.tree import EVERY


@pytest.mark.parametrize("columns", [50, 80, 200])
@pytest.mark.parametrize("path", EVERY, ids=lambda path: " ".join(path) or "compliance")
def test_no_summary_is_cut(path: tuple[str, ...], columns: int) -> None:
    shown = CliRunner().invoke(compliance, [*path, "--help"], terminal_width=columns)
    assert shown.exit_code == 0
    words = [word for line in shown.output.splitlines() for word in line.split()[-1:]]
    # `DAY...` says that there may be more of them.
    assert [word for word in words if word.endswith("...") and not word.strip("[].").isupper()] == []


def test_a_list_of_commands_has_the_first_sentence_of_each() -> None:
    shown = " ".join(CliRunner().invoke(compliance, ["erase", "--help"], terminal_width=80).output.split())
    assert "certificate Write the certificate of a closed request: the letter that the person gets." in shown
    assert "withdraw End a request because the person does not want it any more." in shown
    assert "What was deleted before stays deleted" not in shown
