from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
import sqlalchemy
from sqlalchemy.engine import make_url

from compliance_pipelines.local_stack import stack as stack_module
from compliance_pipelines.local_stack.__main__ import main
from compliance_pipelines.local_stack.errors import EmbeddedServerError
from compliance_pipelines.local_stack.stack import LocalStack
from compliance_pipelines.object_store.port import RefusedByStoreError
from compliance_pipelines.services import open_cold_store
from compliance_pipelines.settings import load_settings
from tests.unit.local_stack.helpers import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.object_store.port import ObjectStore


@pytest.fixture
def stack(fast_path: Path) -> Iterator[LocalStack]:
    local_stack = LocalStack(fast_path / "state of it")
    yield local_stack
    local_stack.down()


def test_up_gives_an_environment_that_leads_to_everything(stack: LocalStack) -> None:
    environment = stack.up(redis=True)
    with psycopg.connect(environment["AUDIT_LOG_MIGRATION_DATABASE_URL"]) as connection:
        assert connection.info.dbname == "compliance"
    engine = sqlalchemy.create_engine(environment["DAGSTER_POSTGRES_URL"])
    with engine.connect() as session:
        assert session.scalar(sqlalchemy.text("SELECT current_database()")) == "dagster"
    engine.dispose()
    with redis.Redis.from_url(environment["CHECKPOINT_REDIS_URL"]) as client:
        assert client.ping()
    assert make_url(environment["AUDIT_LOG_DATABASE_URL"]).drivername == "postgresql"
    assert make_url(environment["DAGSTER_POSTGRES_URL"]).drivername == "postgresql+psycopg2"
    assert (stack.state_dir / "dagster").is_dir()
    assert environment == {
        "AUDIT_LOG_DATABASE_URL": stack.postgres.url("compliance", user="compliance_pipelines"),
        "AUDIT_LOG_MIGRATION_DATABASE_URL": stack.postgres.url("compliance"),
        "DAGSTER_POSTGRES_URL": stack.postgres.url("dagster", driver="postgresql+psycopg2"),
        "DAGSTER_HOME": str(stack.state_dir / "dagster"),
        "AUDIT_COLD_STORAGE_PROVIDER": "local",
        "AUDIT_COLD_STORAGE_PATH": str(stack.state_dir / "cold"),
        "LEDGER_SIGNING_KEY_FILE": str(stack.state_dir / "ledger.key"),
        "COMPLIANCE_LOCAL_STACK": "1",
        "CHECKPOINT_REDIS_URL": stack.redis.url(),
    }


def test_only_the_run_history_of_dagster_may_lose_its_last_moment_in_a_crash(stack: LocalStack) -> None:
    environment = stack.up()
    durable = {}
    for name in ("AUDIT_LOG_MIGRATION_DATABASE_URL", "DAGSTER_POSTGRES_URL"):
        engine = sqlalchemy.create_engine(make_url(environment[name]).set(drivername="postgresql+psycopg"))
        with engine.connect() as session:
            durable[name] = session.scalar(sqlalchemy.text("SHOW synchronous_commit"))
        engine.dispose()
    assert durable == {"AUDIT_LOG_MIGRATION_DATABASE_URL": "on", "DAGSTER_POSTGRES_URL": "off"}


def test_up_again_changes_nothing_and_redis_stays_down_unless_wanted(stack: LocalStack) -> None:
    first = stack.up()
    pid = stack.postgres.pid
    assert stack.up() == first
    assert stack.postgres.pid == pid
    assert "CHECKPOINT_REDIS_URL" not in first
    assert [line.running for line in stack.status()] == [True, False]


def test_a_bucket_is_chosen_once_and_for_good(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = stack.up(cold_store="s3")
    store = _cold_store(environment, monkeypatch)
    store.create()
    info = store.put_bytes("audit-archives/2026/11/audit-logs-2026-11-30.1-00000000.0.parquet", b"data")

    assert store.uri == "s3://compliance-audit"
    with pytest.raises(RefusedByStoreError):
        store.delete(info.key)
    assert stack.up() == environment
    assert [line.title for line in stack.status()] == ["PostgreSQL", "Redis", "SeaweedFS"]
    with pytest.raises(EmbeddedServerError, match="keeps its archives in a bucket"):
        stack.up(cold_store="local")
    stack.down()
    assert not stack.s3.running
    assert _cold_store(stack.up(), monkeypatch).get_bytes(info.key) == b"data"


def _cold_store(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return open_cold_store(load_settings())


def test_dagster_home_follows_the_configuration_of_the_checkout(
    stack: LocalStack, fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "shipped", lambda name: fast_path / name.removeprefix("deploy/"))
    (stack.state_dir / "dagster").mkdir(parents=True)
    seen = stack.state_dir / "dagster" / "dagster.yaml"
    seen.write_text("of an earlier version")
    (fast_path / "dagster.yaml").write_text("now")
    stack._make_dagster_home()
    (fast_path / "dagster.yaml").write_text("later")
    assert seen.read_text() == "later"


def test_a_stack_that_is_down_has_no_environment(stack: LocalStack) -> None:
    with pytest.raises(EmbeddedServerError, match=r"is not running: start it with .* up --state '.*state of it'"):
        stack.environment()


def test_the_command_brings_it_up_and_down(stack: LocalStack, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state", str(stack.state_dir)]
    assert main(["status", *state]) == 1
    assert main(["down", *state]) == 0
    assert main(["env", *state]) == 1
    assert "is not running" in capsys.readouterr().err
    assert main(["up", *state]) == 0
    assert f"127.0.0.1:{stack.postgres.port}" in capsys.readouterr().out
    assert main(["status", *state]) == 0
    assert main(["down", *state]) == 0
    assert not stack.postgres.running


def test_a_shell_takes_over_what_env_prints(stack: LocalStack) -> None:
    environment = stack.up()
    script = f'eval "$({sys.executable} -m compliance_pipelines.local_stack env --state "$1")" && env'
    shell = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(stack.state_dir)], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    variables = dict(line.split("=", 1) for line in shell.stdout.splitlines() if "=" in line)
    assert environment.items() <= variables.items()
