"""What a domain error means to Dagster: try again, or stop for good.

Here: the retry policy, the translation of errors at the border between an asset and the domain, and back into words for
a person. Not here: errors.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import sqlalchemy.exc
from dagster import Backoff, DagsterExecutionInterruptedError, Failure, Jitter, RetryPolicy

from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.base.interruption import watching_signals
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.postgres import errors as database_errors
from compliance_pipelines.postgres.errors import DATABASE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dagster import DagsterEvent

_INTERRUPTIONS: Final = (DagsterExecutionInterruptedError, KeyboardInterrupt)


class _RetriesOfFailures(RetryPolicy):
    """Retries of what failed. Dagster would try a step again that was stopped, and so go on with a run that was."""

    def calculate_delay(self, attempt_num: int) -> float:
        """Seconds until the next attempt.

        Raises:
            BaseException: the step did not fail but was stopped; it is the interruption, raised again.
        """
        stopped = sys.exception()
        if isinstance(stopped, _INTERRUPTIONS):
            raise stopped
        return super().calculate_delay(attempt_num)


RETRIES: Final = _RetriesOfFailures(max_retries=3, delay=5, backoff=Backoff.EXPONENTIAL, jitter=Jitter.PLUS_MINUS)


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later. What nobody foresaw is permanent: it does not mend itself."""
    if isinstance(error, (*DATABASE_ERRORS, sqlalchemy.exc.TimeoutError)):
        return database_errors.is_passing(error)
    # The subclasses are answers of a store that works: there is such an object, there is none.
    return isinstance(error, (TransientError, OSError)) or type(error) is ObjectStoreError


def how_to_confirm(step: str, number: int) -> str:
    """How a plan that is too large is launched with a person's consent, as Dagster's pages take it.

    Args:
        step: the name of the op that takes `confirm`.
        number: how many may go.
    """
    return f"in Dagster: launch the partition with the config `ops: {{{step}: {{config: {{confirm: {number}}}}}}}`"


@contextmanager
def domain_errors() -> Iterator[None]:
    """Let passing faults reach the retry policy, and make every other error a failure without retry.

    A run that is stopped meanwhile stops the statements of its readers, too.

    Raises:
        Failure: the domain refused, or something broke that stays broken; `allow_retries` is False.
    """
    try:
        with watching_signals():
            yield
    except Exception as error:
        if is_passing(error):
            raise
        reason = str(error) if isinstance(error, ComplianceError) else f"{type(error).__name__}: {error}"
        raise Failure(description=reason, allow_retries=False) from error


def reasons_of_failure(events: Iterable[DagsterEvent]) -> list[str]:
    """What a person should read of the steps that failed, one line each."""
    return [f"{event.step_key}: {' '.join(_reason(event).split())}" for event in events if event.is_step_failure]


def _reason(event: DagsterEvent) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return (error.message if error is not None else event.message) or "no reason was recorded"
