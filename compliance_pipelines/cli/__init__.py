"""The `compliance` command.

Here: the group. Not here: any command, which is in the module of its subject, how errors are told (failures.py), and
any decision, which is the domain's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

import click

from compliance_pipelines.base.interruption import doing, stopping_on_signals
from compliance_pipelines.cli.failures import asks_for_json, failures_told
from compliance_pipelines.cli.groups import Group

# The module that has each command: imported only when it is used, so that small commands start fast.
_MODULES: Final = {
    "archive": "archive",
    "check": "checking",
    "conversations": "conversations",
    "db": "database",
    "drop-restored": "archive",
    "erase": "erasure",
    "hold": "holds",
    "import": "importing",
    "ledger": "ledger",
    "prove": "ledger",
    "purge": "archive",
    "restore": "archive",
    "run": "running",
    "seal": "ledger",
    "sessions": "sessions",
    "settings": "settings",
    "status": "archive",
    "store": "store",
    "verify": "verification",
    "verify-proof": "ledger",
}


class LazyGroup(Group):
    """A group that imports a command's module when the command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all commands, sorted."""
        return sorted(_MODULES)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, whose name is what a signal stopped unless the command says more."""
        name, command, rest = super().resolve_command(ctx, args)
        ctx.with_resource(doing(f"running `compliance {name}`"))
        return name, command, rest

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, or None."""
        module_name = _MODULES.get(cmd_name)
        if module_name is None:
            return None
        module = import_module(f"compliance_pipelines.cli.{module_name}")
        replicas = import_module("compliance_pipelines.cli.replicas")
        commands: list[click.Command] = module.COMMANDS
        command = next(command for command in commands if command.name == cmd_name)
        guarded: click.Command = replicas.guarded(command, cmd_name)
        return guarded


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="compliance-pipelines")
def compliance() -> None:
    """Compliance storage: audit log, ledger, archives, verification.

    Exit status: 0 done, 1 a failure or a finding, 2 wrong usage; 143 stopped by SIGTERM, 130 by Ctrl-C, 129 by SIGHUP.
    """


def main() -> None:
    """Run the command line and exit; errors are told in one place (failures.py)."""
    further: dict[str, Any] = {}
    with failures_told(as_json=asks_for_json(sys.argv[1:]), further=further), stopping_on_signals():
        sys.exit(compliance.main(standalone_mode=False, obj=further))
