"""Data keys, their records, and which of two records counts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance_pipelines.encryption.data_key import DataKey, Encryption
from compliance_pipelines.encryption.data_keys import DataKeys
from compliance_pipelines.encryption.errors import (
    DataKeyAlteredError,
    DataKeyMissingError,
    EncryptionError,
    KeyEncryptionKeyError,
)
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.encryption.keyring import Keyring, new_key
from compliance_pipelines.encryption.wrapped_key import WrappedKey, object_of_record, record_key
from compliance_pipelines.ledger.object_retention import ObjectRetention
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.settings import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

OBJECT = "audit-archives/2026/07/audit-logs-2026-07-01.1-0badcafe.0.parquet"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> KeyEncryptionKeys:
    return KeyEncryptionKeys(Keyring.create(tmp_path / "keyring", NOW).path)


@pytest.fixture
def data_keys(tmp_path: Path, keys: KeyEncryptionKeys) -> DataKeys:
    store = LocalObjectStore(tmp_path / "cold")
    store.create()
    return DataKeys(store, keys)


def test_a_key_is_on_record_before_anything_is_encrypted_with_it(data_keys: DataKeys) -> None:
    key = data_keys.for_new(OBJECT)
    assert data_keys.of_object(OBJECT, Encryption(key_id=key.id)) == key
    assert key.secret not in data_keys.store.get_bytes(record_key(OBJECT))


def test_an_interrupted_run_is_gone_on_with_under_the_same_key(data_keys: DataKeys) -> None:
    assert data_keys.for_new(OBJECT) == data_keys.for_new(OBJECT)
    assert data_keys.for_new(OBJECT) != data_keys.for_new(OBJECT + "x")


def test_its_record_is_never_locked() -> None:
    assert ObjectRetention(7)(OBJECT) is not None
    assert ObjectRetention(7)(record_key(OBJECT)) is None


@given(
    secret=st.binary(min_size=32, max_size=32),
    object_key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=50),
)
def test_a_record_says_the_same_after_it_was_written(secret: bytes, object_key: str) -> None:
    wrapped = WrappedKey.of(object_key, DataKey(secret), new_key((), NOW))
    assert WrappedKey.from_bytes(wrapped.to_bytes(), object_key) == wrapped
    assert object_of_record(record_key(object_key)) == object_key


def test_the_id_tells_keys_apart_and_is_not_the_key() -> None:
    digest = hashlib.sha256(b"compliance-pipelines/data-key/1\0" + b"a" * 32).hexdigest()
    assert DataKey(b"a" * 32).id == digest[:32]
    assert DataKey(b"a" * 32).id != DataKey(b"b" * 32).id
    assert "a" * 8 not in repr(DataKey(b"a" * 32))
    with pytest.raises(EncryptionError, match="has 32 bytes"):
        DataKey(b"short")


def test_the_key_of_another_object_is_not_taken_for_its(data_keys: DataKeys) -> None:
    ours, other = data_keys.for_new(OBJECT), data_keys.for_new(OBJECT + "x")
    data = data_keys.store.get_bytes(record_key(OBJECT + "x"))
    data_keys.store.delete(record_key(OBJECT))
    data_keys.store.put_bytes(record_key(OBJECT), data)
    with pytest.raises(DataKeyAlteredError, match="record of another object's key"):
        data_keys.of_object(OBJECT, Encryption(key_id=ours.id))

    moved = WrappedKey.from_bytes(data, OBJECT + "x")
    data_keys.store.delete(record_key(OBJECT))
    data_keys.store.put_bytes(record_key(OBJECT), replace(moved, object_key=OBJECT).to_bytes())
    with pytest.raises(KeyEncryptionKeyError, match="does not unwrap"):
        data_keys.of_object(OBJECT, Encryption(key_id=other.id))


def test_another_key_than_the_manifest_names_is_not_used(data_keys: DataKeys) -> None:
    key = data_keys.for_new(OBJECT)
    with pytest.raises(DataKeyAlteredError, match=f"is the key {key.id}, and its manifest names {'0' * 32}"):
        data_keys.of_object(OBJECT, Encryption(key_id="0" * 32))


def test_a_key_that_is_on_no_record_is_named(data_keys: DataKeys) -> None:
    with pytest.raises(DataKeyMissingError, match=f"the key {'0' * 32} of {OBJECT} is on no record"):
        data_keys.of_object(OBJECT, Encryption(key_id="0" * 32))
    assert data_keys.of_uncommitted(OBJECT) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"{" * 20_000,
        b'{"format": "another"}',
    ],
)
def test_what_is_no_record_is_named(data_keys: DataKeys, data: bytes) -> None:
    data_keys.store.put_bytes(record_key(OBJECT), data)
    with pytest.raises(DataKeyAlteredError, match="no record of a key"):
        data_keys.of_object(OBJECT, Encryption(key_id="0" * 32))
    with pytest.raises(DataKeyAlteredError, match="no record of a key"):
        data_keys.for_new(OBJECT)


@pytest.mark.parametrize("name", ["wrapped", "wrapped_at", "key_id", "key_encryption_key", "further"])
def test_a_record_with_a_malformed_field_is_none(data_keys: DataKeys, name: str) -> None:
    data_keys.for_new(OBJECT)
    values = json.loads(data_keys.store.get_bytes(record_key(OBJECT)))
    with pytest.raises(DataKeyAlteredError, match="no record of a key"):
        WrappedKey.from_bytes(json.dumps({**values, name: 1}).encode(), OBJECT)


def test_a_keyring_without_the_key_says_nothing_about_the_object(data_keys: DataKeys, tmp_path: Path) -> None:
    key = data_keys.for_new(OBJECT)
    elsewhere = KeyEncryptionKeys(Keyring.create(tmp_path / "another", NOW).path)
    with pytest.raises(KeyEncryptionKeyError, match=r"keyring:\S+ is not in the keyring"):
        DataKeys(data_keys.store, elsewhere).of_object(OBJECT, Encryption(key_id=key.id))
    nobody = DataKeys(data_keys.store, KeyEncryptionKeys())
    assert not nobody.can_unwrap
    with pytest.raises(KeyEncryptionKeyError, match="AUDIT_ARCHIVE_KEYRING_FILE is not set"):
        nobody.of_object(OBJECT, Encryption(key_id=key.id))
    with pytest.raises(ConfigurationError, match="AUDIT_ARCHIVE_ENCRYPTION=false leaves archives"):
        nobody.for_new(OBJECT + "x")


def test_a_record_leads_to_no_service_that_the_settings_do_not_name(data_keys: DataKeys) -> None:
    data_keys.for_new(OBJECT)
    found = WrappedKey.from_bytes(data_keys.store.get_bytes(record_key(OBJECT)), OBJECT)
    strange = replace(found, key_encryption_key="awskms:///arn:aws:kms:eu-central-1:666:key/somebodys")
    with pytest.raises(KeyEncryptionKeyError, match="is not named by the settings"):
        strange.unwrapped(data_keys.key_encryption_keys)


@pytest.mark.parametrize(
    "values", [{}, {"key_id": "short"}, {"key_id": "0" * 32, "algorithm": "AES_GCM_CTR_V1"}, [], 1]
)
def test_an_encryption_that_is_not_known_is_refused(values: object) -> None:
    with pytest.raises(EncryptionError, match="not one that is known"):
        Encryption.from_json(values)
