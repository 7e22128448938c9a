"""A TLS front for the embedded PostgreSQL, which is built without TLS.

It answers PostgreSQL's SSLRequest, shakes hands as a server with a certificate does, and passes the bytes on in both
directions: the handshake is real, and so is the database behind it.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
_SECONDS: Final = 900
_NOT_NOW: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


@dataclass
class Front:
    """A running front.

    Attributes:
        port: of 127.0.0.1.
        served: a thread for each connection; what it saw is noted when it has ended.
    """

    port: int
    served: list[threading.Thread] = field(default_factory=list)
    _versions: list[str] = field(default_factory=list)
    _plaintext: int = 0

    def note_version(self, version: str) -> None:
        """Note the TLS version of a handshake."""
        self._versions.append(version)

    def note_plaintext(self) -> None:
        """Note a client that went on without TLS."""
        self._plaintext += 1

    @property
    def versions(self) -> list[str]:
        """The TLS version of each handshake that succeeded; `refused` for one that did not. Clients must be closed."""
        self._await_ends()
        return self._versions

    @property
    def plaintext(self) -> int:
        """How many clients went on without TLS. They must be closed."""
        self._await_ends()
        return self._plaintext

    def _await_ends(self) -> None:
        for each in self.served:
            each.join(_SECONDS)
            assert not each.is_alive(), "a client is still connected"


class _Connection:
    """A socket that one thread reads and another one writes; TLS has one state for both, so that they take turns."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lock = threading.Lock()
        connected.setblocking(False)

    def receive(self) -> bytes:
        """What comes next; nothing at the end."""
        while True:
            with self._lock, suppress(*_NOT_NOW):
                return self._socket.recv(65536)
            select.select([self._socket], [], [], _SECONDS)

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            with self._lock, suppress(*_NOT_NOW):
                rest = rest[self._socket.send(rest) :]
                continue
            select.select([], [self._socket], [], _SECONDS)

    def shut(self) -> None:
        with self._lock, suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _pump(source: _Connection, target: _Connection) -> None:
    with suppress(OSError, ValueError):
        while data := source.receive():
            target.send(data)
    for each in (source, target):
        each.shut()


def _serve(front: Front, client: socket.socket, database_port: int, context: ssl.SSLContext | None) -> None:
    client.settimeout(_SECONDS)
    first = client.recv(8, socket.MSG_WAITALL)
    if first == _SSL_REQUEST:
        if context is None:
            client.sendall(b"N")
            first = client.recv(8, socket.MSG_WAITALL)
        else:
            client.sendall(b"S")
            try:
                client = context.wrap_socket(client, server_side=True)
            except (ssl.SSLError, OSError):
                front.note_version("refused")
                return
            front.note_version(client.version() or "unknown")
            first = b""
    if first:
        front.note_plaintext()
    with client, socket.create_connection(("127.0.0.1", database_port), _SECONDS) as database:
        database.sendall(first)
        ends = _Connection(client), _Connection(database)
        back = threading.Thread(target=_pump, args=ends[::-1], daemon=True)
        back.start()
        _pump(*ends)
        back.join(_SECONDS)


@contextmanager
def tls_front(database_port: int, context: ssl.SSLContext | None) -> Iterator[Front]:
    """Listen on a port of 127.0.0.1; without a context, a server that has no TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        front = Front(listener.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    front.served.append(
                        threading.Thread(target=_serve, args=(front, client, database_port, context), daemon=True)
                    )
                    front.served[-1].start()

        threading.Thread(target=accept, daemon=True).start()
        yield front
        listener.shutdown(socket.SHUT_RDWR)


def server_context(certificate: Path, key: Path, *, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """What a server speaks: TLS 1.2 and newer, up to `newest`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if newest is not None:
        context.maximum_version = newest
    context.load_cert_chain(certificate, key)
    return context
