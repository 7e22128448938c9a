"""Settings under which archives are encrypted, and a stranger who unwraps a key by hand, as docs/encryption.md says."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from compliance_pipelines.encryption.keyring import Keyring

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.settings import Settings


def encrypted(settings: Settings, directory: Path) -> Settings:
    """The settings with a new keyring in a directory."""
    keyring = Keyring.create(directory / "keyring", datetime.now(UTC)).path
    return settings.model_copy(update={"audit_archive_encryption": True, "audit_archive_keyring_file": keyring})


def unwrapped_by_hand(record: bytes, keyring: bytes) -> bytes:
    """The key of an object: its record and the keyring are JSON, what wraps is AES-256-GCM with the context as AAD."""
    said = json.loads(record)
    by = json.loads(keyring)["keys"][said["key_encryption_key"].removeprefix("keyring:")]
    context = {"purpose": "compliance-pipelines/data-key", "object": said["object_key"], "key": said["key_id"]}
    aad = json.dumps(context, sort_keys=True, separators=(",", ":")).encode("ascii")
    wrapped = base64.b64decode(said["wrapped"])
    return AESGCM(base64.b64decode(by["secret"])).decrypt(wrapped[:12], wrapped[12:], aad)
