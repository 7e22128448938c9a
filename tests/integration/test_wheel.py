"""The wheel holds all that a user needs, and works in an environment that has no checkout.

The environment has this one's packages, by path, except the project: the editable installation's own `.pth` file is not
read from there, which a test makes sure of.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from compliance_pipelines.audit_log.migrate import head_revision
from tests.support.logins import login_url, make_logins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT: Final = Path(__file__).resolve().parents[2]
DOCUMENT: Final = CHECKOUT / "docs" / "embedding.md"
# Where files of the checkout are in the wheel; whatever else is in the package is where it was.
MOVED: Final = {
    "migrations/": "compliance_pipelines/migrations/",
    "deploy/dagster.yaml": "compliance_pipelines/deploy/dagster.yaml",
    "workspace.yaml": "compliance_pipelines/workspace.yaml",
}
PREFIX: Final = "acme_compliance"

_TICKS: Final = """
import json, sys
from dagster import AssetKey, DagsterInstance, build_schedule_context, build_sensor_context
from host_project import defs
import compliance_pipelines

repository = defs.get_repository_def()
resources = repository.get_top_level_resources()
told = {"file": compliance_pipelines.__file__, "ticks": {}, "runs": {}}
with DagsterInstance.get() as instance:
    told["storage"] = type(instance.run_storage).__name__
    for sensor in repository.sensor_defs:
        with build_sensor_context(instance=instance, repository_def=repository, resources=resources) as context:
            data = sensor.evaluate_tick(context)
        told["ticks"][sensor.name] = data.skip_message or f"{len(data.run_requests or [])} runs"
    for schedule in repository.schedule_defs:
        with build_schedule_context(instance=instance, repository_def=repository, resources=resources) as context:
            data = schedule.evaluate_tick(context)
        told["ticks"][schedule.name] = data.skip_message or f"{len(data.run_requests or [])} runs"
    for job in sys.argv[1:]:
        told["runs"][job] = repository.get_job(job).execute_in_process(instance=instance, raise_on_error=False).success
    for key in ("sales", "acme/compliance/audit/audit_log_partitions"):
        every = repository.get_implicit_global_asset_job_def()
        job = every.get_subset(asset_selection={AssetKey.from_user_string(key)})
        told["runs"][key] = job.execute_in_process(instance=instance, raise_on_error=False).success
print(json.dumps(told))
"""

_MADE: Final = """
from dagster import DagsterInstance

with DagsterInstance.get() as instance:
    instance.get_runs(), instance.all_asset_keys(), instance.all_instigator_state()
"""

_AWAITED: Final = """
import json, sys, time
from dagster import DagsterInstance

finished, checkpoint = {"SUCCESS", "FAILURE", "CANCELED"}, "acme/compliance/ledger/checkpoint"
end = time.monotonic() + 240
with DagsterInstance.get() as instance:
    while time.monotonic() < end:
        runs = {run.job_name: run.status.value for run in instance.get_runs()}
        keys = sorted(key.to_user_string() for key in instance.all_asset_keys())
        if set(sys.argv[1:]) <= {job for job, status in runs.items() if status in finished} and checkpoint in keys:
            break
        time.sleep(0.2)
