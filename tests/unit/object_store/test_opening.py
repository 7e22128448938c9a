from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.object_store.gcs import GcsObjectStore
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectStore, ObjectStoreError
from compliance_pipelines.object_store.s3 import S3ObjectStore
from compliance_pipelines.services import open_cold_store
from compliance_pipelines.settings import ConfigurationError, Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_the_local_store_opens_in_the_directory_of_the_settings(tmp_path: Path) -> None:
    store = open_cold_store(Settings(audit_cold_storage_path=tmp_path / "cold"))

    assert isinstance(store, LocalObjectStore)
    assert isinstance(store, ObjectStore)
    assert store.uri == (tmp_path / "cold").as_uri()


def test_the_local_store_needs_its_directory() -> None:
    with pytest.raises(ConfigurationError, match="AUDIT_COLD_STORAGE_PATH is not set"):
        open_cold_store(Settings(audit_cold_storage_path=None))


def test_the_local_store_refuses_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ObjectStoreError, match="is not a directory"):
        open_cold_store(Settings(audit_cold_storage_path=tmp_path / "file"))


class TestS3:
    """Opening asks nobody, so that no service is needed here."""

    def settings(self, **values: object) -> Settings:
        return Settings.model_validate(
            {
                "audit_cold_storage_provider": "s3",
                "audit_cold_storage_bucket": "company-audit-archives",
                "aws_s3_region": "eu-central-1",
                **values,
            }
        )

    def test_bucket_and_region_are_enough(self) -> None:
        store = open_cold_store(self.settings())

        assert isinstance(store, S3ObjectStore)
        assert store.uri == "s3://company-audit-archives"
        assert store.locate("a/b") == "s3://company-audit-archives/a/b"

    def test_keys_begin_with_the_prefix(self) -> None:
        store = open_cold_store(self.settings(audit_cold_storage_prefix="audit/prod"))

        assert store.locate("a/b") == "s3://company-audit-archives/audit/prod/a/b"

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"audit_cold_storage_bucket": None}, "AUDIT_COLD_STORAGE_BUCKET is not set"),
            ({"audit_cold_storage_prefix": "/audit"}, "AUDIT_COLD_STORAGE_PREFIX cannot be used"),
            ({"audit_cold_storage_prefix": "audit/"}, "AUDIT_COLD_STORAGE_PREFIX cannot be used"),
            ({"audit_cold_storage_endpoint_url": "minio:9000"}, "is no URL"),
            ({"audit_cold_storage_endpoint_url": "http://minio:9000"}, "in plain"),
            ({"audit_cold_storage_endpoint_url": "http://127.0.0.1.example.com"}, "in plain"),
            ({"audit_cold_storage_ca_file": "/no/such/file.pem"}, "no such file"),
            ({"audit_cold_storage_kms_key": "alias/audit"}, "AUDIT_COLD_STORAGE_KMS_KEY is for"),
        ],
    )
    def test_what_cannot_be_used_is_refused_by_the_name_of_its_setting(
        self, values: dict[str, object], said: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=said):
            open_cold_store(self.settings(**values))

    @pytest.mark.parametrize(
        "url", ["https://minio:9000", "http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost"]
    )
    def test_plain_http_is_for_this_machine_alone(self, url: str) -> None:
        open_cold_store(self.settings(audit_cold_storage_endpoint_url=url))


class TestGcs:
    """Opening asks nobody and looks for no credentials, which may ask the machine's metadata service."""

    KEY = "projects/audit/locations/europe-west3/keyRings/cold/cryptoKeys/archives"

    @pytest.fixture(autouse=True)
    def no_credentials(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))

    def settings(self, **values: object) -> Settings:
        return Settings.model_validate(
            {
                "audit_cold_storage_provider": "gcs",
                "gcp_gcs_audit_bucket": "company-audit-archives",
                "gcp_project_id": "my-project",
                **values,
            }
        )

    def test_the_bucket_is_enough_by_the_names_of_the_server(self) -> None:
        store = open_cold_store(self.settings())

        assert isinstance(store, GcsObjectStore)
        assert isinstance(store, ObjectStore)
        assert store.uri == "gs://company-audit-archives"
        assert store.locate("a/b") == "gs://company-audit-archives/a/b"
        assert store.service.endpoint.project == "my-project"

    def test_keys_begin_with_the_prefix(self) -> None:
        store = open_cold_store(self.settings(audit_cold_storage_prefix="audit/prod"))

        assert store.locate("a/b") == "gs://company-audit-archives/audit/prod/a/b"

    @pytest.mark.parametrize(
        ("lock", "mode"), [("none", None), ("governance", "Unlocked"), ("compliance", "Locked"), (None, "Unlocked")]
    )
    def test_locks_have_the_names_of_the_service(self, lock: str | None, mode: str | None) -> None:
        store = open_cold_store(self.settings(**({} if lock is None else {"audit_cold_storage_lock": lock})))

        assert isinstance(store, GcsObjectStore)
        assert store.bucket.lock_mode == mode

    def test_a_key_and_a_location_are_handed_on(self) -> None:
        store = open_cold_store(self.settings(audit_cold_storage_kms_key=self.KEY, gcp_gcs_location="europe-west3"))

        assert isinstance(store, GcsObjectStore)
        assert (store.bucket.kms_key, store.bucket.location) == (self.KEY, "europe-west3")

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"gcp_gcs_audit_bucket": None}, "AUDIT_COLD_STORAGE_BUCKET is not set"),
            ({"audit_cold_storage_prefix": "/audit"}, "AUDIT_COLD_STORAGE_PREFIX cannot be used"),
            ({"audit_cold_storage_endpoint_url": "storage:9000"}, "is no URL"),
            ({"audit_cold_storage_endpoint_url": "http://storage.example.com"}, "in plain"),
            ({"audit_cold_storage_ca_file": "/no/such/file.pem"}, "no such file"),
            ({"audit_cold_storage_encryption": "aes256"}, "AUDIT_COLD_STORAGE_ENCRYPTION is for"),
            ({"audit_cold_storage_path_style": True}, "AUDIT_COLD_STORAGE_PATH_STYLE is for"),
            ({"audit_cold_storage_kms_key": "alias/audit"}, "AUDIT_COLD_STORAGE_KMS_KEY is 'alias/audit'"),
            ({"audit_cold_storage_kms_key": f"{KEY}/cryptoKeyVersions/1"}, "without a version"),
        ],
    )
    def test_what_cannot_be_used_is_refused_by_the_name_of_its_setting(
        self, values: dict[str, object], said: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=said):
            open_cold_store(self.settings(**values))

    @pytest.mark.parametrize("url", ["https://storage.example.com", "http://127.0.0.1:4443", "http://localhost"])
    def test_plain_http_is_for_this_machine_alone(self, url: str) -> None:
        open_cold_store(self.settings(audit_cold_storage_endpoint_url=url))
