"""Whether archives can be encrypted, and read back, with the settings as they are.

Here: the questions; a key is wrapped and unwrapped once. Not here: the records of keys (comparison.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.base.health import HealthCheck
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.encryption.wrapped_key import WrappedKey

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings

_NAME = "archives"
_TRIED = "a-key-that-is-tried"


def check_archive_keys(settings: Settings, *, writes: bool) -> list[HealthCheck]:
    """Look at the keys that encrypt archives; it raises nothing.

    Args:
        settings: name them.
        writes: whether a key is wrapped and unwrapped; an auditor needs none.
    """
    keys = KeyEncryptionKeys.from_settings(settings)
    if not settings.encrypts_archives:
        if settings.audit_cold_storage_provider == "local":
            return [
                HealthCheck(_NAME, "they are not encrypted; those in a directory are if AUDIT_ARCHIVE_ENCRYPTION=true")
            ]
        return [
            HealthCheck(
                _NAME,
                "they are not encrypted before they leave this machine (AUDIT_ARCHIVE_ENCRYPTION=false): whoever may "
                "read the bucket reads them, and nobody can make one unreadable that is locked",
                "set AUDIT_ARCHIVE_KEYRING_FILE or AUDIT_ARCHIVE_KMS_KEY, and leave AUDIT_ARCHIVE_ENCRYPTION out",
                is_risk=True,
            )
        ]
    if not writes and not keys.any:
        return [HealthCheck(_NAME, "they are encrypted, and without a key are compared by their hash alone")]
    try:
        current = keys.current()
        if writes:
            WrappedKey.of(_TRIED, DataKey.new(), current).unwrapped(keys)
    except ComplianceError as error:
        return [HealthCheck(_NAME, str(error), "set or correct AUDIT_ARCHIVE_KEYRING_FILE or AUDIT_ARCHIVE_KMS_KEY")]
    done = ", which wraps and unwraps" if writes else ""
    return [HealthCheck(_NAME, f"they are encrypted, their keys wrapped by {current.reference}{done}")]
