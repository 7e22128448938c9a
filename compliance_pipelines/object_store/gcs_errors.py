"""What the answers of Google Cloud Storage mean in the words of the port.

Here: statuses and reasons and what they are taken for, passing or lasting. Not here: any request.

What is not understood is a failure and never an absence. A 404 does not say whether the object or the bucket is
missing; whoever reads asks (gcs.py).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

import requests
import urllib3
from google.api_core.exceptions import GoogleAPICallError, GoogleAPIError, RetryError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from compliance_pipelines.base.printable import printable
from compliance_pipelines.object_store.port import (
    ObjectStoreError,
    RefusedByStoreError,
    StoreMissingError,
    UnsupportedByStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILURES: Final = (
    GoogleAPIError,
    GoogleAuthError,
    InvalidResponse,
    DataCorruption,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
)
"""What Google's client raises where the service refuses, fails or cannot be reached."""

_MOST_SAID: Final = 500
_FORBIDDEN: Final = 403
_SERVER_ERRORS: Final = 500
_REDIRECTS: Final = 300


class Answer(Enum):
    """What an error of the service says."""

    NOT_FOUND = auto()  # the object, the generation or the bucket
    PRECONDITION_FAILED = auto()
    CONFLICT = auto()
    REFUSED = auto()
    UNSUPPORTED = auto()
    FAILED = auto()


_STATUSES: Final = {
    404: Answer.NOT_FOUND,
    405: Answer.UNSUPPORTED,
    408: Answer.FAILED,
    409: Answer.CONFLICT,
    412: Answer.PRECONDITION_FAILED,
    429: Answer.FAILED,
    501: Answer.UNSUPPORTED,
}
# Refusals that pass, and have the status of those that last.
_PASSING: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"})
# Whoever knows it can go on with the upload, without any credentials.
_UPLOAD_ID: Final = re.compile(r"upload_id=[^&\s'\")]+")


def answer_of(error: Exception) -> Answer:
    """What an error says."""
    status = _status(error)
    if status is None or _reason(_response(error)) in _PASSING:
        return Answer.FAILED
    if status in _STATUSES:
        return _STATUSES[status]
    return Answer.REFUSED if _REDIRECTS <= status < _SERVER_ERRORS else Answer.FAILED


@contextmanager
def naming(failure: str, where: str) -> Iterator[None]:
    """Turn what Google's client raises into the port's errors, with what was wanted and of what.

    Args:
        failure: how the message begins: "cannot read".
        where: the URI of the object or the store.

    Raises:
        StoreMissingError: what was asked for is the bucket's, and there is none. Whoever asks for an object catches a
            404 before.
        RefusedByStoreError: the service refuses, and will again; or there are no credentials.
        ObjectStoreError: the service failed, or could not be reached.
    """
    try:
        yield
    except DefaultCredentialsError as error:
        raise RefusedByStoreError(
            f"{failure} {where}: {_sentence(error)}; Google's libraries look for them in "
            "GOOGLE_APPLICATION_CREDENTIALS, in those of `gcloud auth application-default login`, and in the machine's "
            "service account"
        ) from error
    except FAILURES as error:
        raise _translated(error, failure, where) from error


def said(error: Exception) -> str:
    """What a failure says, in one line and without what would let its reader go on with an upload."""
    response = _response(error)
    if response is None:
        return _sentence(_last(error))
    details = _details(response)
    reason = _reason(response)
    message = details.get("message") or _text(response) or str(response.reason or "nothing more")
    return _sentence(f"{response.status_code} {reason}: {message}" if reason else f"{response.status_code}: {message}")


def _translated(error: Exception, failure: str, where: str) -> ObjectStoreError:
    message = f"{failure} {where}: the service says {said(error)}"
    if _response(error) is None and not isinstance(_last(error), GoogleAPICallError):
        message = f"{failure} {where}: {said(error)}"
    match answer_of(error):
        case Answer.NOT_FOUND:
            return StoreMissingError(
                f"{message}. AUDIT_COLD_STORAGE_BUCKET is mistyped, the bucket is not made yet (docs/cold-storage.md), "
                "or the service does not know what it was asked for"
            )
        case Answer.UNSUPPORTED:
            return UnsupportedByStoreError(message)
        case Answer.REFUSED:
            remedy = ". A right is missing (docs/cold-storage.md), or a lock or a hold keeps it"
            return RefusedByStoreError(f"{message}{remedy if _status(error) == _FORBIDDEN else ''}")
        case _:
            return ObjectStoreError(message)


def _last(error: Exception) -> Exception:
    """What was raised by the last of several attempts."""
    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        return error.cause
    return error


def _status(error: Exception) -> int | None:
    response = _response(error)
    status = getattr(_last(error), "code", None) if response is None else response.status_code
    return status if isinstance(status, int) else None


def _response(error: Exception) -> Any:  # noqa: ANN401 - of requests, which has no types here
    response = getattr(_last(error), "response", None)
    return response if isinstance(getattr(response, "status_code", None), int) else None


def _details(response: Any) -> dict[str, Any]:  # noqa: ANN401 - of requests
    try:
        details = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return details if isinstance(details, dict) else {}


def _reason(response: Any) -> str:  # noqa: ANN401 - of requests
    errors = {} if response is None else _details(response).get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    return str(first.get("reason") or "") if isinstance(first, dict) else ""


def _text(response: Any) -> str:  # noqa: ANN401 - of requests
    return str(response.text or "").strip()


def _sentence(text: object) -> str:
    return printable(_UPLOAD_ID.sub("upload_id=...", " ".join(str(text).split())), _MOST_SAID).rstrip(".")
