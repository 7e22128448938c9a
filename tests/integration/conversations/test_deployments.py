"""Retention over a cluster, behind a Sentinel, over TLS, in another database."""

from __future__ import annotations

import os
import re
import signal
import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from redis import Redis, RedisCluster
from redis.connection import SSLConnection

from compliance_pipelines.audit_log.environment import environment_of
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.conversations.connection import connect_url
from compliance_pipelines.conversations.environment import ENVIRONMENT_KEY
from compliance_pipelines.conversations.errors import ConversationError
from compliance_pipelines.conversations.health import RETENTION_COMMANDS, RedisUse, check_redis, retention_uses
from compliance_pipelines.conversations.keys import KeyLayout
from compliance_pipelines.conversations.place import STORE_KEY
from compliance_pipelines.conversations.purge import Retention
from compliance_pipelines.conversations.steps import PurgeStep
from compliance_pipelines.conversations.store import CheckpointStore
from compliance_pipelines.postgres.engine import create_engine
from compliance_pipelines.settings import ConfigurationError
from tests.integration.conversations.conftest import bind
from tests.integration.conversations.savers import Writer, saved_in
from tests.integration.conversations.servers import (
    free_port,
    running,
    running_cluster,
    running_sentinel,
    running_tls,
    running_tls_cluster,
)
from tests.support.redis_commands import execute, node_of, primaries
from tests.support.stops import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from compliance_pipelines.base.clock import Clock
    from compliance_pipelines.conversations.steps import StepHook
    from compliance_pipelines.local_stack.redis import EmbeddedRedis
    from compliance_pipelines.services import Services
    from tests.integration.conversations.conftest import World
    from tests.integration.conversations.servers import TlsCluster

# An address that leads to this machine and is no loopback address.
_ELSEWHERE: Final = "0.0.0.0"  # noqa: S104 - to connect to


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture(scope="module")
def tls_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsCluster]:
    with running_tls_cluster(tmp_path_factory.mktemp("tls-cluster")) as servers:
        yield servers


class Cluster:
    """Conversations on a cluster, and the retention over it."""

    def __init__(self, url: str, services: Services) -> None:
        self.url = url
        self.services = services
        client = connect_url(url)
        assert isinstance(client, RedisCluster)
        self.client = client
        for node in primaries(client):
            client.flushall(target_nodes=node)
        # The savers cannot read RediSearch's answers from a cluster in the newer protocol.
        savers = RedisCluster.from_url(url.replace("+cluster", ""), protocol=2)
        bind(services, CheckpointStore(client))
        self.writers = {kind: Writer(savers, url, kind) for kind in ("full", "shallow")}

    @property
    def clock(self) -> Clock:
        return self.services.clock

    def retention(self, hook: StepHook | None = None) -> Retention:
        store = CheckpointStore(self.client)
        return Retention(self.services, store) if hook is None else Retention(self.services, store, hook)

    def names(self) -> set[bytes]:
        return set(self.client.scan_iter(count=1000)) - {ENVIRONMENT_KEY.encode(), STORE_KEY.encode()}


@pytest.fixture
def cluster(cluster_url: str, services: Services) -> Cluster:
    return Cluster(cluster_url, services)


def test_a_cluster_is_looked_at_on_every_node(cluster: Cluster) -> None:
    with cluster.services.engine.connect() as connection:
        environment = environment_of(connection)
    names = cluster.names()
    use = RedisUse("CHECKPOINT_REDIS_URL", cluster.client, retention_uses(KeyLayout()), RETENTION_COMMANDS)
    checks = {check.name: check for check in check_redis(use, lambda: environment)}
    assert all(check.ok for check in checks.values()), checks
    assert checks["CHECKPOINT_REDIS_URL: connection"].message.endswith("a cluster")
    assert cluster.names() == names
    node = primaries(cluster.client)[-1]
    cluster.client.config_set("appendonly", "no", target_nodes=node)
    try:
        checks = {check.name: check for check in check_redis(use, lambda: environment)}
    finally:
        cluster.client.config_set("appendonly", "yes", target_nodes=node)
    assert checks["CHECKPOINT_REDIS_URL: persistence"].message.startswith(f"{node.name}: appendonly is off")


@pytest.mark.parametrize("kind", ["full", "shallow"])
def test_on_a_cluster_every_key_on_every_node_goes(cluster: Cluster, world: World, kind: str) -> None:
    writer = cluster.writers[kind]
    writer.ask("waiting", at=world.ago(100))
    writer.say("chat:1", at=world.ago(95))
    planned = cluster.names()
    writer.say("young", at=world.ago(1))
    kept = cluster.names() - planned
    assert len({node_of(cluster.client, key).port for key in planned}) == 3

    report = cluster.retention().purge()

    assert cluster.names() == kept
    assert report.purged is not None
    assert report.purged.threads_deleted == 2
    assert report.purged.keys_deleted == len(planned)
    assert report.purged.bytes_freed > 0


