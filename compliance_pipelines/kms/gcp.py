"""Requests about one key in GCP KMS, to its REST interface under google-auth's credentials, and what refusals mean.

Here: the session with its time-out. Not here: which requests, and what is believed of the answers. Credentials are
found as Google's libraries find them (application default credentials).
"""

from __future__ import annotations

import base64
import binascii
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import google.auth
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport import requests as authorized

from compliance_pipelines.base.printable import printable
from compliance_pipelines.kms.errors import KmsError, KmsUnavailableError
from compliance_pipelines.kms.references import GCP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENDPOINT: Final = "https://cloudkms.googleapis.com/v1/"
_SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"
_SECONDS: Final = 15.0
_MOST_SAID: Final = 300
_OK: Final = 200
_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})


def authorized_session() -> requests.Session:
    """A session with the credentials of this machine or process."""
    session_of: Callable[[object], requests.Session] = authorized.AuthorizedSession
    return session_of(google.auth.default(scopes=[_SCOPE])[0])


class GcpKms:
    """One key in GCP KMS, or one version of it.

    Args:
        name: `projects/.../cryptoKeys/<key>`, and `/cryptoKeyVersions/<n>` where a version is meant.
        open_session: makes the session that carries the credentials, at the first request.

    Attributes:
        reference: of the key, as settings and messages have it.
    """

    def __init__(self, name: str, open_session: Callable[[], requests.Session] = authorized_session) -> None:
        self._name = name
        self.reference = f"{GCP}{name}"
        self._open_session = open_session

    @cached_property
    def _session(self) -> requests.Session:
        return self._open_session()

    def asked(self, method: str, request: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer to a request about this key.

        Args:
            method: of HTTP.
            request: what follows the key's name in the address, such as `:encrypt`.
            body: JSON.

        Raises:
            KmsError: the service refuses, or answers no JSON object.
            KmsUnavailableError: it does not answer, or has no time.
        """
        try:
            response = self._session.request(method, ENDPOINT + self._name + request, json=body, timeout=_SECONDS)
        except (requests.RequestException, GoogleAuthError) as error:
            said = printable(str(error), _MOST_SAID)
            raise KmsUnavailableError(f"{self.reference}: GCP KMS cannot be asked: {said}") from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.status_code != _OK or not isinstance(answer, dict):
            kind = KmsUnavailableError if response.status_code in _TRANSIENT else KmsError
            said = printable(response.text, _MOST_SAID)
            raise kind(f"{self.reference}: GCP KMS refuses with status {response.status_code}: {said}")
        return answer

    def bytes_of(self, answer: Mapping[str, Any], field: str) -> bytes:
        """A field of an answer, which is base64.

        Raises:
            KmsError: it is not.
        """
        try:
            return base64.b64decode(str(answer.get(field)), validate=True)
        except binascii.Error as error:
            raise KmsError(f"{self.reference}: GCP KMS answered something else than a {field}") from error
