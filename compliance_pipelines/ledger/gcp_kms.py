"""A signing key in GCP KMS: what is asked of the service, and what its refusals mean.

Here: two requests to its REST interface, under google-auth's credentials. Not here: what is believed of the answers
(kms.py). Credentials are found as Google's libraries find them (application default credentials).
"""

from __future__ import annotations

import base64
import binascii
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import google.auth
import requests
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.auth.exceptions import GoogleAuthError
from google.auth.transport import requests as authorized

from compliance_pipelines.base.printable import printable
from compliance_pipelines.ledger.kms import GCP, KmsError, KmsUnavailableError, ed25519_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ENDPOINT: Final = "https://cloudkms.googleapis.com/v1/"
_SCOPE: Final = "https://www.googleapis.com/auth/cloudkms"
_ALGORITHM: Final = "EC_SIGN_ED25519"
_SECONDS: Final = 15.0
_MOST_SAID: Final = 300
_OK: Final = 200
_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})


def _authorized_session() -> requests.Session:
    session_of: Callable[[object], requests.Session] = authorized.AuthorizedSession
    return session_of(google.auth.default(scopes=[_SCOPE])[0])


class GcpKmsKey:
    """One version of a key in GCP KMS.

    Args:
        version: `projects/.../cryptoKeyVersions/<n>`.
        open_session: makes the session that carries the credentials, at the first request.
    """

    def __init__(self, version: str, open_session: Callable[[], requests.Session] = _authorized_session) -> None:
        self._version = version
        self._reference = f"{GCP}{version}"
        self._open_session = open_session

    @cached_property
    def _session(self) -> requests.Session:
        return self._open_session()

    def public_key(self) -> Ed25519PublicKey:
        """The public half; see :class:`compliance_pipelines.ledger.kms.KmsKey`."""
        answer = self._asked("GET", f"{self._version}/publicKey")
        if answer.get("algorithm") != _ALGORITHM:
            raise KmsError(f"{self._reference} is for {answer.get('algorithm')}, and a ledger needs {_ALGORITHM}")
        return ed25519_of(load_pem_public_key, str(answer.get("pem")).encode(), self._reference)

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes, not of a hash of them; see :class:`compliance_pipelines.ledger.kms.KmsKey`."""
        answer = self._asked("POST", f"{self._version}:asymmetricSign", {"data": base64.b64encode(data).decode()})
        try:
            return base64.b64decode(str(answer.get("signature")), validate=True)
        except binascii.Error as error:
            raise KmsError(f"{self._reference}: GCP KMS answered something else than a signature") from error

    def _asked(self, method: str, path: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        try:
            response = self._session.request(method, ENDPOINT + path, json=body, timeout=_SECONDS)
        except (requests.RequestException, GoogleAuthError) as error:
            said = printable(str(error), _MOST_SAID)
            raise KmsUnavailableError(f"{self._reference}: GCP KMS cannot be asked: {said}") from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.status_code != _OK or not isinstance(answer, dict):
            kind = KmsUnavailableError if response.status_code in _TRANSIENT else KmsError
            said = printable(response.text, _MOST_SAID)
            raise kind(f"{self._reference}: GCP KMS refuses with status {response.status_code}: {said}")
        return answer
