"""The root of the domain's exceptions.

Here: what every domain error has in common. Not here: the errors of one domain, which are defined beside the code
that raises them.
"""

from __future__ import annotations

from compliance_pipelines.base.printable import printable


class ComplianceError(Exception):
    """An expected failure whose message says what happened, where, and what to do about it.

    The command line prints the message as one line and exits 1. Dagster treats it as permanent (no retry) unless it
    is a :class:`TransientError`.
    """

    def told(self) -> str:
        """The message as the command line tells it: on one line, with nothing that steers a terminal."""
        return printable(str(self))


class TransientError(ComplianceError):
    """A failure that the same call may survive later: a lock not had in time, a connection lost."""
