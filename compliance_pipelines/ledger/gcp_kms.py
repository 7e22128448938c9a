"""A signing key in GCP KMS: what is asked of the service.

Here: two requests. Not here: what is believed of the answers (kms.py).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.kms.gcp import GcpKms, authorized_session
from compliance_pipelines.ledger.kms import ed25519_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ALGORITHM: Final = "EC_SIGN_ED25519"


class GcpKmsKey:
    """One version of a key in GCP KMS.

    Args:
        version: `projects/.../cryptoKeyVersions/<n>`.
        open_session: makes the session that carries the credentials, at the first request.
    """

    def __init__(self, version: str, open_session: Callable[[], requests.Session] = authorized_session) -> None:
        self._key = GcpKms(version, open_session)

    def public_key(self) -> Ed25519PublicKey:
        """The public half; see :class:`compliance_pipelines.ledger.kms.KmsKey`."""
        answer = self._key.asked("GET", "/publicKey")
        reference = self._key.reference
        if answer.get("algorithm") != _ALGORITHM:
            raise KmsError(f"{reference} is for {answer.get('algorithm')}, and a ledger needs {_ALGORITHM}")
        return ed25519_of(load_pem_public_key, str(answer.get("pem")).encode(), reference)

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes, not of a hash of them; see :class:`compliance_pipelines.ledger.kms.KmsKey`."""
        answer = self._key.asked("POST", ":asymmetricSign", {"data": base64.b64encode(data).decode()})
        return self._key.bytes_of(answer, "signature")
