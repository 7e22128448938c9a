"""Keyrings: files that only their owner reads, and what they wrap."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.encryption.errors import KeyEncryptionKeyError, KeyringError
from compliance_pipelines.encryption.keyring import Keyring, KeyringKey, new_key

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
CONTEXT = {"object": "a", "key": "b"}


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.create(tmp_path / "keys" / "keyring", NOW)


def test_a_new_one_is_read_as_it_was_written_by_its_owner_alone(keyring: Keyring) -> None:
    assert Keyring.read(keyring.path) == keyring
    assert keyring.path.stat().st_mode & 0o777 == 0o600
    assert keyring.current.id.startswith("2026-11-30-")


def test_none_is_written_over(keyring: Keyring) -> None:
    with pytest.raises(KeyringError, match="File exists"):
        Keyring.create(keyring.path, NOW)


@given(secret=st.binary(min_size=32, max_size=32))
def test_what_was_wrapped_is_unwrapped_and_never_looks_the_same(secret: bytes) -> None:
    key = new_key((), NOW)
    wrapped = {key.wrap(secret, CONTEXT) for _ in range(3)}
    assert len(wrapped) == 3
    assert {key.unwrap(each, CONTEXT) for each in wrapped} == {secret}


@pytest.mark.parametrize("changed", ["another key", "another context", "a byte", "cut", "empty"])
def test_nothing_else_is_unwrapped(changed: str) -> None:
    key = new_key((), NOW)
    wrapped, context, by = key.wrap(b"s" * 32, CONTEXT), CONTEXT, key
    match changed:
        case "another key":
            by = KeyringKey(key.id, NOW, b"o" * 32)
        case "another context":
            context = {**CONTEXT, "object": "another"}
        case "a byte":
            wrapped = wrapped[:-1] + bytes([wrapped[-1] ^ 1])
        case "cut":
            wrapped = wrapped[:20]
        case _:
            wrapped = b""
    with pytest.raises(KeyEncryptionKeyError, match=f"{key.reference} does not unwrap .* as the key b of"):
        by.unwrap(wrapped, context)


def test_a_further_key_is_current_and_the_one_before_unwraps_still(keyring: Keyring) -> None:
    wrapped = keyring.current.wrap(b"s" * 32, CONTEXT)
    keyring.with_key(new_key(keyring.keys, NOW)).save()

    found = Keyring.read(keyring.path)

    assert found.current_id != keyring.current_id
    assert found.key(keyring.current.reference).unwrap(wrapped, CONTEXT) == b"s" * 32
    assert found.path.stat().st_mode & 0o777 == 0o600


def test_the_current_key_is_not_removed_and_another_one_is(keyring: Keyring) -> None:
    grown = keyring.with_key(new_key(keyring.keys, NOW))
    with pytest.raises(KeyEncryptionKeyError, match="current key"):
        grown.without(grown.current_id)
    assert list(grown.without(keyring.current_id).keys) == [grown.current_id]
    with pytest.raises(KeyEncryptionKeyError, match="keyring:nobody is not in the keyring"):
        grown.without("nobody")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o602])
def test_one_that_others_can_read_or_write_is_refused(keyring: Keyring, mode: int) -> None:
    keyring.path.chmod(mode)
    with pytest.raises(KeyringError, match=r"open to others than its owner and group: `chmod 600"):
        Keyring.read(keyring.path)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_one_that_is_mounted_for_a_group_is_read(keyring: Keyring, mode: int) -> None:
    keyring.path.chmod(mode)
    assert Keyring.read(keyring.path) == keyring


@pytest.mark.parametrize(
    "values",
    [
        [],
        {},
        {"format": "another"},
        {"current": "nobody"},
        {"keys": {}},
        {"keys": {"../a": {"created_at": "2026-01-01T00:00:00Z", "secret": "AAAA"}}},
        {"keys": {"a": {"created_at": "2026-01-01T00:00:00Z", "secret": "AAAA"}}, "current": "a"},
        {"keys": {"a": {"created_at": "2026-01-01T00:00:00Z", "secret": "?"}}, "current": "a"},
        {"keys": {"a": {"created_at": "now", "secret": "A" * 43 + "="}}, "current": "a"},
        {"keys": {"a": None}, "current": "a"},
        {"keys": {"a": {"secret": "A" * 43 + "="}}, "current": "a"},
        {"further": 1},
    ],
)
def test_what_is_no_keyring_is_named(keyring: Keyring, values: dict[str, object] | list[object]) -> None:
    whole = json.loads(keyring.path.read_bytes())
    written = {**whole, **values} if isinstance(values, dict) and values else values
    keyring.path.write_text(json.dumps(written))
    with pytest.raises(KeyringError, match="is no keyring"):
        Keyring.read(keyring.path)


def test_a_missing_one_says_how_one_is_made(tmp_path: Path) -> None:
    with pytest.raises(
        KeyringError, match="bring it back from a copy, or make the first one with `compliance keys init`"
    ):
        Keyring.read(tmp_path / "nowhere")


def test_no_secret_is_shown(keyring: Keyring) -> None:
    assert repr(keyring.current.secret)[2:-1] not in repr(keyring)
