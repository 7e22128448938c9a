"""`compliance settings`: what can be configured."""

from __future__ import annotations

from typing import Final

import click

from compliance_pipelines.cli.needs import needs
from compliance_pipelines.cli.settings_reference import markdown_table


@click.command("settings")
@needs()
def settings() -> None:
    """Print every setting: environment names, type, default, meaning."""
    click.echo(markdown_table(), nl=False)


COMMANDS: Final[list[click.Command]] = [settings]
