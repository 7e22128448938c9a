"""Groups of commands.

Here: how a group lists its commands. Not here: which groups there are.
"""

from __future__ import annotations

import sys
from typing import Final

import click

# click cuts what is longer than a line; the list breaks lines by itself.
_WHOLE: Final = sys.maxsize


class Group(click.Group):
    """A group whose help says the whole first sentence of each command, over as many lines as that takes."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        shown = [
            (name, each.get_short_help_str(_WHOLE)) for name, each in found if each is not None and not each.hidden
        ]
        if shown:
            with formatter.section("Commands"):
                formatter.write_dl(shown)
