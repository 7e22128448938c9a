"""Fixtures of the drills, and the line that `make drill` prints about each."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from tests.drills.site import Site, new_keyring, opened_site
from tests.drills.steps import Steps
from tests.integration.verification.world import KEY, copied, fill
from tests.support.command import Command
from tests.support.memory import memory_directory
from tests.support.replica import PRIMARY_SETTINGS
from tests.support.servers import in_use

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DRILL: Final = "drill"
_LOST: Final = "lost"


@dataclass(frozen=True)
class SiteTemplate:
    """The filled system: the name of its database, which nobody is connected to, its cold store, its keyring."""

    database: str
    cold: Path
    keyring: Path


@pytest.fixture(scope="session")
def site_template(
    postgres_server: EmbeddedPostgres, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SiteTemplate]:
    """Made once for each worker."""
    directory = tmp_path_factory.mktemp("site")
    made = SiteTemplate(f"site_{uuid.uuid4().hex}", directory / "cold", directory / "archives.keyring")
    new_keyring(made.keyring)
    postgres_server.create_database(made.database, template=template_database)
    try:
        with opened_site(postgres_server.url(made.database), made.cold, made.keyring) as world:
            init_store(world.services)
            fill(world.services, world.days)
        yield made
    finally:
        postgres_server.drop_database(made.database)


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Another PostgreSQL cluster, of this worker alone: new transaction ids, and nothing in it."""
    run_dir = tmp_path_factory.getbasetemp()
    state_dir = (memory_directory() or run_dir) / f"compliance-drills-{uuid.uuid4().hex}"
    # Its write-ahead log is archived, as that of a production system is.
    wal = state_dir / "wal"
    wal.mkdir(parents=True)
    wal.chmod(0o777)  # the server's account is another one
    archived = {"archive_mode": "on", "archive_command": f"cp %p {wal}/%f"}
    server = EmbeddedPostgres(state_dir, settings={**PRIMARY_SETTINGS, **archived})
    with in_use(server, "postgres", run_dir / "elsewhere.users"):
        yield server


@pytest.fixture
def site(  # noqa: PLR0917 - pytest's
    request: pytest.FixtureRequest,
    postgres_server: EmbeddedPostgres,
    elsewhere: EmbeddedPostgres,
    site_template: SiteTemplate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Site]:
    """A copy of the system, with the settings of whoever runs it in the environment."""
    marker = request.node.get_closest_marker("drill")
    name, lost = marker.args
    database, cold = f"test_{uuid.uuid4().hex}", tmp_path / "cold"
    postgres_server.create_database(database, template=site_template.database)
    copied(site_template.cold, cold)
    command = Command(monkeypatch, capsys, tmp_path)
    values = {"COPY": tmp_path / "copy", "BUCKET": cold, "KEYRING": site_template.keyring, "NAME": KEY.name}
    steps = Steps(name, command, monkeypatch, values)
    try:
        with opened_site(postgres_server.url(database), cold, site_template.keyring) as world:
            command.use(world.services.settings)
            command.set(AUDIT_ARCHIVE_ENCRYPTION="true", AUDIT_ARCHIVE_KEYRING_FILE=str(site_template.keyring))
            made = Site(postgres_server, elsewhere, database, tmp_path, world, command, steps)
            made.point_to(postgres_server, database)
            begun = time.monotonic()
            yield made
            request.node.user_properties += [(_DRILL, name), (_LOST, lost), ("seconds", time.monotonic() - begun)]
    finally:
        postgres_server.drop_database(database)
    steps.finish()


@pytest.fixture
def new_database(elsewhere: EmbeddedPostgres) -> Iterator[str]:
    """The name of a database in the other cluster that is not there yet."""
    name = f"audit_{uuid.uuid4().hex}"
    yield name
    elsewhere.drop_database(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say of each drill what was lost and how long it took, from the loss to the last command."""
    failed = {report.nodeid for report in terminalreporter.getreports("failed")}
    # Those of a teardown that passed have no category.
    for report in (*terminalreporter.getreports(""), *terminalreporter.getreports("error")):
        said = dict(getattr(report, "user_properties", ()))
        if _DRILL in said:
            outcome = "FAILED" if report.nodeid in failed or report.failed else "passed"
            terminalreporter.write_line(f"{said[_DRILL]:<24}{outcome} {said['seconds']:6.1f} s  lost: {said[_LOST]}")
