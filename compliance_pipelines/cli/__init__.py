"""The `compliance` command.

Here: the group, and how errors become exit codes. Not here: any command, which is in the module of its subject, and
any decision, which is the domain's.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import click
import sqlalchemy.exc

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import doing, stopping_on_signals
from compliance_pipelines.base.printable import printable

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
_READ_ONLY: Final = "25006"  # read_only_sql_transaction


class LazyGroup(click.Group):
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
    """Run the command line: a domain error is one line on stderr and exit status 1, a signal one line and its own."""
    try:
        with stopping_on_signals():
            compliance.main(standalone_mode=True)
    except ComplianceError as error:
        click.echo(f"compliance: {printable(str(error))}", err=True)
        sys.exit(1)
    except sqlalchemy.exc.OperationalError as error:
        reason = " ".join(str(error.orig).split())
        click.echo(f"compliance: the database of AUDIT_LOG_DATABASE_URL did not answer: {reason}", err=True)
        sys.exit(1)
    except sqlalchemy.exc.DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        if getattr(error.orig, "sqlstate", None) == _READ_ONLY:
            reason += "; it is read-only, as a replica is: connect to the primary"
        click.echo(f"compliance: the database refused: {reason}; `compliance db check` says what is missing", err=True)
        sys.exit(1)
