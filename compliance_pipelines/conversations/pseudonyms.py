"""What records call threads and users: keyed hashes, never the ids.

Here: the key and the names. Not here: the records. What the hash of a user is, compliance_pipelines/pseudonyms.py says;
a thread's is made the same way under a name of its own, so that equal ids of both kinds have different hashes.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.pseudonyms import PREFIX, pseudonym, subjects_from_settings
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compliance_pipelines.services import Services

_THREAD: Final = b"compliance-pipelines/thread/v1\0"
_DERIVATION: Final = b"compliance-pipelines/record-key/v1"


@dataclass(frozen=True)
class Pseudonyms:
    """Names for the records of one installation: the same id has the same name as long as the key stays."""

    key: bytes = field(repr=False)

    def thread(self, thread_id: str) -> str:
        """The name of a conversation."""
        content = _THREAD + thread_id.encode("utf-8", "surrogateescape")
        return PREFIX + hmac.new(self.key, content, hashlib.sha256).hexdigest()

    def users(self, user_ids: Iterable[str]) -> list[str]:
        """The names of users, sorted."""
        return sorted(pseudonym(user_id.encode("utf-8", "replace").decode(), self.key) for user_id in user_ids)


def pseudonyms_of(services: Services) -> Pseudonyms:
    """The names under GDPR_PSEUDONYM_KEY; without it, under a key derived from the ledger's signing key.

    Raises:
        ConfigurationError: the key is too short, or there is none, and none can be derived from one in a KMS.
    """
    key = subjects_from_settings(services.settings).key
    if key is None:
        signing_key = services.signing_key
        if not isinstance(signing_key, SigningKey):
            raise ConfigurationError(
                "the signing key is in a KMS, which gives it to nobody, so that names for records cannot be derived "
                "from it: set GDPR_PSEUDONYM_KEY to at least 32 random characters"
            )
        secret = signing_key.to_note_string().encode()
        key = hmac.new(secret, _DERIVATION, hashlib.sha256).digest()
    return Pseudonyms(key)
