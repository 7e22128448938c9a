"""A TLS front for the embedded PostgreSQL, which is built without TLS.

It answers PostgreSQL's SSLRequest, shakes hands as a server with a certificate does, and passes the bytes on in both
directions: the handshake is real, and so is the database behind it.

https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.support.tls_relay import SECONDS, listening, pass_on

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)


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
            each.join(SECONDS)
            assert not each.is_alive(), "a client is still connected"


def _serve(front: Front, client: socket.socket, database_port: int, context: ssl.SSLContext | None) -> None:
    client.settimeout(SECONDS)
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
    pass_on(client, database_port, first)


@contextmanager
def tls_front(database_port: int, context: ssl.SSLContext | None) -> Iterator[Front]:
    """Listen on a port of 127.0.0.1; without a context, a server that has no TLS."""
    made: list[Front] = []

    def serve(client: socket.socket) -> None:
        _serve(made[0], client, database_port, context)

    with listening(serve) as (port, served):
        made.append(Front(port, served))
        yield made[0]
