"""Key-encryption keys in services: moto's AWS KMS, which binds contexts as AWS does; and a small server like GCP's."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import requests
from moto import mock_aws

from compliance_pipelines.encryption.context import context_bytes, context_of
from compliance_pipelines.encryption.data_key import DataKey
from compliance_pipelines.encryption.gcp import GcpKeyEncryptionKey
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.encryption.wrapped_key import WrappedKey
from compliance_pipelines.kms import gcp as gcp_service
from compliance_pipelines.kms.errors import KmsError, KmsUnavailableError
from compliance_pipelines.settings import ConfigurationError
from tests.unit.ledger.test_kms import served

if TYPE_CHECKING:
    from collections.abc import Iterator

OBJECT = "audit-archives/2026/07/audit-logs-2026-07-01.1-0badcafe.0.parquet"
GCP_KEY = "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/archives"


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two keys, by ARN."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        client = boto3.client("kms")
        yield [client.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]


def test_aws_wraps_and_unwraps(aws_keys: list[str]) -> None:
    keys = KeyEncryptionKeys(kms_key=f"awskms:///{aws_keys[0]}")
    key = DataKey.new()
    wrapped = WrappedKey.of(OBJECT, key, keys.current())
    assert key.secret not in wrapped.wrapped
    assert wrapped.key_encryption_key == f"awskms:///{aws_keys[0]}"
    assert wrapped.unwrapped(keys) == key


def test_aws_does_not_unwrap_the_key_of_another_object(aws_keys: list[str]) -> None:
    by = KeyEncryptionKeys(kms_key=f"awskms:///{aws_keys[0]}").current()
    wrapped = by.wrap(b"s" * 32, context_of(OBJECT, "a"))
    with pytest.raises(KmsError, match="InvalidCiphertext"):
        by.unwrap(wrapped, context_of(OBJECT + "x", "a"))


def test_a_former_key_unwraps_as_long_as_the_settings_name_it(aws_keys: list[str]) -> None:
    old, new = (f"awskms:///{arn}" for arn in aws_keys)
    key = DataKey.new()
    wrapped = WrappedKey.of(OBJECT, key, KeyEncryptionKeys(kms_key=old).current())
    keys = KeyEncryptionKeys(kms_key=new, former_kms_keys=(old,))
    assert wrapped.unwrapped(keys) == key
    assert keys.current().reference == new


def test_a_key_that_is_not_there_is_an_error_that_names_it(aws_keys: list[str]) -> None:
    wrapped = WrappedKey.of(OBJECT, DataKey.new(), KeyEncryptionKeys(kms_key=f"awskms:///{aws_keys[0]}").current())
    nowhere = f"awskms:///{aws_keys[0][:-4]}0000"
    with pytest.raises(KmsError, match=nowhere):
        replace(wrapped, key_encryption_key=nowhere).unwrapped(KeyEncryptionKeys(kms_key=nowhere))


def test_a_malformed_reference_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigurationError, match="is no reference to a key"):
        KeyEncryptionKeys(kms_key="awskms:my-key").current()


def gcp_like(path: str, body: dict[str, Any]) -> tuple[int, dict[str, str]]:
    """What GCP answers: its ciphertext is the plaintext beside the authenticated data, which must come again."""
    aad = body["additionalAuthenticatedData"]
    if path.endswith(":encrypt"):
        return 200, {"ciphertext": base64.b64encode(f"{aad}.{body['plaintext']}".encode()).decode()}
    bound, _, plaintext = base64.b64decode(body["ciphertext"]).decode().partition(".")
    if bound != aad:
        return 400, {"error": "Decryption failed: the ciphertext is invalid"}
    return 200, {"plaintext": plaintext}


def test_gcp_wraps_and_unwraps_with_the_context_as_authenticated_data(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def answer(_method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        asked.append((path, body))
        return gcp_like(path, body)

    context = context_of(OBJECT, "a")
    with served(answer) as endpoint:
        monkeypatch.setattr(gcp_service, "ENDPOINT", endpoint)
        key = GcpKeyEncryptionKey(GCP_KEY, requests.Session)
        wrapped = key.wrap(b"s" * 32, context)
        assert key.unwrap(wrapped, context) == b"s" * 32
        with pytest.raises(KmsError, match="Decryption failed"):
            key.unwrap(wrapped, context_of(OBJECT + "x", "a"))
    assert [path for path, _ in asked] == [
        f"/{GCP_KEY}:encrypt",
        f"/{GCP_KEY}:decrypt",
        f"/{GCP_KEY}:decrypt",
    ]
    assert base64.b64decode(asked[0][1]["additionalAuthenticatedData"]) == context_bytes(context)
    assert key.reference == f"gcpkms://{GCP_KEY}"


def test_a_gcp_that_does_not_answer_may_do_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(lambda *_: (200, {})) as endpoint:
        monkeypatch.setattr(gcp_service, "ENDPOINT", endpoint)
    with pytest.raises(KmsUnavailableError, match="cannot be asked"):
        GcpKeyEncryptionKey(GCP_KEY, requests.Session).wrap(b"s" * 32, {})
