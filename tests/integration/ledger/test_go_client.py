"""A program that shares nothing with the package reads the log: Go's golang.org/x/mod/sumdb, as Debian packages it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, day_key
from compliance_pipelines.ledger.records import Statement, StatementKind
from compliance_pipelines.ledger.tiles import ENTRIES, Tile
from compliance_pipelines.object_store.local import LocalObjectStore
from tests.unit.ledger.logs import BEGIN, KEY, extend, made_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from compliance_pipelines.ledger.log_reading import LogHead

SOURCE: Final = Path(__file__).parents[2] / "go/tlog_client.go"
PACKAGES: Final = Path("/usr/share/gocode")
"""Where golang-golang-x-mod-dev puts them."""

pytestmark = [
    pytest.mark.go,
    pytest.mark.skipif(
        shutil.which("go") is None or not (PACKAGES / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
        reason="needs Debian's golang-go and golang-golang-x-mod-dev",
    ),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("go") / "tlog_client"
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": str(PACKAGES), "GOCACHE": str(built.parent / "cache")}
    subprocess.run(["go", "build", "-o", built, SOURCE], env=environment, check=True)
    return built


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    store = LocalObjectStore(tmp_path / "cold")
    store.create()
    return store


@pytest.fixture
def log(store: LocalObjectStore) -> LogHead:
    """Two days of passes, more than two tiles, with a statement at the end."""
    log = made_log(store, (3, 250, 1, 2, 5, 270, 1))
    assert log.last is not None
    said = Statement(log.head.size, StatementKind.LOSS, log.head.tx_horizon, log.last.sealed_at, b"whatever it says")
    return extend(store, log, [said])


@pytest.fixture
def read(client: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def read(*older: Path) -> subprocess.CompletedProcess[str]:
        key = KEY.verifier_key().to_note_string()
        return subprocess.run(
            [client, tmp_path / "cold", key, *older], capture_output=True, text=True, check=False, timeout=120
        )

    return read


def test_the_log_is_read_and_every_record_proved_to_be_in_it(
    read: Callable[..., subprocess.CompletedProcess[str]], log: LogHead, tmp_path: Path
) -> None:
    kept = tmp_path / "cold" / day_key(BEGIN.date())
    result = read(kept)
    assert (result.stderr, result.stdout) == ("", f"{log.head.size} {log.head.root.hex()}\n")


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize(
    ("key", "at"),
    [
        (Tile(ENTRIES, 0).key, 40),
        (Tile(ENTRIES, 2, 21).key, 40),
        (Tile(0, 1).key, 40),
        (Tile(1, 0, 2).key, 40),
        (CHECKPOINT_KEY, 20),
    ],
)
def test_what_was_altered_is_refused(
    read: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, key: str, at: int
) -> None:
    path = tmp_path / "cold" / key
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.unlink()
    path.write_bytes(data)
    assert read().returncode == 1


def test_a_log_that_does_not_extend_a_remembered_checkpoint_is_refused(
    read: Callable[..., subprocess.CompletedProcess[str]], log: LogHead, tmp_path: Path
) -> None:
    other = LocalObjectStore(tmp_path / "other")
    other.create()
    made_log(other, (3, 250), variant=1)
    result = read(tmp_path / "other" / CHECKPOINT_KEY)
    assert (result.returncode, result.stdout) == (1, "")
