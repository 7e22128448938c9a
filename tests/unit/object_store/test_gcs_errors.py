"""What Google's client raises, and what is made of it; HTTP is in tests/integration/object_store/test_gcs_faults.py."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
import requests
from google.api_core import exceptions
from google.auth.exceptions import RefreshError

from compliance_pipelines.object_store.gcs_errors import Answer, answer_of, naming, said
from compliance_pipelines.object_store.port import ObjectStoreError, RefusedByStoreError, StoreMissingError

if TYPE_CHECKING:
    from collections.abc import Callable

# Of Google's libraries, which have no types.
_after_attempts: Callable[[str, Exception], Exception] = exceptions.RetryError
_of_status: Callable[[int, str], Exception] = exceptions.from_http_status
_not_found: Callable[[str], Exception] = exceptions.NotFound
_not_refreshed: Callable[[str], Exception] = RefreshError
UPLOAD = "/upload/storage/v1/b/audit/o?uploadType=resumable&upload_id=AHmgc0de&x=1"


def test_no_message_lets_its_reader_go_on_with_an_upload() -> None:
    """The id is all that is needed for that; it comes with the URL in messages of requests."""
    error = requests.ConnectionError(f"Max retries exceeded with url: {UPLOAD} (Caused by ...)")

    with pytest.raises(ObjectStoreError) as caught, naming("cannot store", "gs://audit/a"):
        raise _after_attempts("Timeout of 2.0s exceeded", error)

    assert "upload_id=...&x=1" in str(caught.value)
    assert "AHmgc0de" not in str(caught.value)
    assert type(caught.value) is ObjectStoreError


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (HTTPStatus.FOUND, Answer.REFUSED),
        (HTTPStatus.BAD_REQUEST, Answer.REFUSED),
        (HTTPStatus.FORBIDDEN, Answer.REFUSED),
        (HTTPStatus.NOT_FOUND, Answer.NOT_FOUND),
        (HTTPStatus.REQUEST_TIMEOUT, Answer.FAILED),
        (HTTPStatus.CONFLICT, Answer.CONFLICT),
        (HTTPStatus.GONE, Answer.REFUSED),
        (HTTPStatus.PRECONDITION_FAILED, Answer.PRECONDITION_FAILED),
        (HTTPStatus.TOO_MANY_REQUESTS, Answer.FAILED),
        (HTTPStatus.NOT_IMPLEMENTED, Answer.UNSUPPORTED),
        (HTTPStatus.BAD_GATEWAY, Answer.FAILED),
    ],
)
def test_a_status_is_what_it_says_also_after_several_attempts(status: HTTPStatus, answer: Answer) -> None:
    error = _of_status(status, "said")

    assert answer_of(error) is answer
    assert answer_of(_after_attempts("Timeout of 2.0s exceeded", error)) is answer


@pytest.mark.parametrize(
    "error", [requests.Timeout("read timed out"), _not_refreshed("no metadata service"), OSError("anything")]
)
def test_what_has_no_status_is_a_failure_and_no_absence(error: Exception) -> None:
    assert answer_of(error) is Answer.FAILED


def test_what_the_service_said_is_in_the_message_on_one_line() -> None:
    with pytest.raises(StoreMissingError) as caught, naming("cannot list", "gs://audit"):
        raise _not_found("no\n such\x1b   thing.")

    assert str(caught.value).startswith("cannot list gs://audit: the service says 404 no such\\x1b thing. AUDIT")


def test_a_failure_of_the_source_is_not_one_of_the_service() -> None:
    with pytest.raises(FileNotFoundError), naming("cannot store", "gs://audit/a"):
        raise FileNotFoundError


def test_a_refusal_names_a_remedy() -> None:
    with pytest.raises(RefusedByStoreError, match=r"docs/cold-storage\.md"), naming("cannot read", "gs://audit/a"):
        raise _of_status(HTTPStatus.FORBIDDEN, "denied")

    assert said(requests.Timeout("read timed out.")) == "read timed out"