print(json.dumps({"runs": runs, "keys": keys}))
"""


def command(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run to the end; standard output, where it went well."""
    finished = subprocess.run(
        list(map(str, arguments)), cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=900
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def build(source: Path, directory: Path) -> Path:
    pip = ("-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    command(sys.executable, *pip, "--wheel-dir", directory, source, cwd=directory)
    [wheel] = directory.glob("*.whl")
    return wheel


def names_in(wheel: Path) -> set[str]:
    """What the wheel puts beside other people's packages."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(CHECKOUT, tmp_path_factory.mktemp("wheel"))


@dataclass(frozen=True)
class Bare:
    """An environment with the wheel, and a directory with somebody else's project."""

    python: Path
    project: Path

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """What a process sees there, and nothing of this one's settings."""
        return {
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.project),
            "VIRTUAL_ENV": str(self.python.parents[1]),
            "DAGSTER_HOME": str(self.project / "dagster"),
            **variables,
        }

    def __call__(self, *arguments: str | Path, **variables: str) -> str:
        return command(*arguments, cwd=self.project, env=self.environment(variables))

    @contextmanager
    def running(self, *arguments: str | Path, **variables: str) -> Iterator[None]:
        """A process that goes on meanwhile, and must still do so at the end."""
        with (self.project / "process.log").open("wb") as log:
            process = subprocess.Popen(
                list(map(str, arguments)),
                cwd=self.project,
                env=self.environment(variables),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            yield
            assert process.poll() is None, (self.project / "process.log").read_text(encoding="utf-8")
        finally:
            process.terminate()
            process.wait(timeout=300)


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    home = tmp_path_factory.mktemp("bare")
    venv.create(home / "venv", with_pip=False, symlinks=True)
    python = home / "venv" / "bin" / "python"
    command(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel),
        cwd=home,
    )
    [site] = (home / "venv" / "lib").glob("python*/site-packages")
    # By path alone: files there that change the path of their own environment are not read.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    project = home / "project"
    (project / "dagster").mkdir(parents=True)
    # SQLite, and nothing told to anybody.
    (project / "dagster" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    (project / "host_project.py").write_text(example.group(1), encoding="utf-8")
    (project / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "host_project"\n'
        'code_location_target_module = "host_project"\n',
        encoding="utf-8",
    )
    return Bare(python, project)


def test_every_file_of_the_package_and_the_migrations_is_in_the_wheel_and_no_other(wheel: Path) -> None:
    listed = command("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=CHECKOUT).splitlines()
    expected = {name for name in listed if name.startswith("compliance_pipelines/") and (CHECKOUT / name).is_file()}
    for name in listed:
        expected |= {name.replace(old, new, 1) for old, new in MOVED.items() if name.startswith(old)}
    assert any(name.endswith(".sql") for name in expected)
    assert names_in(wheel) == expected


def test_the_wheel_says_under_which_licence_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [licence] = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        assert b"Apache License" in archive.read(licence)
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        assert "License-Expression: Apache-2.0" in archive.read(metadata).decode()


def test_the_source_archive_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    command(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path, cwd=CHECKOUT)
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "source", filter="data")
    [source] = (tmp_path / "source").iterdir()
    (tmp_path / "made").mkdir()
    assert names_in(build(source, tmp_path / "made")) == names_in(wheel)


def test_the_package_is_the_wheels_and_no_checkouts(bare: Bare) -> None:
    found = bare(bare.python, "-c", "import compliance_pipelines; print(compliance_pipelines.__file__)")
    assert Path(found.strip()).is_relative_to(bare.python.parents[1])
    assert "compliance" in bare("compliance", "--help")


@pytest.mark.parametrize("tool", ["dg", "dagster"])
def test_dagsters_tools_list_the_merged_definitions(bare: Bare, tool: str) -> None:
    if tool == "dg":
        listed = json.loads(bare(bare.python, "-m", "dagster_dg_cli.cli", "list", "defs", "--json"))
        keys = {each["asset_key"] for each in listed["assets"]}
        jobs = {each["name"] for each in listed["jobs"]}
    else:
        keys = set(bare(bare.python, "-m", "dagster", "asset", "list", "-m", "host_project").split())
        printed = bare(bare.python, "-m", "dagster", "job", "list", "-m", "host_project")
        jobs = set(re.findall(r"^Job: (\w+)$", printed, re.MULTILINE))
    assert {"sales", "acme/compliance/audit/cold_archive"} <= keys
    assert {"seal", "health_checks", f"{PREFIX}_seal", f"{PREFIX}_health_checks"} <= jobs


@pytest.fixture
def variables(bare: Bare, empty_database_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of an audit log that was set up from the wheel, as docs/embedding.md says."""
    settings = {
        "AUDIT_LOG_MIGRATION_DATABASE_URL": empty_database_url,
        "AUDIT_LOG_DATABASE_URL": login_url(empty_database_url, "test_pipeline"),
        "AUDIT_COLD_STORAGE_PROVIDER": "local",
        "AUDIT_COLD_STORAGE_PATH": str(tmp_path / "cold"),
        "LEDGER_SIGNING_KEY_FILE": str(tmp_path / "ledger.key"),
    }
    migrated = bare("compliance", "db", "migrate", **settings)
    assert f"it is at {head_revision()} now" in migrated
    make_logins(empty_database_url)
    bare("compliance", "ledger", "new-key", tmp_path / "ledger.key", **settings)
    bare("compliance", "store", "init", **settings)
    return settings


def test_both_projects_run(bare: Bare, variables: dict[str, str]) -> None:
    told = json.loads(bare(bare.python, "-c", _TICKS, f"{PREFIX}_seal", "seal", **variables).splitlines()[-1])
    assert Path(told["file"]).is_relative_to(bare.python.parents[1])
    assert told["storage"] == "SqliteRunStorage"
    assert set(told["runs"].values()) == {True}, told
    assert told["ticks"][f"{PREFIX}_sealing"] == "Nothing to seal."
    assert told["ticks"][f"{PREFIX}_daily_retention"] == "No day is due."
    assert told["ticks"][f"{PREFIX}_gdpr_erasure"] == "No erasure request is due."
    assert len(told["ticks"]) == 17

    # With the partitions that a run has made, everything is in order.
    assert "as before" in bare("compliance", "db", "migrate", **variables)
    assert "FAIL" not in bare("compliance", "check", **variables)
    assert "nothing is wrong" in bare(bare.python, "-m", "compliance_pipelines", "verify", **variables)


def test_the_daemon_runs_what_sensors_and_people_ask_for(
    bare: Bare, variables: dict[str, str], empty_database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE preferences AS SELECT 'user:7' AS user_id")
        connection.execute("GRANT SELECT, DELETE ON preferences TO test_pipeline")
    target = {
        "name": "preferences",
        "database_url": variables["AUDIT_LOG_DATABASE_URL"],
        "table": "preferences",
        "user_column": "user_id",
        "action": "delete",
    }
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(bare.project / "dagster" / "dagster.yaml", home)
    variables |= {"DAGSTER_HOME": str(home), "GDPR_SQL_TARGETS": json.dumps([target])}
    # Two processes that make Dagster's tables in SQLite at a time are in each other's way.
    bare(bare.python, "-c", _MADE, **variables)
    bare("compliance", "erase", "request", "user:7", "--requested-by", "support", "--no-look", **variables)
    jobs = [f"{PREFIX}_gdpr_erasure", f"{PREFIX}_health_checks", "health_checks"]
    with bare.running(bare.python, "-m", "dagster._daemon", "run", "-m", "host_project", **variables):
        for job in jobs[1:]:
            bare(bare.python, "-m", "dagster", "job", "launch", "-m", "host_project", "-j", job, **variables)
        told = json.loads(bare(bare.python, "-c", _AWAITED, *jobs, **variables).splitlines()[-1])
    assert told["runs"] == dict.fromkeys(jobs, "SUCCESS")
    # What ran, and what the sealing sensor reported without a run.
    assert told["keys"] == ["acme/compliance/gdpr/erasure", "acme/compliance/ledger/checkpoint"]
    assert "closed" in bare("compliance", "erase", "list", **variables)


# Dagster's tools in the checkout


# `make check` runs `dg check defs`, which loads them as `list` does.
@pytest.mark.parametrize("arguments", [("check", "toml"), ("list", "defs", "--json")])
def test_dg_knows_the_checkout_without_any_variable(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    finished = subprocess.run(
        [Path(sys.executable).with_name("dg"), *arguments],
        cwd=CHECKOUT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "warning" not in finished.stderr.lower(), finished.stderr


def test_dg_is_told_where_the_definitions_are() -> None:
    """Releases of `dg` before 1.13.8 look for a folder `defs` where nothing is said, and stop without one."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["dg"]["project"]
    assert project["defs_module"] == project["code_location_target_module"]
    assert (CHECKOUT / Path(*project["defs_module"].split("."))).with_suffix(".py").is_file()


def test_productions_instance_is_the_checkouts_with_a_storage() -> None:
    def text(path: str) -> str:
        return (CHECKOUT / path).read_text(encoding="utf-8").split("\n\n", 1)[1]

    storage, rest = re.split(r"\n\n", text("deploy/dagster.yaml"), maxsplit=1)
    assert "DAGSTER_POSTGRES_URL" in storage
    assert rest == text("dagster.yaml")
