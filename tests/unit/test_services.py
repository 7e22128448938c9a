"""The signing key is opened by whoever signs; everybody else works without one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.services import open_services
from compliance_pipelines.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from pathlib import Path

KEY = SigningKey("example.org/audit", bytes(32))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A database that is never connected, and a signing key in a file that is not there yet."""
    return Settings(
        _env_file=None,
        audit_log_database_url="postgresql://nobody:nothing@127.0.0.1:1/nowhere",
        audit_cold_storage_provider="local",
        audit_cold_storage_path=tmp_path / "cold",
        ledger_signing_key=None,
        ledger_signing_key_file=tmp_path / "ledger.key",
        ledger_public_key=None,
    )


def write_key(settings: Settings) -> None:
    assert settings.ledger_signing_key_file is not None
    settings.ledger_signing_key_file.write_text(KEY.to_note_string())


def test_who_signs_learns_at_once_that_there_is_no_key(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="LEDGER_SIGNING_KEY_FILE"), open_services(settings):
        pytest.fail("opened without a key")
    write_key(settings)
    with open_services(settings) as services:
        assert services.signing_key.verifier_key() == services.verifier_key == KEY.verifier_key()
    other = SigningKey("example.org/audit", bytes([1] * 32)).verifier_key().to_note_string()
    mixed = settings.model_copy(update={"ledger_public_key": other})
    with pytest.raises(ConfigurationError, match="they must be of one key"), open_services(mixed):
        pytest.fail("opened with two keys")


def test_the_key_is_left_alone_until_something_is_signed_after_all(settings: Settings) -> None:
    with open_services(settings, signs=False) as services:
        repr(services)
        with pytest.raises(ConfigurationError, match="LEDGER_SIGNING_KEY_FILE"):
            _ = services.signing_key
        write_key(settings)
        assert services.signing_key.sign("x") == KEY.sign("x")


def test_the_public_key_alone_verifies_and_does_not_sign(settings: Settings) -> None:
    public = {"ledger_signing_key_file": None, "ledger_public_key": KEY.verifier_key().to_note_string()}
    with open_services(settings.model_copy(update=public), signs=False) as services:
        assert services.verifier_key == KEY.verifier_key()
        with pytest.raises(ConfigurationError, match="no signing key: set LEDGER_SIGNING_KEY_FILE"):
            _ = services.signing_key


def test_a_key_that_is_given_counts_and_not_that_of_the_settings(settings: Settings) -> None:
    given = SigningKey("example.org/audit", bytes([1] * 32))
    with open_services(settings, signs=False) as opened:
        services = replace(opened, keys=Keyring.of(given))
        assert services.signing_key is given
        assert services.verifier_key == given.verifier_key()
