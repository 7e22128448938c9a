"""What can go wrong with a search.

Here: the errors that more than one module of this package raises. Not here: what is missing from a result, which is a
part of the result (plan.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.base.errors import ComplianceError

if TYPE_CHECKING:
    from collections.abc import Sequence


class SearchError(ComplianceError):
    """Entries cannot be searched as it was asked for."""


class QueryRefusedError(SearchError):
    """A text is no single SELECT over the audit log, or it asks for something else besides; nothing was run."""


class QueryFailedError(SearchError):
    """A query cannot be carried out: it is wrong, or it needs more memory than it may have."""


class PartsNotReadError(SearchError):
    """Parts that the result needs cannot be read; nothing was shown.

    Attributes:
        reasons: why, part by part.
    """

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        super().__init__(
            f"the result would not be whole, and nothing was shown: {reasons[0]}{more}; --partial leaves out what "
            "cannot be read, and says so"
        )