@pytest.mark.parametrize("kind", ["full", "shallow"])
def test_on_a_cluster_a_conversation_that_moved_is_left_alone(cluster: Cluster, world: World, kind: str) -> None:
    writer = cluster.writers[kind]
    writer.ask("waiting", at=world.ago(100))

    def resume(step: PurgeStep, /) -> None:
        if step is PurgeStep.FROZEN:
            writer.consent("waiting", at=world.now)

    report = cluster.retention(resume).purge()

    assert report.purged is not None
    assert (report.purged.threads_moved, report.purged.threads_deleted) == (1, 0)
    assert [key for key in cluster.names() if key.startswith(b"checkpoint:waiting:")]


def test_on_a_cluster_a_pending_write_alone_counts_as_a_move(cluster: Cluster, world: World) -> None:
    writer = cluster.writers["full"]
    writer.say("thread", at=world.ago(100))

    def write(step: PurgeStep, /) -> None:
        if step is PurgeStep.FROZEN:
            saver = writer.saver()
            saved = saved_in(saver, "thread")
            saver.put_writes(saved.config, [("messages", ["late"])], "a-task")

    report = cluster.retention(write).purge()

    assert report.purged is not None
    assert report.purged.threads_moved == 1


def test_on_a_cluster_a_killed_purge_is_finished_and_its_keys_are_counted(cluster: Cluster, world: World) -> None:
    cluster.writers["full"].ask("waiting", at=world.ago(100))
    total = len(cluster.names())
    child = os.fork()
    if child == 0:
        try:
            own = replace(
                world.services, engine=create_engine(world.services.settings.require_database_url(), pool_size=3)
            )

            def die(step: PurgeStep, /) -> None:
                if step is PurgeStep.REMOVED:
                    os.kill(os.getpid(), signal.SIGKILL)

            Retention(own, CheckpointStore(connect_url(cluster.url)), die).purge()
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])

    report = cluster.retention().purge()

    assert not cluster.names()
    (finished,) = report.finished
    assert (finished.threads_deleted, finished.keys_deleted, finished.bytes_unknown) == (1, total, 1)


def test_on_a_cluster_every_node_is_reached_over_tls(tls_cluster: TlsCluster, services: Services, world: World) -> None:
    cluster = Cluster(f"{tls_cluster.url}?ssl_ca_certs={tls_cluster.ca}", services)
    cluster.writers["full"].ask("waiting", at=world.ago(100))
    cluster.writers["shallow"].say("chat:1", at=world.ago(95))
    planned = cluster.names()
    assert {node_of(cluster.client, key).port for key in planned} == tls_cluster.ports

    report = cluster.retention().purge()

    assert not cluster.names()
    assert report.purged is not None
    assert (report.purged.threads_deleted, report.purged.keys_deleted) == (2, len(planned))
    connections = [node.redis_connection.connection_pool.connection_class for node in primaries(cluster.client)]
    assert connections == [SSLConnection] * 3


