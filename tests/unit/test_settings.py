"""Settings come from the environment, and a bad one is refused by its name without showing its value."""

import pytest

from compliance_pipelines.settings import ConfigurationError, Settings, load_settings


def test_the_bucket_may_be_named_as_the_requirement_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_AUDIT_BUCKET", "company-audit-archives")
    assert load_settings().audit_cold_storage_bucket == "company-audit-archives"


def test_a_value_that_cannot_be_used_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_LOG_RETENTION_DAYS", "hunter2")
    with pytest.raises(ConfigurationError, match="AUDIT_LOG_RETENTION_DAYS") as raised:
        load_settings()
    assert "hunter2" not in str(raised.value)


def test_a_missing_database_url_says_which_setting_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIT_LOG_DATABASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="AUDIT_LOG_DATABASE_URL"):
        Settings(_env_file=None).require_database_url()


@pytest.mark.parametrize(
    "prefix", ["", "session:", "session:user:", "conversation:metadata:", "s", "mine:", "store_ve"]
)
def test_other_softwares_keys_cannot_be_named_so_that_a_persons_are_left_out(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setenv("GDPR_STORE_PREFIX", "mine")
    monkeypatch.setenv("GDPR_FOREIGN_KEYS", f'["{prefix}"]')
    with pytest.raises(ConfigurationError, match="GDPR_FOREIGN_KEYS"):
        load_settings()


def test_other_softwares_keys_are_named_by_how_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDPR_FOREIGN_KEYS", '["session:web:", "store:cache:"]')
    assert load_settings().gdpr_foreign_keys == ("session:web:", "store:cache:")
