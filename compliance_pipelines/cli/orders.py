"""Options of the commands that somebody must order, because what they accept stays on record for ever.

Here: who, why, a rehearsal, and no question asked. Not here: what a command does with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Order:
    """Who orders it, and why; both go on record as they are."""

    author: str
    reason: str


def ordered(*, author: str, dry_run: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Give a command --reason, --author, --dry-run and --yes, as `order`, `dry_run` and `yes`.

    The order is None in a rehearsal, and in nothing else.

    Args:
        author: help of --author.
        dry_run: help of --dry-run.
    """

    def decorate(command: Callable[_P, _R]) -> Callable[_P, _R]:
        @click.option("--reason", help="Why, such as the number of the incident.")
        @click.option("--author", help=author)
        @click.option("--dry-run", is_flag=True, help=dry_run)
        @click.option("--yes", is_flag=True, help="Do not ask.")
        @wraps(command)
        def with_order(*args: _P.args, **options: _P.kwargs) -> _R:
            who, why = options.pop("author"), options.pop("reason")
            options["order"] = None
            if not options["dry_run"]:
                if not (isinstance(who, str) and isinstance(why, str)):
                    raise click.UsageError("give --reason and --author, which are put on record, or --dry-run")
                options["order"] = Order(who, why)
            return command(*args, **options)

        return with_order

    return decorate
