"""Fronts of servers that were built without TLS: the handshake is real, and so is the server behind.

Here: listening, shaking hands, passing bytes on in both directions. Not here: what a protocol says before that.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECONDS: Final = 900
"""How long anything here waits for anybody."""

_NOT_NOW: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


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
            select.select([self._socket], [], [], SECONDS)

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            with self._lock, suppress(*_NOT_NOW):
                rest = rest[self._socket.send(rest) :]
                continue
            select.select([], [self._socket], [], SECONDS)

    def shut(self) -> None:
        with self._lock, suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def _pump(source: _Connection, target: _Connection) -> None:
    with suppress(OSError, ValueError):
        while data := source.receive():
            target.send(data)
    for each in (source, target):
        each.shut()


def pass_on(client: socket.socket, port: int, first: bytes = b"") -> None:
    """Pass bytes on between a client and a port of 127.0.0.1 until one of them ends.

    Args:
        client: is closed in the end.
        port: what is connected to.
        first: bytes that the client has sent before.
    """
    with client, socket.create_connection(("127.0.0.1", port), SECONDS) as server:
        server.sendall(first)
        ends = _Connection(client), _Connection(server)
        back = threading.Thread(target=_pump, args=ends[::-1], daemon=True)
        back.start()
        _pump(*ends)
        back.join(SECONDS)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[threading.Thread]]]:
    """Serve each client in a thread of its own: the port of 127.0.0.1, and the threads so far."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threads.append(threading.Thread(target=serve, args=(client,), daemon=True))
                    threads[-1].start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], threads
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def tls_relay(context: ssl.SSLContext, port: int) -> Iterator[int]:
    """The port of a front that takes the TLS off, of a protocol that begins with the handshake."""

    def serve(client: socket.socket) -> None:
        try:
            outer = context.wrap_socket(client, server_side=True)
        except (ssl.SSLError, OSError):
            return
        pass_on(outer, port)

    with listening(serve) as (front, _):
        yield front


def server_context(
    certificate: Path,
    key: Path,
    *,
    oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    newest: ssl.TLSVersion | None = None,
) -> ssl.SSLContext:
    """What a server speaks: TLS from `oldest` up to `newest`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = oldest
    if newest is not None:
        context.maximum_version = newest
    context.load_cert_chain(certificate, key)
    return context
