"""How keys fail.

Here: the errors; each message names the key. Not here: what follows from one.
"""

from __future__ import annotations

from compliance_pipelines.base.errors import ComplianceError


class EncryptionError(ComplianceError):
    """A key is missing, wrong, or cannot be used."""


class KeyEncryptionKeyError(EncryptionError):
    """A key-encryption key is not there, or does not unwrap what it is to have wrapped.

    That says nothing about the object: with the right key-encryption key it can be read.
    """


class KeyringError(KeyEncryptionKeyError):
    """A keyring file cannot be read or written, or is none."""


class DataKeyMissingError(EncryptionError):
    """Neither the cold store nor the catalogue has the key of an object, which nobody can read without it."""


class DataKeyAlteredError(EncryptionError):
    """What is on record as the key of an object is not the key that its manifest names."""


class DataKeyDestroyedError(EncryptionError):
    """The key of an object was destroyed, on record: nobody can read it any more."""


class KeyRecordsDifferError(EncryptionError):
    """The two records of a key say different things, or one of them is missing."""
