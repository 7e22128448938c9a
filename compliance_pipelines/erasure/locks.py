"""Who may work on requests at the same time.

Here: the two locks. Not here: what is done under them.

One process at a time carries a request out or decides about it: whoever withdraws a request waits for an attempt that
is under way, and is told so; no attempt begins meanwhile. And one at a time records, corrects or ends requests, so that
no id belongs to two open requests.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from compliance_pipelines.erasure.errors import RequestBusyError
from compliance_pipelines.postgres.errors import LockBusyError
from compliance_pipelines.postgres.locks import process_lock, transaction_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

_REQUEST: Final = "erasure.request"
REQUESTS: Final = "erasure.requests"


@contextmanager
def request_locked(connection: sqlalchemy.Connection, request_id: int) -> Iterator[None]:
    """Be the one that works on a request, until the block is left.

    Args:
        connection: one that is in no transaction.
        request_id: its number; it need not exist.

    Raises:
        RequestBusyError: another process is at it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(
                process_lock(connection, _REQUEST, str(request_id), doing=f"erasure request {request_id}")
            )
        except LockBusyError as error:
            raise RequestBusyError(str(error)) from error
        yield


def lock_requests(connection: sqlalchemy.Connection) -> None:
    """Be the one that says which ids belong to which open request, until the transaction ends.

    Raises:
        LockBusyError: another process is at it.
    """
    transaction_lock(connection, REQUESTS, doing="the record of erasure requests")