def test_a_cluster_whose_certificate_nobody_vouches_for_is_refused(tls_cluster: TlsCluster) -> None:
    with pytest.raises(TransientError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        connect_url(tls_cluster.url)


def test_a_cluster_with_an_older_tls_is_refused(tls_cluster: TlsCluster) -> None:
    url = f"{tls_cluster.url}?ssl_ca_certs={tls_cluster.ca}"
    newest = tls_cluster.context.maximum_version
    tls_cluster.context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        connect_url(url, tls_min_version="TLSv1.2").close()
        with pytest.raises(TransientError, match="the connection to the cluster"):
            connect_url(url)
    finally:
        tls_cluster.context.maximum_version = newest


@pytest.mark.parametrize("url", ["redis+cluster://redis.example:6379", "redis://redis.example:6379?cluster=true"])
def test_a_remote_cluster_without_tls_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unencrypted to redis\.example"):
        connect_url(url)


def test_the_nodes_that_a_local_node_names_are_not_reached_without_tls_either(tmp_path: Path) -> None:
    settings = {"cluster_enabled": "yes", "cluster_port": str(free_port()), "cluster_announce_ip": _ELSEWHERE}
    with running(tmp_path / "node", **settings) as node:
        with Redis.from_url(node.url()) as client:
            execute(client, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until("the cluster", lambda: b"cluster_state:ok" in execute(client, "CLUSTER", "INFO"))
        url = node.url().replace("redis:", "redis+cluster:")
        with pytest.raises(ConfigurationError, match=f"unencrypted to {_ELSEWHERE}"):
            connect_url(url)
        permitted = connect_url(url, allow_plaintext=True)
        assert permitted.dbsize() == 0
        permitted.close()


def test_the_master_that_a_local_sentinel_names_is_not_reached_without_tls_either(
    world: World, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    with running_sentinel(tmp_path / "sentinel", redis_server, _ELSEWHERE) as port:
        url = f"redis+sentinel://:{redis_server.password}@127.0.0.1:{port}/checkpoints/0"
        with pytest.raises(ConfigurationError, match=f"unencrypted to {_ELSEWHERE}"):
            Retention(world.services, CheckpointStore(connect_url(url))).plan()
        Retention(world.services, CheckpointStore(connect_url(url, allow_plaintext=True))).plan()


def test_a_cluster_that_is_not_there_may_be_there_later(redis_server: EmbeddedRedis) -> None:
    with pytest.raises(TransientError, match=r"Redis did not answer: .*run it again"):
        connect_url(f"redis+cluster://127.0.0.1:{free_port()}")
    with pytest.raises(ConversationError, match="cluster support disabled"):
        connect_url(redis_server.url().replace("redis:", "redis+cluster:"))


def test_a_cluster_that_refuses_the_login_says_so(cluster_url: str) -> None:
    with pytest.raises(ConversationError, match="refused the login"):
        connect_url(f"redis+cluster://:wrong@{cluster_url.rpartition('@')[2]}")


@pytest.mark.parametrize("url", ["unix+cluster:///tmp/redis.sock", "redis+cluster://localhost?db=1"])
def test_what_a_cluster_does_not_have_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CHECKPOINT_REDIS_URL cannot be used"):
        connect_url(url)


def test_behind_a_sentinel_the_master_is_found(world: World, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    world.writer().say("old", at=world.ago(100))
    with running_sentinel(tmp_path / "sentinel", redis_server) as port:
        url = f"redis+sentinel://:{redis_server.password}@127.0.0.1:{port}/checkpoints/0"
        store = CheckpointStore(connect_url(url))
        report = Retention(world.services, store).purge()
        store.close()
    assert report.purged is not None
    assert report.purged.threads_deleted == 1
    assert not world.names()


def test_over_tls_with_a_trusted_certificate(world: World, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    world.writer().say("old", at=world.ago(100))
    with running_tls(tmp_path, redis_server, ssl.TLSVersion.TLSv1_3) as url:
        store = CheckpointStore(connect_url(url))
        report = Retention(world.services, store).purge()
        store.close()
        assert report.purged is not None
        assert report.purged.threads_deleted == 1
        with pytest.raises(TransientError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
            Retention(world.services, CheckpointStore(connect_url(url.partition("?")[0]))).plan()


def test_a_server_with_an_older_tls_is_refused(world: World, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    with running_tls(tmp_path, redis_server, ssl.TLSVersion.TLSv1_2) as url:
        Retention(world.services, CheckpointStore(connect_url(url, tls_min_version="TLSv1.2"))).plan()
        with pytest.raises(TransientError):
            Retention(world.services, CheckpointStore(connect_url(url))).plan()


def test_another_database_has_no_index_and_needs_none(world: World, redis_server: EmbeddedRedis) -> None:
    world.writer().ask("old", at=world.ago(100))
    with Redis.from_url(redis_server.url(3)) as elsewhere:
        for key in world.names():
            world.client.copy(key.decode(), key.decode(), destination_db="3")
        before = world.names()
        store = CheckpointStore(connect_url(redis_server.url(3)))
        bind(world.services, store)

        report = Retention(world.services, store).purge()

        store.close()
        assert report.purged is not None
        assert report.purged.threads_deleted == 1
        assert set(elsewhere.keys()) == {ENVIRONMENT_KEY.encode(), STORE_KEY.encode()}
        elsewhere.flushdb()
    assert world.names() == before


def test_the_login_needs_no_more_commands_than_the_document_names(world: World, redis_server: EmbeddedRedis) -> None:
    document = Path(__file__).parents[3].joinpath("docs", "conversations.md").read_text(encoding="utf-8")
    named = document.partition("The commands that the login needs:")[2].partition("for the receipt")[0]
    commands = [name.lower().replace(" ", "|") for name in re.findall(r"`([A-Z. ]+)`", named)]
    assert "unlink" in commands
    allowed = [f"+{name}" for name in commands]
    world.writer().ask("old", at=world.ago(100))
    execute(world.client, "ACL", "SETUSER", "retention", "reset", "on", ">secret", "~*", "-@all", *allowed)
    try:
        store = CheckpointStore(connect_url(f"redis://retention:secret@127.0.0.1:{redis_server.port}/0"))
        Retention(world.services, store).purge()
        store.close()
    finally:
        execute(world.client, "ACL", "DELUSER", "retention")
    assert not world.names()


def test_a_login_that_may_not_delete_is_told_so_and_nothing_is_lost(world: World, redis_server: EmbeddedRedis) -> None:
    world.writer().ask("old", at=world.ago(100))
    before = world.names()
    execute(world.client, "ACL", "SETUSER", "retention", "reset", "on", ">secret", "~*", "+@all", "-unlink")
    try:
        store = CheckpointStore(connect_url(f"redis://retention:secret@127.0.0.1:{redis_server.port}/0"))
        with pytest.raises(ConversationError, match="Redis"):
            Retention(world.services, store).purge()
        store.close()
    finally:
        execute(world.client, "ACL", "DELUSER", "retention")
    assert world.names() == before
    world.retention().purge()
    assert not world.names()
