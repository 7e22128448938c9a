"""The public key is the signing key's, or the one that the settings or an option name; nothing else is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger.checkpoint import MalformedKeyError, SigningKey
from compliance_pipelines.ledger.public_key import load_verifier_key, read_verifier_key
from compliance_pipelines.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from pathlib import Path

SIGNING, ANOTHER = (SigningKey(f"example.org/{name}", bytes([number] * 32)) for number, name in enumerate("ab"))
PUBLIC = SIGNING.verifier_key()


def settings(**values: Any) -> Settings:  # noqa: ANN401 - settings of any type
    unset = {"ledger_signing_key": None, "ledger_signing_key_file": None, "ledger_public_key": None}
    return Settings(_env_file=None, **{**unset, **values})


def test_the_setting_is_the_key_or_a_file_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger+of.pub"
    path.write_text(f"{PUBLIC.to_note_string()}\n")
    for value in (PUBLIC.to_note_string(), f" {PUBLIC.to_note_string()}\n", str(path)):
        assert load_verifier_key(settings(ledger_public_key=value)) == PUBLIC


def test_the_signing_key_will_do(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(SIGNING.to_note_string())
    for values in ({"ledger_signing_key": SIGNING.to_note_string()}, {"ledger_signing_key_file": path}):
        assert load_verifier_key(settings(**values)) == PUBLIC
        assert load_verifier_key(settings(**values, ledger_public_key=PUBLIC.to_note_string())) == PUBLIC


def test_two_keys_that_do_not_belong_together_are_refused() -> None:
    both = settings(
        ledger_signing_key=ANOTHER.to_note_string(),
        ledger_public_key=PUBLIC.to_note_string(),
    )
    with pytest.raises(ConfigurationError, match=r"LEDGER_PUBLIC_KEY is .* and the signing key is .*: they must be"):
        load_verifier_key(both)


def test_without_any_key_the_message_names_the_setting_and_the_option() -> None:
    with pytest.raises(ConfigurationError, match=r"no public key: set LEDGER_PUBLIC_KEY .*--public-key"):
        load_verifier_key(settings())


@pytest.mark.parametrize("value", ["", "missing", "name+hash+key", "x" * 300, "+" * 300, SIGNING.to_note_string()])
def test_what_is_no_public_key_is_refused_without_showing_a_secret(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="LEDGER_PUBLIC_KEY cannot be used: ") as caught:
        load_verifier_key(settings(ledger_public_key=value))
    assert SIGNING.to_note_string().rpartition("+")[2][5:30] not in str(caught.value)


def test_a_signing_key_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="LEDGER_SIGNING_KEY_FILE"):
        load_verifier_key(
            settings(ledger_signing_key_file=tmp_path / "missing", ledger_public_key=PUBLIC.to_note_string())
        )


def test_an_option_is_the_key_or_a_file_that_holds_it(tmp_path: Path) -> None:
    with pytest.raises(ComplianceError, match=r"the public key cannot be read from .*missing"):
        read_verifier_key(str(tmp_path / "missing"))
    with pytest.raises(MalformedKeyError):
        read_verifier_key("name+hash+key")
