"""What the answers of an S3 service mean in the words of the port.

Here: error codes and what they are taken for, passing or lasting. Not here: any request.

Services differ in their codes; the HTTP status is asked where the code is unknown. What is not understood is a failure
and never an absence.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from compliance_pipelines.object_store.port import (
    ObjectMissingError,
    ObjectStoreError,
    RefusedByStoreError,
    StoreMissingError,
    UnsupportedByStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Answer(Enum):
    """What an error of the service says."""

    OBJECT_MISSING = auto()
    BUCKET_MISSING = auto()
    NOT_FOUND = auto()  # one of the two before: a HEAD has no body that would say which
    PRECONDITION_FAILED = auto()
    CONFLICT = auto()
    RANGE = auto()
    REFUSED = auto()
    UNSUPPORTED = auto()
    FAILED = auto()


_CODES: Final = {
    "NoSuchKey": Answer.OBJECT_MISSING,
    "NoSuchVersion": Answer.OBJECT_MISSING,
    "NoSuchBucket": Answer.BUCKET_MISSING,
    "PreconditionFailed": Answer.PRECONDITION_FAILED,
    "ConditionalRequestConflict": Answer.CONFLICT,
    "OperationAborted": Answer.CONFLICT,
    "InvalidRange": Answer.RANGE,
    "NotImplemented": Answer.UNSUPPORTED,
    "MethodNotAllowed": Answer.UNSUPPORTED,
    # Time passes: a clock is set, credentials are renewed, a service is asked less often.
    "RequestTimeTooSkewed": Answer.FAILED,
    "ExpiredToken": Answer.FAILED,
    "RequestTimeout": Answer.FAILED,
}
_STATUSES: Final = {
    404: Answer.NOT_FOUND,
    409: Answer.CONFLICT,
    412: Answer.PRECONDITION_FAILED,
    416: Answer.RANGE,
    429: Answer.FAILED,
}
_SERVER_ERRORS: Final = 500
_REDIRECTS: Final = 300


def answer_of(error: ClientError) -> Answer:
    """What an error says."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    if code in _CODES:
        return _CODES[code]
    if status in _STATUSES:
        return _STATUSES[status]
    return Answer.REFUSED if _REDIRECTS <= status < _SERVER_ERRORS else Answer.FAILED


@contextmanager
def naming(failure: str, where: str) -> Iterator[None]:
    """Turn what boto3 raises into the port's errors, with what was wanted and of what.

    Args:
        failure: how the message begins: "cannot read".
        where: the URI of the object or the store.

    Raises:
        StoreMissingError: there is no such bucket.
        ObjectMissingError: there is no such object, or version.
        RefusedByStoreError: the service refuses, and will again.
        ObjectStoreError: the service failed, or could not be reached.
    """
    try:
        yield
    except ClientError as error:
        raise _translated(error, failure, where) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise RefusedByStoreError(f"{failure} {where}: {error}; boto3 looks for them in AWS_... and ~/.aws") from error
    except BotoCoreError as error:
        raise ObjectStoreError(f"{failure} {where}: {error}") from error


def _translated(error: ClientError, failure: str, where: str) -> ObjectStoreError:
    details = error.response.get("Error", {})
    said = ": ".join(str(details[name]) for name in ("Code", "Message") if details.get(name)) or str(error)
    message = f"{failure} {where}: the service says {said}"
    match answer_of(error):
        case Answer.BUCKET_MISSING:
            return StoreMissingError(
                f"{message}. AUDIT_COLD_STORAGE_BUCKET is mistyped, or the bucket is not made yet: docs/cold-storage.md"
            )
        case Answer.OBJECT_MISSING:
            return ObjectMissingError(message)
        case Answer.UNSUPPORTED:
            return UnsupportedByStoreError(message)
        case Answer.REFUSED:
            return RefusedByStoreError(message)
        case _:
            return ObjectStoreError(message)
