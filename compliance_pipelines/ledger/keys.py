"""Where the signing key comes from.

Here: reading and making the key. Not here: the note format (checkpoint.py).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.checkpoint import NoteError, SigningKey
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

    from compliance_pipelines.settings import Settings

_OWNER_ONLY: Final = 0o600


def load_signing_key(settings: Settings) -> SigningKey:
    """The key of LEDGER_SIGNING_KEY, else of the file named by LEDGER_SIGNING_KEY_FILE.

    Raises:
        ConfigurationError: neither is set, the file cannot be read, or the key is malformed.
    """
    key = _of_settings("LEDGER_SIGNING_KEY", settings.ledger_signing_key, settings.ledger_signing_key_file)
    if key is None:
        raise ConfigurationError(
            "no signing key: set LEDGER_SIGNING_KEY_FILE to a key made with `compliance ledger new-key FILE`, "
            "or LEDGER_SIGNING_KEY to the key itself"
        )
    return key


def load_second_signing_key(settings: Settings) -> SigningKey | None:
    """The key of LEDGER_SECOND_SIGNING_KEY, else of LEDGER_SECOND_SIGNING_KEY_FILE; None where neither is set.

    Raises:
        ConfigurationError: the file cannot be read, or the key is malformed.
    """
    text, file = settings.ledger_second_signing_key, settings.ledger_second_signing_key_file
    return _of_settings("LEDGER_SECOND_SIGNING_KEY", text, file)


def read_signing_key(file: Path, source: str) -> SigningKey:
    """The key that a file holds.

    Args:
        file: that holds it.
        source: what messages call it.

    Raises:
        ConfigurationError: it cannot be read, or the key is malformed.
    """
    try:
        encoded = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the signing key of {source} cannot be read: {error}; make one with `compliance ledger new-key FILE`"
        ) from error
    return _parsed(encoded, source)


def _of_settings(name: str, text: SecretStr | None, file: Path | None) -> SigningKey | None:
    if text is not None:
        return _parsed(text.get_secret_value(), name)
    return None if file is None else read_signing_key(file, f"{name}_FILE ({file})")


def _parsed(encoded: str, source: str) -> SigningKey:
    try:
        return SigningKey.from_note_string(encoded.strip())
    except NoteError as error:
        raise ConfigurationError(f"the signing key of {source} is malformed: {error}") from error


def write_new_key(path: Path, name: str) -> SigningKey:
    """Make a key and write it to a new file that only its owner can read.

    Raises:
        ConfigurationError: the file exists already or cannot be written.
    """
    key = SigningKey.generate(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key.to_note_string() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(f"the signing key cannot be written to {path}: {error}") from error
    return key
