"""What is meant for copying can be copied, however narrow the terminal is."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from compliance_pipelines.archive.catalogue import Totals
from compliance_pipelines.archive.figures import Figures
from compliance_pipelines.cli.summary import show_for_copying, show_summary
from compliance_pipelines.demo.summary import show_where_to_go

ROOT = bytes(range(32))
WIDTHS = [10, 20, 40, 72, 80, 200]


def shown_on(width: int) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=width, force_terminal=False), written


@pytest.mark.parametrize("width", WIDTHS)
def test_the_root_of_the_ledger_is_whole(width: int) -> None:
    console, written = shown_on(width)
    totals = Totals(**dict.fromkeys(Totals.__dataclass_fields__, 0))
    show_summary(console, None, Figures({}, totals, 3, ROOT, datetime(2026, 1, 1, tzinfo=UTC), {}, None))
    assert f"ledger root {ROOT.hex()}" in written.getvalue().splitlines()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("value", [ROOT.hex(), "an id with [red]spaces[/] in it", "a" * 300])
def test_every_value_is_whole_and_as_it_is(width: int, value: str) -> None:
    console, written = shown_on(width)
    show_for_copying(console, "id", value)
    assert written.getvalue() == f"id {value}\n"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_command_that_proves_an_entry_can_be_copied(width: int) -> None:
    console, written = shown_on(width)
    show_where_to_go(console, Path(".local"), "s3://bucket", Path(".local/keyring"), "an 'entry' [bold]of[/] mine")
    command = """  compliance prove 'an '"'"'entry'"'"' [bold]of[/] mine' -o proof.json """
    assert [line for line in written.getvalue().splitlines() if line.startswith(command)]
    assert any(line.endswith(" .local/keyring") for line in written.getvalue().splitlines())
    show_where_to_go(console, Path(".local"), "s3://bucket", None, None)
    assert "  compliance prove LOG_ENTRY_ID -o proof.json " in written.getvalue()
