"""Where the signing key comes from.

Here: reading and making the key. Not here: the note format (checkpoint.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compliance_pipelines.kms.errors import KmsError
from compliance_pipelines.kms.references import is_reference
from compliance_pipelines.ledger.checkpoint import NoteError, SigningKey
from compliance_pipelines.ledger.kms import kms_signer
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from compliance_pipelines.ledger.checkpoint import Signer
    from compliance_pipelines.settings import Settings

_OWNER_ONLY: Final = 0o600


def load_signing_key(settings: Settings) -> Signer:
    """The key of LEDGER_SIGNING_KEY, else of the file named by LEDGER_SIGNING_KEY_FILE.

    Raises:
        ConfigurationError: neither is set, the file cannot be read, or the key is malformed.
    """
    text, file = settings.ledger_signing_key, settings.ledger_signing_key_file
    key = _of_settings("LEDGER_SIGNING_KEY", text, file, settings.ledger_name)
    if key is None:
        raise ConfigurationError(
            "no signing key: set LEDGER_SIGNING_KEY_FILE to a key made with `compliance ledger new-key FILE`, "
            "or LEDGER_SIGNING_KEY to the key itself"
        )
    return key


def load_second_signing_key(settings: Settings) -> Signer | None:
    """The key of LEDGER_SECOND_SIGNING_KEY, else of LEDGER_SECOND_SIGNING_KEY_FILE; None where neither is set.

    Raises:
        ConfigurationError: the file cannot be read, or the key is malformed.
    """
    text, file = settings.ledger_second_signing_key, settings.ledger_second_signing_key_file
    return _of_settings("LEDGER_SECOND_SIGNING_KEY", text, file, settings.ledger_name)


def load_signing_keys(settings: Settings) -> tuple[Signer, ...]:
    """The signing key, and the second one where it is set.

    Raises:
        ConfigurationError: there is none, or one of them cannot be read or is malformed.
    """
    first, second = load_signing_key(settings), load_second_signing_key(settings)
    return (first,) if second is None else (first, second)


def signer_of(file_or_reference: str, settings: Settings) -> Signer:
    """The key of a file, or of a reference to one in a KMS, whose ledger the settings name.

    Raises:
        ConfigurationError: it cannot be read, or is malformed.
    """
    if is_reference(file_or_reference):
        return _parsed(file_or_reference, file_or_reference, settings.ledger_name)
    return _read(Path(file_or_reference), file_or_reference, settings.ledger_name)


def _of_settings(setting: str, text: SecretStr | None, file: Path | None, ledger: str) -> Signer | None:
    if text is not None:
        return _parsed(text.get_secret_value(), setting, ledger)
    return None if file is None else _read(file, f"{setting}_FILE ({file})", ledger)


def _read(file: Path, source: str, ledger: str) -> Signer:
    try:
        encoded = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the signing key of {source} cannot be read: {error}; make one with `compliance ledger new-key FILE`"
        ) from error
    return _parsed(encoded, source, ledger)


def _parsed(encoded: str, source: str, ledger: str) -> Signer:
    text = encoded.strip()
    try:
        return kms_signer(text, ledger) if is_reference(text) else SigningKey.from_note_string(text)
    except (NoteError, KmsError) as error:
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
