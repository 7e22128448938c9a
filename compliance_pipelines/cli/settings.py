"""`compliance settings`: what can be configured, and which command needs what of it.

Here: the two tables. Not here: their rows' content (settings_reference.py, needs.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.cli.needs import Need, declared_needs, needs
from compliance_pipelines.cli.settings_reference import markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command("settings")
@click.option("--commands", "of_commands", is_flag=True, help="Print instead which settings each command needs.")
@click.pass_context
@needs()
def settings(context: click.Context, *, of_commands: bool) -> None:
    """Print every setting: environment names, type, default, meaning."""
    click.echo(needs_table(context.find_root().command) if of_commands else markdown_table(), nl=False)


def needs_table(root: click.Command) -> str:
    """One row a command: which settings it needs, and whether it changes data, which an auditor's login does not."""
    rows = ["| command | needs | changes data |", "|---|---|---|"]
    for name, command in all_commands(root):
        declared = declared_needs(command)
        if declared is not None:
            listed = "; ".join(_one_of(need) for need in declared.of_settings if need.settings)
            rows.append(f"| `{name}` | {listed or 'nothing'} | {'yes' if declared.changes else ''} |")
    return "\n".join(rows) + "\n"


def all_commands(root: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command below a group that does something, by its name without the program's."""
    if not isinstance(root, click.Group):
        yield name, root
        return
    context = click.Context(root)
    for each in root.list_commands(context):
        command = root.get_command(context, each)
        if command is not None:
            yield from all_commands(command, f"{name} {each}".strip())


def _one_of(need: Need) -> str:
    return " or ".join(f"`{each}`" for each in need.settings)


COMMANDS: Final[list[click.Command]] = [settings]
