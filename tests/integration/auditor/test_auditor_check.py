"""`compliance check` looks at everything, whatever is wrong with the rest, and tells an auditor nothing of writing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.audit_log.partitions import create_ahead
from compliance_pipelines.base.clock import system_clock, utc_day
from compliance_pipelines.ledger.checkpoint import SigningKey

if TYPE_CHECKING:
    from pathlib import Path

    from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
    from compliance_pipelines.services import Services
    from compliance_pipelines.settings import Settings
    from tests.support.command import Command

DAGSTER_YAML = "storage:\n  postgres:\n    postgres_url:\n      env: DAGSTER_POSTGRES_URL\n"


def checks_of(command: Command) -> dict[str, dict[str, Any]]:
    document = json.loads(command("check", "--json").out)
    return {each["name"]: each for each in document["checks"]}


def failing(command: Command) -> dict[str, str]:
    """What does not work, each with its remedy."""
    return {name: each["remedy"] for name, each in checks_of(command).items() if not each["ok"] and not each["is_risk"]}


@pytest.fixture
def _in_order(services: Services) -> None:
    create_ahead(services.engine, utc_day(system_clock()), 14)


@pytest.fixture
def operator(auditor: Command, settings: Settings) -> Command:
    """The command of whoever runs the pipelines."""
    auditor.use(settings)
    return auditor


@pytest.mark.usefixtures("_in_order")
def test_an_auditors_installation_is_in_order_without_any_right_to_write(auditor: Command) -> None:
    done = auditor("check")
    assert (done.status, done.err) == (0, ""), done
    assert "ok    database: privileges: the login is an auditor's" in done.out
    assert "ok    key: key: the public key alone" in done.out
    assert "ok    cold store: identity: it is this database's" in done.out
    assert "writing" not in done.out
    assert "ok    redis: none is configured" in done.out
    assert "ok    dagster: home: DAGSTER_HOME is not set" in done.out
    for role in ("audit_writer", "audit_archiver", "GRANT"):
        assert role not in done.out


@pytest.mark.usefixtures("_in_order")
def test_an_auditors_key_of_another_ledger_is_found(auditor: Command) -> None:
    auditor.set(LEDGER_PUBLIC_KEY=SigningKey.generate("tests.example/audit").verifier_key().to_note_string())
    assert set(failing(auditor)) == {"key: ledger", "cold store: identity"}


@pytest.mark.usefixtures("_in_order")
def test_all_is_looked_at_where_everything_fails(operator: Command, tmp_path: Path) -> None:
    operator.set(
        AUDIT_LOG_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing",
        AUDIT_COLD_STORAGE_PATH=str(tmp_path / "not-there"),
        LEDGER_SIGNING_KEY="nonsense",
        CHECKPOINT_REDIS_URL="redis://127.0.0.1:1/0",
        GDPR_SESSION_REDIS_URL="http://127.0.0.1:1/0",
        DAGSTER_HOME=str(tmp_path / "no-home"),
        AUDIT_LOG_RETENTION_DAYS="many",
    )
    done = operator("check")
    assert done.status == 1
    found = failing(operator)
    for name in (
        "settings",
        "database: connectivity",
        "key: key",
        "cold store: identity",
        "cold store: reading",
        "cold store: writing",
        "CHECKPOINT_REDIS_URL: connection",
        "GDPR_SESSION_REDIS_URL: connection",
        "dagster: home",
    ):
        assert found[name], name


def test_without_any_setting_each_is_told_with_its_remedy(operator: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AUDIT_LOG_DATABASE_URL",
        "AUDIT_COLD_STORAGE_PATH",
        "AUDIT_COLD_STORAGE_PROVIDER",
        "LEDGER_SIGNING_KEY",
        "LEDGER_PUBLIC_KEY",
    ):
        monkeypatch.delenv(name)
    assert set(failing(operator)) == {"database: connectivity", "key: key", "cold store: place"}


@pytest.mark.usefixtures("_in_order")
def test_dagsters_home_is_looked_at(
    operator: Command, tmp_path: Path, postgres_server: EmbeddedPostgres, settings: Settings, database_url: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    operator.set(DAGSTER_HOME=str(home))
    assert "copy the project's dagster.yaml" in failing(operator)["dagster: dagster.yaml"]
    (home / "dagster.yaml").write_text("storage: [")
    assert "compare it" in failing(operator)["dagster: dagster.yaml"]
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    assert "environment" in failing(operator)["dagster: dagster.yaml"]
    for url in (settings.require_database_url(), database_url):
        operator.set(DAGSTER_POSTGRES_URL=url.replace("postgresql://", "postgresql+psycopg2://"))
        assert "a database of its own" in failing(operator)["dagster: storage"]
    operator.set(DAGSTER_POSTGRES_URL="postgresql+psycopg2://nobody@127.0.0.1:1/dagster")
    assert failing(operator)["dagster: storage"].startswith("start it")
    operator.set(DAGSTER_POSTGRES_URL=postgres_server.url("postgres", driver="postgresql+psycopg2"))
    assert failing(operator) == {}
    operator.set(DAGSTER_HOME="home")
    assert "dagster: home" in failing(operator)
