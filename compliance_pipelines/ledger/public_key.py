"""Where the public key comes from, against which signatures are checked.

Here: reading it from an option or from the settings. Not here: the signing key (keys.py), the note format
(checkpoint.py). Nothing in the database or in the cold store is ever asked: they are what the key is to judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.checkpoint import MalformedKeyError, VerifierKey
from compliance_pipelines.ledger.keys import load_signing_key
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from compliance_pipelines.settings import Settings


def read_verifier_key(text_or_path: str) -> VerifierKey:
    """The public key that is given as itself or as the name of a file that holds it.

    Raises:
        ComplianceError: it is neither.
    """
    malformed: MalformedKeyError | None = None
    if "+" in text_or_path:
        try:
            return VerifierKey.from_note_string(text_or_path.strip())
        except MalformedKeyError as error:
            malformed = error  # unless it is the name of a file
    try:
        text = Path(text_or_path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise malformed or ComplianceError(f"the public key cannot be read from {text_or_path}: {error}") from error
    return VerifierKey.from_note_string(text.strip())


def load_verifier_key(settings: Settings) -> VerifierKey:
    """The public half of the signing key where the settings have one, else the key of LEDGER_PUBLIC_KEY.

    Raises:
        ConfigurationError: neither is set, one of them cannot be used, or they are not of one key.
    """
    public_key = None if settings.ledger_public_key is None else _of_setting(settings.ledger_public_key)
    if settings.ledger_signing_key is None and settings.ledger_signing_key_file is None:
        if public_key is None:
            raise ConfigurationError(
                "no public key: set LEDGER_PUBLIC_KEY to what `compliance ledger key` prints where the ledger is "
                "signed, or to a file that holds it (`compliance verify` takes it as --public-key, too)"
            )
        return public_key
    own = load_signing_key(settings).verifier_key()
    if public_key not in {None, own}:
        raise ConfigurationError(
            f"LEDGER_PUBLIC_KEY is {public_key}, and the signing key is {own}: they must be of one key; find out which "
            "of them was changed"
        )
    return own


def _of_setting(text_or_path: str) -> VerifierKey:
    try:
        return read_verifier_key(text_or_path)
    except ComplianceError as error:
        raise ConfigurationError(f"LEDGER_PUBLIC_KEY cannot be used: {error}") from error
