"""One object at a time: what cannot be looked at is said to be so, and hides no other.

Here: turning whatever goes wrong with one object into words. Not here: what is wrong with it by our own rules, which is
a finding.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# They say nothing about an object, and the next one would fail as well.
_OF_THE_WHOLE: Final = (DBAPIError, psycopg.Error, sqlite3.Error)


def reason_of(error: Exception) -> str:
    """Why something could not be looked at; an error that is not ours is named by its type, too."""
    return str(error) if isinstance(error, ComplianceError) else f"{type(error).__name__}: {error}"


@contextmanager
def guarded(tell: Callable[[Exception], None]) -> Iterator[None]:
    """Let the block fail for one object alone.

    Args:
        tell: gets what went wrong, be it the store or a fault of a library or of ours.

    Raises:
        sqlalchemy.exc.DBAPIError: the database failed, which concerns all; likewise psycopg's errors and SQLite's.
    """
    try:
        yield
    except _OF_THE_WHOLE:
        raise
    except Exception as error:  # noqa: BLE001 - whatever an object makes of a library, the others are looked at
        tell(error)
