from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from compliance_pipelines.archive.errors import StagingError
from compliance_pipelines.archive.staging import remove_abandoned, staging_directory, staging_file
from compliance_pipelines.base.errors import TransientError

if TYPE_CHECKING:
    from pathlib import Path

_HOLD = """
import sys
from pathlib import Path
from compliance_pipelines.archive.staging import staging_file
with staging_file(Path(sys.argv[1]), ".parquet") as path:
    path.write_bytes(b"half of it")
    print(path, flush=True)
    sys.stdin.read()
"""


def test_a_staging_file_is_gone_after_the_block_also_after_an_error(tmp_path: Path) -> None:
    def write_and_fail() -> None:
        with staging_file(tmp_path / "new", ".parquet") as path:
            path.write_bytes(b"content")
            raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        write_and_fail()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_killed_process_leaves_a_file_that_the_next_one_removes_and_a_living_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    held = [
        subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        paths = [tmp_path / process.stdout.readline().strip() for process in held if process.stdout]
        assert remove_abandoned(tmp_path, ".parquet") == 0
        held[0].send_signal(signal.SIGKILL)
        held[0].wait()
        with staging_file(tmp_path, ".parquet") as mine:
            assert not paths[0].exists()
            assert paths[1].read_bytes() == b"half of it"
            assert mine.exists()
    finally:
        for process in held:
            process.kill()
            process.communicate()


def test_the_systems_directory_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    ours = staging_directory(None)
    assert ours.parent == tmp_path
    assert ours.stat().st_mode & 0o777 == 0o700
    assert staging_directory(None) == ours

    ours.chmod(0o777)
    with pytest.raises(StagingError, match=r"others may write there; .*ARCHIVE_STAGING_PATH"):
        staging_directory(None)


def test_a_link_that_somebody_laid_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    staging_directory(None).rename(tmp_path / "elsewhere")
    (tmp_path / f"compliance-pipelines-staging-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StagingError, match="belongs to somebody else"):
        staging_directory(None)


def test_a_directory_that_cannot_be_used_is_named_and_may_work_later(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    with (
        pytest.raises(StagingError, match="file cannot be used for staging files") as caught,
        staging_file(in_the_way, ".parquet"),
    ):
        pass
    assert isinstance(caught.value, TransientError)
