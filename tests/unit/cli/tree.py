"""All commands of `compliance`, by walking from the group down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from compliance_pipelines.cli import compliance

if TYPE_CHECKING:
    from collections.abc import Iterator


def _below(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _below(found, (*path, name))


EVERY: Final[dict[tuple[str, ...], click.Command]] = dict(_below(compliance, ()))
"""Groups and commands by the words that name them; the group itself has none."""

PRINTS_JSON: Final = {
    path: command for path, command in EVERY.items() if any("--json" in each.opts for each in command.params)
}
"""Those of them that take `--json`."""


def least(command: click.Command) -> list[str]:
    """Arguments that a command is content with, as far as click looks at them."""
    given: list[str] = []
    for parameter in command.params:
        if parameter.required:
            given += [*parameter.opts[:1], "1"] if isinstance(parameter, click.Option) else ["1"]
    return given
