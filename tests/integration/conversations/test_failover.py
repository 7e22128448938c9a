"""The master is killed and Sentinel promotes its replica: between two purges, and in the middle of one.

Replication is asynchronous: what the master had not sent on when it died is lost. Where a test is about something else,
it waits until the replica has everything; where it is about that, it cuts the replica off before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis import Redis

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.conversations import record
from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.health import RETENTION_COMMANDS, RedisUse, check_redis, retention_uses
from compliance_pipelines.conversations.keys import KeyLayout
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.conversations.store import CheckpointStore
from tests.integration.conversations.conftest import World, bind
from tests.integration.conversations.servers import running_replicated
from tests.integration.conversations.test_faults import fill, purge_in_a_process_that_dies
from tests.support.stops import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from compliance_pipelines.conversations.purge import PurgeReport
    from compliance_pipelines.services import Services
    from tests.integration.conversations.servers import ReplicatedMaster


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ReplicatedMaster]:
    with running_replicated(tmp_path / "pair") as servers:
        yield servers


@pytest.fixture
def behind(services: Services, pair: ReplicatedMaster) -> Iterator[World]:
    """Conversations behind a Sentinel; the clients of the test and of its retention stay open all the time."""
    store = CheckpointStore(connect_url(pair.url))
    client = connect_url(pair.url)
    assert isinstance(client, Redis)
    bind(services, store)
    yield World(services, store, client, pair.url)
    store.close()
    client.close()


def test_what_was_interrupted_before_a_failover_is_finished_after_it(behind: World, pair: ReplicatedMaster) -> None:
    """Everything was removed and nothing recorded: only the receipt knows, and it moves to the new master as well."""
    expected = fill(behind)
    total = len(behind.names())
    purge_in_a_process_that_dies(behind, PurgeStep.REMOVED)
    pair.await_replication()
    pair.kill_master()
    pair.fail_over()

    report = behind.retention().purge()

    (finished,) = report.finished
    assert (finished.threads_deleted, finished.threads_resurrected) == (3, 0)
    assert (finished.keys_deleted, finished.key_counts) == (total, expected)
    assert (finished.bytes_unknown, finished.bytes_freed > 0) == (0, True)
    assert not behind.names()


def test_after_a_failover_an_open_and_a_new_client_go_on_over_the_same_url(
    behind: World, pair: ReplicatedMaster
) -> None:
    expected = fill(behind)
    total = len(behind.names())
    assert len(behind.retention().plan().due) == 3
    purge_in_a_process_that_dies(behind, PurgeStep.ATTEMPT_NOTED)
    pair.await_replication()
    pair.kill_master()
    pair.fail_over()

    store = CheckpointStore(connect_url(pair.url))
    report = Retention(behind.services, store).purge()
    store.close()

    (finished,) = report.finished
    assert (finished.threads_deleted, finished.keys_deleted, finished.key_counts) == (3, total, expected)
    assert not behind.names()

    behind.writer().say("later", at=behind.ago(95))
    again = behind.retention().purge()

    assert again.purged is not None
    assert again.purged.threads_deleted == 1
    assert not behind.names()


@pytest.mark.parametrize("step", [PurgeStep.FROZEN, PurgeStep.ATTEMPT_NOTED, PurgeStep.REMOVED])
def test_a_master_that_dies_in_the_middle_of_a_purge_stops_it_until_there_is_another(
    behind: World, pair: ReplicatedMaster, step: PurgeStep
) -> None:
    """Whenever it is run again meanwhile, it says that it is to be run again; then it finishes, and counts truly."""
    expected = fill(behind)
    total = len(behind.names())

    def kill(done: PurgeStep, /) -> None:
        if done is step:
            pair.await_replication()
            pair.kill_master()

    with pytest.raises(TransientError, match="run it again"):
        behind.retention(hook=kill).purge()
    with pytest.raises(TransientError, match="run it again"):
        behind.retention().purge()
    pair.let_sentinel_act()
    reports: list[PurgeReport] = []

    def finishes() -> bool:
        try:
            reports.append(behind.retention().purge())
        except TransientError as error:
            assert "run it again" in str(error)  # noqa: PT017 - until it is over, every attempt must end so
        return bool(reports)

    until("the new master", finishes)

    (finished,) = reports[0].finished
    assert (finished.threads_deleted, finished.threads_resurrected) == (3, 0)
    assert (finished.keys_deleted, finished.key_counts) == (total, expected)
    assert finished.bytes_unknown == 0
    assert not behind.names()


def test_a_deletion_that_was_neither_replicated_nor_recorded_is_done_again(
    behind: World, pair: ReplicatedMaster
) -> None:
    """The new master has the conversations and no receipt: they are lost together, so nothing is counted twice."""
    expected = fill(behind)
    total = len(behind.names())
    pair.await_replication()
    pair.cut_replication()
    purge_in_a_process_that_dies(behind, PurgeStep.REMOVED)
    pair.kill_master()
    pair.fail_over()
    assert len(behind.names()) == total

    report = behind.retention().purge()

    (finished,) = report.finished
    assert (finished.threads_deleted, finished.threads_resurrected) == (3, 0)
    assert (finished.keys_deleted, finished.key_counts) == (total, expected)
    assert report.purged is not None
    assert report.purged.threads_deleted == 0
    assert not behind.names()


def test_a_deletion_that_was_recorded_and_not_replicated_is_reported_and_done_again(
    behind: World, pair: ReplicatedMaster
) -> None:
    """What replication may lose after all: the record says removed, the new master brings them back."""
    expected = fill(behind)
    total = len(behind.names())
    pair.await_replication()
    pair.cut_replication()

    def kill(done: PurgeStep, /) -> None:
        if done is PurgeStep.OUTCOMES_RECORDED:
            pair.kill_master()

    with pytest.raises(TransientError, match="run it again"):
        behind.retention(hook=kill).purge()
    pair.fail_over()
    assert len(behind.names()) == total
    retention = behind.retention()
    assert retention.resurrected(retention.survey()) == ["chat", "shallow", "waiting"]

    report = retention.purge()

    (finished,) = report.finished
    assert (finished.threads_deleted, finished.threads_resurrected) == (3, 3)
    assert (finished.keys_deleted, finished.key_counts) == (total, expected)
    assert report.purged is not None
    assert (report.purged.threads_deleted, report.purged.keys_deleted) == (3, total)
    assert not behind.names()
    assert retention.resurrected(retention.survey()) == []
    with behind.services.engine.connect() as connection:
        assert not record.open_purges(connection)


def test_a_new_master_that_still_lacks_replicas_is_waited_for(world: World) -> None:
    """With min-replicas-to-write, which bounds what a failover loses, it refuses to write until it has some."""
    expected = fill(world)
    total = len(world.names())
    world.client.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(TransientError, match=r"NOREPLICAS.*run it again"):
            world.retention().purge()
    finally:
        world.client.config_set("min-replicas-to-write", 0)
    assert len(world.names()) == total

    report = world.retention().purge()

    (finished,) = report.finished
    assert (finished.threads_deleted, finished.keys_deleted, finished.key_counts) == (3, total, expected)
    assert not world.names()


def test_a_replica_is_called_that(behind: World, pair: ReplicatedMaster) -> None:
    pair.await_replication()
    client = connect_url(pair.replica.url())
    use = RedisUse("CHECKPOINT_REDIS_URL", client, retention_uses(KeyLayout()), RETENTION_COMMANDS)
    failing = [check for check in check_redis(use, lambda: None) if not check.ok]
    client.close()
    assert [check.name for check in failing] == ["CHECKPOINT_REDIS_URL: environment", "CHECKPOINT_REDIS_URL: role"]
    assert "read-only replica" in failing[1].message
    with pytest.raises(TransientError, match="read-only replica"):
        Retention(behind.services, CheckpointStore(connect_url(pair.replica.url()))).purge()
