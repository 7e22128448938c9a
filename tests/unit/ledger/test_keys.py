from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.ledger.checkpoint import MalformedKeyError, Signer, SigningKey
from compliance_pipelines.ledger.keys import load_signing_key, write_new_key
from compliance_pipelines.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from pathlib import Path

ONE, ANOTHER = (SigningKey(f"example.org/{name}", bytes([number] * 32)) for number, name in enumerate("ab"))


def settings(**values: Any) -> Settings:  # noqa: ANN401 - settings of any type
    unset = {"ledger_signing_key": None, "ledger_signing_key_file": None}
    return Settings(_env_file=None, **{**unset, **values})


def note_string(key: Signer) -> str:
    assert isinstance(key, SigningKey)
    return key.to_note_string()


def test_the_key_comes_from_the_setting_or_from_the_file_and_the_setting_wins(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"\n{ANOTHER.to_note_string()}\n\n")
    in_setting = {"ledger_signing_key": f" {ONE.to_note_string()}\n"}
    in_file = {"ledger_signing_key_file": path}
    assert note_string(load_signing_key(settings(**in_setting))) == ONE.to_note_string()
    assert note_string(load_signing_key(settings(**in_file))) == ANOTHER.to_note_string()
    assert note_string(load_signing_key(settings(**in_setting, **in_file))) == ONE.to_note_string()


def test_without_a_key_the_message_says_how_to_make_one() -> None:
    with pytest.raises(ConfigurationError, match=r"no signing key: set LEDGER_SIGNING_KEY_FILE .* new-key FILE"):
        load_signing_key(settings())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"LEDGER_SIGNING_KEY_FILE \(.*missing\) cannot be read"):
        load_signing_key(settings(ledger_signing_key_file=tmp_path / "missing"))
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_signing_key(settings(ledger_signing_key_file=tmp_path / "binary"))


@pytest.mark.parametrize("text", ["", "key", ONE.verifier_key().to_note_string(), ONE.to_note_string()[:-2]])
def test_a_malformed_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match="the signing key of LEDGER_SIGNING_KEY is malformed") as caught:
        load_signing_key(settings(ledger_signing_key=text))
    assert ONE.to_note_string().rpartition("+")[2][5:30] not in str(caught.value)


def test_a_new_key_is_written_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "key"
    key = write_new_key(path, "example.org/audit")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert note_string(load_signing_key(settings(ledger_signing_key_file=path))) == key.to_note_string()


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    key = write_new_key(tmp_path / "key", "example.org/audit")
    with pytest.raises(ConfigurationError, match=r"the signing key cannot be written to .*key: .*File exists"):
        write_new_key(tmp_path / "key", "example.org/audit")
    assert (tmp_path / "key").read_text() == key.to_note_string() + "\n"


def test_a_name_that_no_key_can_have_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(MalformedKeyError):
        write_new_key(tmp_path / "key", "two words")
    assert not (tmp_path / "key").exists()
