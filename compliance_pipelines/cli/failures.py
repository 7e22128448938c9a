"""How an error ends the `compliance` command: a line on standard error, an exit status, and JSON for `--json`.

Here: the words and the status of every error that reaches the end of a command. Not here: what a command prints when it
comes to its end, findings and failed checks among it: that is its answer, and no error.
"""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.interruption import Stopped
from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether `--json` is among the arguments: also among those that click refuses, and so before it reads them."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


@contextmanager
def failures_told(*, as_json: bool, further: Mapping[str, Any]) -> Iterator[None]:
    """Tell the error that ends the block, and exit.

    Args:
        as_json: print `{"ok": false, "error": "..."}` on standard output as well, one object on one line.
        further: members that the command adds to the object, such as what it had found until then.

    Raises:
        SystemExit: 1 after an error of the domain or the database, 2 after wrong usage; a signal's own.
        Exception: any other, for its traceback.
    """

    def say(reason: str) -> None:
        if as_json:
            click.echo(json.dumps({"ok": False, "error": reason, **further}))

    try:
        yield
    except click.ClickException as error:
        say(printable(error.format_message()))
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        say("it was interrupted before it came to its end")
        click.echo("Aborted!", err=True)
        sys.exit(1)
    except Stopped as error:
        # Its line is on standard error already.
        say(printable(str(error)))
        raise
    except Exception as error:
        reason = _in_words(error)
        if reason is None:
            say(f"a fault of this program: {type(error).__name__}: {printable(str(error))}")
            raise
        say(reason)
        click.echo(f"compliance: {reason}", err=True)
        sys.exit(1)


def _in_words(error: Exception) -> str | None:
    """The message of an error of the domain or the database; None for any other."""
    if isinstance(error, ComplianceError):
        return error.told()
    # Where nothing has loaded the driver, nothing of it was raised.
    if "sqlalchemy.exc" not in sys.modules:
        return None
    from compliance_pipelines.cli.database_errors import in_words  # noqa: PLC0415 - loads the driver

    return in_words(error)
