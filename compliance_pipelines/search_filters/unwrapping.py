"""The keys of many objects at once, from the catalogue alone.

Here: unwrapping them, a few at a time. Not here: the keys with which objects are read, for which the cold store's
records count as well (encryption/data_keys.py).

A key that cannot be had is left out, whatever the reason: then the object's filters are not asked, and it is read.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from compliance_pipelines.encryption.catalogue import catalogued_keys_of
from compliance_pipelines.encryption.errors import EncryptionError
from compliance_pipelines.kms.errors import KmsError, KmsUnavailableError
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection

    import sqlalchemy

    from compliance_pipelines.encryption.data_key import DataKey
    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
    from compliance_pipelines.encryption.wrapped_key import WrappedKey

# A key management service takes some milliseconds for each, and lets nobody ask for thousands at once.
_AT_ONCE: Final = 8


def unwrapped_keys(
    connection: sqlalchemy.Connection, keys: KeyEncryptionKeys, object_keys: Collection[str]
) -> dict[str, DataKey]:
    """The keys of these objects, by the objects' keys; those that cannot be had are left out.

    Args:
        connection: to the database.
        keys: what unwraps them.
        object_keys: of the objects.
    """
    rows = catalogued_keys_of(connection, object_keys) if object_keys else []
    wrapped = [row.wrapped for row in rows if row.wrapped is not None]
    unwrapping = _Unwrapping(keys)
    # The first one of each reference by itself: a client is made once, and one that does not answer is asked once.
    firsts = {each.key_encryption_key: each for each in reversed(wrapped)}
    found = {each.object_key: unwrapping.key(each) for each in firsts.values()}
    others = [each for each in wrapped if each.object_key not in found]
    with ThreadPoolExecutor(_AT_ONCE, "unwrapping") as pool:
        found.update(zip((each.object_key for each in others), pool.map(unwrapping.key, others), strict=True))
    return {object_key: key for object_key, key in found.items() if key is not None}


class _Unwrapping:
    """Unwraps keys, and asks nobody again who did not answer."""

    def __init__(self, keys: KeyEncryptionKeys) -> None:
        self._keys = keys
        self._silent: set[str] = set()

    def key(self, wrapped: WrappedKey) -> DataKey | None:
        reference = wrapped.key_encryption_key
        if reference in self._silent:
            return None
        try:
            return wrapped.unwrapped(self._keys)
        except (KmsUnavailableError, ConfigurationError):
            self._silent.add(reference)
        except (EncryptionError, KmsError):
            pass
        return None
