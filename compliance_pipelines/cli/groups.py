"""Groups of commands.

Here: how a group lists its commands, and how it finds one. Not here: which there are (contents.py).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from compliance_pipelines.cli.replicas import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE: Final = "compliance_pipelines.cli"


class Listed(NamedTuple):
    """A command as a group lists it, without importing it.

    Attributes:
        module: that has it, in this package.
        summary: the first sentence of its help.
    """

    module: str
    summary: str


class ListedGroup(NamedTuple):
    """A group as the group above lists it.

    Attributes:
        summary: its help.
        commands: its commands by their names.
    """

    summary: str
    commands: Mapping[str, Listed]


class Group(click.Group):
    """A group that imports a command's module when the command is looked up, and lists all without importing any.

    Its help says the whole first sentence of each command, over as many lines as that takes.

    Args:
        contents: the commands and groups by their names.
        path: what is typed before the name of a command, without the program's.
        name: as click takes it.
        help: likewise.
    """

    def __init__(
        self,
        contents: Mapping[str, Listed | ListedGroup],
        *,
        path: str = "",
        name: str | None = None,
        help: str | None = None,  # noqa: A002 - click's name
        **options: Any,  # noqa: ANN401 - click's
    ) -> None:
        super().__init__(name, help=help, **options)
        self._contents = contents
        self._path = path

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names of all commands, sorted."""
        return sorted(self._contents)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of that name, or None."""
        if cmd_name not in self.commands and cmd_name in self._contents:
            self.add_command(self._made(cmd_name, self._contents[cmd_name]), cmd_name)
        return self.commands.get(cmd_name)

    def _made(self, name: str, listed: Listed | ListedGroup) -> click.Command:
        path = f"{self._path} {name}".strip()
        if isinstance(listed, ListedGroup):
            return Group(listed.commands, path=path, name=name, help=listed.summary)
        commands: list[click.Command] = import_module(f"{_PACKAGE}.{listed.module}").COMMANDS
        return guarded(next(command for command in commands if command.name == name), path)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._contents[name].summary) for name in self.list_commands(ctx)])
