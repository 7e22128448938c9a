"""docs/configuration.md says what the settings model says."""

from pathlib import Path

from compliance_pipelines.cli.settings_reference import environment_names, markdown_table
from compliance_pipelines.settings import Settings

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_configuration_document_holds_the_table_of_all_settings() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    table = document.split("<!-- settings -->\n")[1].split("<!-- /settings -->")[0]
    assert table == markdown_table(), "run `compliance settings` and put its output between the markers"


def test_every_setting_has_a_description_and_the_names_of_the_requirement_work() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    names = {name for key, field in Settings.model_fields.items() for name in environment_names(key, field)}
    assert names >= {
        "AUDIT_LOG_DATABASE_URL",
        "AUDIT_LOG_CONNECTION_POOL_SIZE",
        "AUDIT_LOG_RETENTION_DAYS",
        "AWS_S3_AUDIT_BUCKET",
        "AWS_S3_REGION",
        "AUDIT_COLD_STORAGE_RETENTION_YEARS",
        "AUDIT_COLD_STORAGE_PROVIDER",
        "AUDIT_COLD_STORAGE_BUCKET",
        "GCP_GCS_AUDIT_BUCKET",
        "GCP_PROJECT_ID",
    }
