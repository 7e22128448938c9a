"""PostgreSQL crashes, the store fails, a process is killed, midnight passes, wherever a pass is: the next one finishes.

In whatever order: no entry is lost or sealed twice, database and cold store tell the same story, and the verification
has no finding.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.archive.store_init import init_store
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.partitions import ensure_days
from compliance_pipelines.audit_log.reading import ReadingError
from compliance_pipelines.ledger import sealing, sql
from compliance_pipelines.ledger.checkpoint import SigningKey
from compliance_pipelines.ledger.keyring import Keyring
from compliance_pipelines.ledger.lag import sealing_lag
from compliance_pipelines.ledger.log_reading import read_head
from compliance_pipelines.ledger.rotation import ACTION, RotationStep, rotate_key
from compliance_pipelines.ledger.sealing import SealStep
from compliance_pipelines.local_stack.postgres import EmbeddedPostgres
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.object_store.port import ObjectStoreError
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.postgres.locks import LockLostError
from compliance_pipelines.services import Services
from compliance_pipelines.settings import Settings
from compliance_pipelines.verification.online import verify
from tests.integration.archive.days import entry
from tests.integration.archive.faulty_store import Fault, FaultyStore
from tests.integration.ledger.inspector import FUNCTIONS, Inspector
from tests.support.logins import login_url, make_logins
from tests.support.servers import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_ROUNDS: Final = 14
_ROTATIONS: Final = 4
_STEPS_OF_ROTATIONS: Final = (
    *RotationStep,
    SealStep.TILES_PUT,
    "key record put",
    SealStep.PARTIAL_TILES_REMOVED,
    SealStep.CHECKPOINT_PUT,
    SealStep.PUBLISHED,
    SealStep.PUBLICATION_RECORDED,
)
_DATABASE: Final = "crashing"
_FIRST_DAY: Final = date(2026, 6, 1)


class CrashingPostgres(EmbeddedPostgres):
    """A server that ends without a checkpoint and without ending its sessions, so that the next start recovers."""

    _shutdown: ClassVar[tuple[tuple[signal.Signals, float], ...]] = ((signal.SIGQUIT, 600.0),)

    def crash(self) -> None:
        self.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashingPostgres]:
    server = CrashingPostgres(tmp_path_factory.mktemp("crashing"), settings={"shared_buffers": "16MB"})
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass
class World:
    """A database that may crash, and a store that may fail."""

    server: CrashingPostgres
    store: LocalObjectStore
    key: SigningKey
    settings: Settings
    midnights: int = 0

    @contextmanager
    def services(self, fault: Fault | None = None) -> Iterator[Services]:
        """Everything opened anew: after a crash the server may have another port."""
        url = login_url(self.server.url(_DATABASE), "test_pipeline")
        settings = self.settings.model_copy(update={"audit_log_database_url": url})
        engine = create_engine(url, pool_size=3)
        try:
            store = FaultyStore(self.store, fault)
            yield Services(settings, engine, store, Keyring.of(self.key), lambda: datetime.now(UTC))
        finally:
            engine.dispose()

    def append(self, day: date, count: int) -> list[str]:
        with self.services() as services:
            with services.engine.begin() as connection:
                ensure_days(connection, [day])
            entries = [entry(day, number) for number in range(count)]
            AuditLog(services.engine).append_many(entries)
            return [each.log_entry_id for each in entries]

    def seal(self, step: Callable[[str], None] = lambda _: None, fault: Fault | None = None) -> None:
        with self.services(fault) as services:
            sealing.seal(services, step=step)

    def rotate(self, new: SigningKey, step: Callable[[str], None] = lambda _: None, fault: Fault | None = None) -> None:
        with self.services(fault) as services:
            rotate_key(services, new, step=step)


@pytest.fixture
def world(server: CrashingPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    server.create_database(_DATABASE)
    migrate(server.url(_DATABASE))
    make_logins(server.url(_DATABASE))
    store = LocalObjectStore(tmp_path / "cold")
    store.create()
    settings = Settings(
        _env_file=None,
        audit_cold_storage_provider="local",
        audit_cold_storage_path=tmp_path / "cold",
        compliance_local_stack=True,
    )
    world = World(server, store, SigningKey.generate("tests.example/audit"), settings)
    with world.services() as services:
        init_store(services)

    # The only clock of a pass is the database's.
    monkeypatch.setattr(sealing, "sql", _Statements(lambda: world.midnights))
    yield world
    server.start()
    server.drop_database(_DATABASE)


class _Statements:
    """Sealing's statements, with the database's clock some midnights later."""

    def __init__(self, midnights: Callable[[], int]) -> None:
        self._midnights = midnights

    def __getattr__(self, name: str) -> object:
        if name != "HORIZON":
            return getattr(sql, name)
        days = self._midnights()
        return sqlalchemy.text(
            f"SELECT audit_tx_horizon() AS horizon, clock_timestamp() + interval '{days} days' AS now"
        )


def _once(at: str, times: int, happen: Callable[[], None]) -> Callable[[str], None]:
    """A step hook with which something happens once: at a step, after it was let pass some times."""
    left = times

    def step(done: str) -> None:
        nonlocal left
        if done == at:
            left -= 1
            if left == -1:
                happen()

    return step


def _killed(work: Callable[[Callable[[str], None]], None], at: str, times: int = 0) -> bool:
    """Let work in a process of its own be killed by SIGKILL at a step; says whether it reached it."""
    child = os.fork()
    if child == 0:
        try:
            work(_once(at, times, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


class _Work(Protocol):
    """What is disturbed."""

    def __call__(self, step: Callable[[str], None] = ..., fault: Fault | None = None) -> None: ...


def _disturbed(world: World, work: _Work, steps: Sequence[str], chance: random.Random) -> str:
    """Let some work begin and be disturbed; it may have come to its end before."""
    kind = chance.choice(["crash", "store", "lost answer", "killed", "nothing"])
    at, times = chance.choice(steps), chance.randrange(2)
    if kind in {"store", "lost answer"}:
        fault = Fault(call=chance.randrange(1, 16), done=kind == "lost answer")
        with suppress(ObjectStoreError):
            work(fault=fault)
        return f"{kind} at call {fault.call}"
    if kind == "nothing":
        work()
        return kind
    if kind == "killed":
        _killed(work, at, times)
    else:
        with suppress(DBAPIError, LockLostError, ReadingError):
            work(_once(at, times, world.server.crash))
        world.server.start()
    return f"{kind} at {at}, after {times}"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_disturbs_passes_the_next_one_finishes(world: World, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - reproducible
    appended: list[str] = []
    happened: list[str] = []
    for _ in range(_ROUNDS):
        world.midnights += chance.random() < 0.3
        for _ in range(chance.randrange(3)):
            appended += world.append(_FIRST_DAY + timedelta(days=chance.randrange(3)), chance.randrange(1, 4))
        happened.append(_disturbed(world, world.seal, list(SealStep), chance))
    world.seal()
    _assert_intact(world, appended, happened)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_disturbs_rotations_of_the_key_the_next_call_finishes(world: World, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - reproducible
    appended: list[str] = []
    happened: list[str] = []
    for _ in range(_ROTATIONS):
        world.midnights += chance.random() < 0.3
        appended += world.append(_FIRST_DAY, 2)
        world.seal()
        new = SigningKey.generate("tests.example/audit")
        rotate = partial(world.rotate, new)
        for _ in range(chance.randrange(1, 4)):
            happened.append(_disturbed(world, rotate, _STEPS_OF_ROTATIONS, chance))
            appended += world.append(_FIRST_DAY, 1)
        rotate()
        world.key = new
        world.seal()
    followed = read_head(world.store, world.key.verifier_key()).keys
    assert len(followed) == _ROTATIONS, happened
    with world.services() as services, services.engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text("SELECT log_entry_id, action FROM audit_logs"))]
        waiting = sealing_lag(connection, datetime.now(UTC))
    assert sorted(each for each, action in found if action != ACTION) == sorted(appended), happened
    assert sum(action == ACTION for _, action in found) == _ROTATIONS, happened
    assert waiting is None, happened
    _assert_intact(world, appended, happened, sealed=False)


def test_a_pass_killed_when_it_has_kept_the_last_checkpoint_of_a_day_is_finished(world: World) -> None:
    appended = world.append(_FIRST_DAY, 2)
    world.seal()
    world.midnights += 1
    appended += world.append(_FIRST_DAY, 2)
    assert _killed(world.seal, SealStep.DAY_KEPT)
    _assert_intact(world, appended, [], sealed=False)
    world.seal()
    _assert_intact(world, appended, [])


def _assert_intact(world: World, appended: Sequence[str], happened: Sequence[str], *, sealed: bool = True) -> None:
    superuser = create_engine(world.server.url(_DATABASE), pool_size=2)
    try:
        with world.services() as services:
            if sealed:
                with superuser.begin() as connection:
                    connection.exec_driver_sql(FUNCTIONS.read_text(encoding="utf-8"))
                Inspector(services, superuser).assert_each_is_sealed_once(appended)
            report = verify(services)
        assert (report.findings, report.undecided) == ((), ()), happened
    finally:
        superuser.dispose()
