"""What the alert sensors keep between ticks, and reading it again.

Here: a cursor that is not what was written is an error that says so. Not here: what a position means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_T = TypeVar("_T")


class CursorError(ComplianceError):
    """A cursor is not one that the sensor wrote: somebody set it."""


def read_cursor(kept: TypeAdapter[_T], cursor: str) -> _T:
    """What a cursor keeps.

    Raises:
        CursorError: it keeps something else.
    """
    try:
        return kept.validate_json(cursor)
    except ValidationError as error:
        raise CursorError(
            f"the cursor of this sensor is not one that it wrote: {cursor!r}; clear it on the sensor's page: then all "
            "that failed since the sensor was last started is told again"
        ) from error
