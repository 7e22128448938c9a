"""A key-encryption key in GCP KMS: a symmetric one, which never leaves the service.

Here: two requests. The context is the additional authenticated data, in one exact form.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from compliance_pipelines.encryption.context import context_bytes
from compliance_pipelines.kms.gcp import GcpKms, authorized_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests


class GcpKeyEncryptionKey:
    """One symmetric key in GCP KMS; see :class:`compliance_pipelines.encryption.key_encryption.KeyEncryptionKey`.

    Args:
        name: `projects/.../cryptoKeys/<key>`; its primary version wraps, and the service knows which one did.
        open_session: makes the session that carries the credentials, at the first request.
    """

    def __init__(self, name: str, open_session: Callable[[], requests.Session] = authorized_session) -> None:
        self._key = GcpKms(name, open_session)

    @property
    def reference(self) -> str:
        """As the settings have it."""
        return self._key.reference

    def wrap(self, secret: bytes, context: Mapping[str, str]) -> bytes:
        """See the protocol."""
        return self._asked("encrypt", "plaintext", secret, context, "ciphertext")

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See the protocol."""
        return self._asked("decrypt", "ciphertext", wrapped, context, "plaintext")

    def _asked(self, request: str, given: str, data: bytes, context: Mapping[str, str], answered: str) -> bytes:
        body = {
            given: base64.b64encode(data).decode("ascii"),
            "additionalAuthenticatedData": base64.b64encode(context_bytes(context)).decode("ascii"),
        }
        return self._key.bytes_of(self._key.asked("POST", f":{request}", body), answered)
