"""The `compliance` command.

Here: the group. Not here: any command, which is in the module of its subject (contents.py lists them), how errors are
told (failures.py), and any decision, which is the domain's. A command's module is imported when it is used, so that
small commands and help start fast.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from compliance_pipelines.base.interruption import doing, stopping_on_signals
from compliance_pipelines.cli.contents import CONTENTS
from compliance_pipelines.cli.failures import asks_for_json, failures_told
from compliance_pipelines.cli.groups import Group


class _Root(Group):
    """The whole program."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, whose name is what a signal stopped unless the command says more."""
        name, command, rest = super().resolve_command(ctx, args)
        ctx.with_resource(doing(f"running `compliance {name}`"))
        return name, command, rest


_HELP: Final = """Compliance storage: audit log, ledger, archives, verification.

Exit status: 0 done, 1 a failure or a finding, 2 wrong usage; 143 stopped by SIGTERM, 130 by Ctrl-C, 129 by SIGHUP.
"""
compliance: Final = click.version_option(package_name="compliance-pipelines")(
    _Root(CONTENTS, name="compliance", help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
)


def main() -> None:
    """Run the command line and exit; errors are told in one place (failures.py)."""
    further: dict[str, Any] = {}
    with failures_told(as_json=asks_for_json(sys.argv[1:]), further=further), stopping_on_signals():
        sys.exit(compliance.main(standalone_mode=False, obj=further))
