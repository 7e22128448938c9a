"""A service behind TLS: whose certificate is not one of ours, or who speaks what is too old, is asked nothing."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.object_store.s3 import S3ObjectStore
from compliance_pipelines.object_store.s3_client import S3Endpoint
from tests.support.certificates import write_certificate
from tests.support.tls_relay import server_context, tls_relay
from tests.unit.object_store.contract import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.local_stack.seaweedfs import EmbeddedSeaweedFS


@contextmanager
def behind(
    server: EmbeddedSeaweedFS, directory: Path, newest: ssl.TLSVersion | None = None
) -> Iterator[tuple[str, Path]]:
    """The URL of the service behind TLS, and the certificate of its authority."""
    certificate, key = write_certificate(directory)
    oldest = ssl.TLSVersion.MINIMUM_SUPPORTED if newest is not None else ssl.TLSVersion.TLSv1_2
    context = server_context(certificate, key, oldest=oldest, newest=newest)
    if newest is not None:
        context.set_ciphers("ALL:@SECLEVEL=0")  # without which OpenSSL itself offers nothing so old
    with tls_relay(context, server.port) as port:
        yield f"https://127.0.0.1:{port}", certificate


@pytest.fixture(autouse=True)
def _credentials(s3_server: EmbeddedSeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    # It would win over the certificates of the settings, were these not said to boto3.
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nonexistent")


def through(url: str, store: S3ObjectStore, ca_file: Path | None) -> S3ObjectStore:
    endpoint = S3Endpoint(url=url, path_style=True, ca_file=ca_file, timeout_seconds=5)
    return S3ObjectStore(endpoint.open(), store.bucket)


def test_an_authority_of_ones_own_is_believed(
    s3_server: EmbeddedSeaweedFS, store: S3ObjectStore, tmp_path: Path
) -> None:
    with behind(s3_server, tmp_path) as (url, authority):
        there = through(url, store, authority)
        there.put_bytes(KEY, b"data")
        assert there.get_bytes(KEY) == b"data"
    assert store.get_bytes(KEY) == b"data"


def test_a_strange_authority_is_not(
    s3_server: EmbeddedSeaweedFS, store: S3ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with (
        behind(s3_server, tmp_path) as (url, _),
        pytest.raises(ObjectStoreError, match=r"SSL validation failed|CERTIFICATE_VERIFY_FAILED"),
    ):
        through(url, store, None).put_bytes(KEY, b"data")
    assert store.stat(KEY) is None


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_what_is_older_than_tls_1_2_is_not_spoken(
    s3_server: EmbeddedSeaweedFS, store: S3ObjectStore, tmp_path: Path
) -> None:
    with (
        behind(s3_server, tmp_path, newest=ssl.TLSVersion.TLSv1_1) as (url, authority),
        pytest.raises(ObjectStoreError, match=r"SSL|Could not connect|Connection"),
    ):
        through(url, store, authority).put_bytes(KEY, b"data")
    assert store.stat(KEY) is None
