"""Whatever happens in the middle of an import, nothing is half applied, and a person is told in one line."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from compliance_pipelines.archive.lookup import ArchivedIds
from compliance_pipelines.audit_log import partitions
from compliance_pipelines.audit_log.errors import AppendInterruptedError, AppendNotPossibleError
from compliance_pipelines.audit_log.import_progress import ImportPhase
from compliance_pipelines.audit_log.importing import import_file
from compliance_pipelines.audit_log.rejects import RejectsFile
from tests.integration.audit_log.entries import entry, ids, stored
from tests.integration.audit_log.import_files import line, lines, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from compliance_pipelines.services import Services
    from tests.support.command import Command

CHECKOUT = Path(__file__).resolve().parents[3]
ALL_IDS = [f"entry-{number}" for number in range(20)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Twenty entries, and a line that is none."""
    return write(tmp_path / "events", [*lines(range(20)), "rubbish"])


def in_a_process(url: str, file: Path, rejects: Path | None, step: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "tests.integration.audit_log.import_process",
        url,
        str(file),
        str(rejects or ""),
        step,
    ]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=900, check=False)


def appended(engine: sqlalchemy.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM audit_logs")).scalar_one())


@pytest.mark.parametrize("step", [*ImportPhase, "inserted", "placed"])
def test_an_import_that_is_killed_leaves_nothing_in_the_database_and_can_be_run_again(
    pipeline_database_url: str, engine: sqlalchemy.Engine, file: Path, tmp_path: Path, step: str
) -> None:
    killed = in_a_process(pipeline_database_url, file, tmp_path / "rejects", step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert appended(engine) == 0
    # What was not committed may stand in the rejects too: nothing is lost, and the file is never replaced.
    assert (tmp_path / "rejects").exists() == (step == "placed")

    import_file(
        engine,
        file,
        actor="tests",
        first_day=date(2015, 1, 1),
        archived_ids=_no_archive(),
        rejects=tmp_path / "rejects again",
    )
    assert ids(stored(engine)) == ALL_IDS


def _no_archive() -> Any:  # noqa: ANN401
    return None


def terminate_others(superuser_engine: sqlalchemy.Engine) -> None:
    with superuser_engine.begin() as connection:
        ended = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE usename = 'test_pipeline' AND datname = current_database()"
            )
        ).all()
        assert ended


@pytest.mark.parametrize("last", list(ImportPhase))
def test_a_connection_that_is_lost_leaves_nothing_and_is_said_so(
    services: Services, superuser_engine: sqlalchemy.Engine, file: Path, tmp_path: Path, last: ImportPhase
) -> None:
    def cut_off(phase: ImportPhase, done: int, total: int | None) -> None:
        if phase is last:
            terminate_others(superuser_engine)

    with pytest.raises(AppendInterruptedError, match=r"^the import of .*events was interrupted: .*; run it again"):
        import_file(
            services.engine,
            file,
            actor="tests",
            first_day=date(2015, 1, 1),
            archived_ids=ArchivedIds(services),
            rejects=tmp_path / "rejects",
            progress=cut_off,
        )
    assert appended(superuser_engine) == 0
    assert [path.name for path in tmp_path.iterdir() if "reject" in path.name] == []


def test_rejects_stay_when_nobody_knows_whether_the_import_was_committed(
    services: Services, superuser_engine: sqlalchemy.Engine, file: Path, tmp_path: Path
) -> None:
    commits = 0

    def cut_off(_connection: object) -> None:
        nonlocal commits
        commits += 1
        if commits == len(("staged", "stored")):
            terminate_others(superuser_engine)

    event.listen(services.engine, "commit", cut_off)
    with pytest.raises(AppendInterruptedError, match="run it again"):
        import_file(
            services.engine,
            write(tmp_path / "one day", ["rubbish"]),
            actor="tests",
            first_day=date(2015, 1, 1),
            archived_ids=ArchivedIds(services),
            rejects=tmp_path / "rejects",
        )
    event.remove(services.engine, "commit", cut_off)
    assert (tmp_path / "rejects").read_text() == "rubbish\n"


def test_what_fails_after_the_rejects_are_in_place_takes_them_back(
    services: Services, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = RejectsFile.place

    def fail_after(rejects: RejectsFile) -> None:
        place(rejects)
        raise KeyboardInterrupt

    monkeypatch.setattr(RejectsFile, "place", fail_after)
    with pytest.raises(KeyboardInterrupt):
        import_file(
            services.engine,
            file,
            actor="tests",
            first_day=date(2015, 1, 1),
            archived_ids=ArchivedIds(services),
            rejects=tmp_path / "rejects",
        )
    assert appended(services.engine) == 0
    assert not (tmp_path / "rejects").exists()


def one_line(command: Command, *arguments: object) -> str:
    failed = command(*arguments)
    assert failed.status == 1
    assert failed.out == ""
    (only,) = failed.err.splitlines()
    assert only.startswith("compliance: ")
    return only


def test_a_truncated_gzip_file_is_one_line(command: Command, services: Services, tmp_path: Path) -> None:
    file = write(tmp_path / "events.gz", lines(range(2000)), zipped=True)
    file.write_bytes(file.read_bytes()[:-20])
    assert "the gzip file ends too early; nothing was imported" in one_line(command, "import", file)
    assert appended(services.engine) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_one_line(command: Command, file: Path) -> None:
    file.chmod(0)
    assert "cannot be opened: Permission denied" in one_line(command, "import", file)


@pytest.fixture
def _full_disk() -> Iterator[None]:
    """No file may grow beyond 4 KiB, which is how a full disk looks to whoever writes."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_for_the_rejects_is_one_line(
    command: Command, services: Services, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = write(tmp_path / "events", [*lines(range(20)), *["x" * 1000] * 20])
    request.getfixturevalue("_full_disk")
    assert f"cannot be written to {tmp_path}/rejects: File too large; nothing was imported" in one_line(
        command, "import", file, "--rejects", tmp_path / "rejects"
    )
    assert appended(services.engine) == 0
    assert not (tmp_path / "rejects").exists()


def test_a_database_that_is_not_there_is_one_line(command: Command, file: Path) -> None:
    command.set(AUDIT_LOG_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    said = one_line(command, "import", file)
    assert "the database of AUDIT_LOG_DATABASE_URL did not answer: connection failed" in said


def test_a_login_that_makes_no_partitions_is_told_what_it_lacks(
    writer: sqlalchemy.Engine, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "DENSE_DAY_ENTRIES", 1)
    with pytest.raises(AppendNotPossibleError, match=r"permission denied for function audit_.*compliance check"):
        import_file(
            writer,
            write(tmp_path / "events", lines([1])),
            actor="tests",
            first_day=date(2015, 1, 1),
            archived_ids=ArchivedIds(services),
        )
    assert appended(services.engine) == 0


def test_memory_does_not_grow_with_the_file(pipeline_database_url: str, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        filling = {"text": "x" * 1000}
        content = (line(entry(number, metadata=filling)) for number in range(count))
        run = in_a_process(pipeline_database_url, write(tmp_path / str(count), content, zipped=True), None, "never")
        assert run.returncode == 0, run.stderr
        return int(run.stdout)

    small, large = peak(5_000), peak(20_000)
    # 16 MiB of lines more: none of them is kept.
    assert large - small <= 4
