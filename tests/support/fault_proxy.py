"""A proxy in front of a service over HTTP that loses, cuts, delays and refuses what a test tells it to.

Here: passing requests on, and the faults. Not here: any expectation. It listens on the loopback alone.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

_UPSTREAM_SECONDS: Final = 60
_JSON: Final = '{"error": {"errors": [{"reason": "%s", "message": "by the proxy"}], "message": "by the proxy"}}'
_XML: Final = "<?xml version='1.0'?><Error><Code>%s</Code><Message>by the proxy</Message></Error>"


class Kind(Enum):
    """What happens to a request."""

    PASSED = auto()  # nothing; it counts, so that the next fault happens to a later one
    REFUSED = auto()  # it is answered with the status and the code, and never passed on
    UNANSWERED = auto()  # it is done, and the connection closed without an answer
    FAILED_AFTERWARDS = auto()  # it is done, and answered with the status and the code
    CUT = auto()  # its answer ends in the middle
    ALTERED = auto()  # one bit of what it answers is another: a disk that rots
    STALLED = auto()  # nothing comes, until the proxy is closed


@dataclass
class Fault:
    """What happens to some requests.

    Attributes:
        kind: what.
        method: of the requests that it happens to.
        containing: a part of their path and query.
        times: to how many of them; then no more.
        status: of the answer where the proxy gives one.
        code: of the same.
    """

    kind: Kind
    method: str
    containing: str = ""
    times: int = 1
    status: int = 503
    code: str = "SlowDown"


@dataclass
class FaultProxy:
    """A running proxy.

    Attributes:
        error: how the service says an error, with a place for the code.
        url: its endpoint.
        faults: what happens to the next requests; the first that fits.
        requests: method and path of all that came.
    """

    upstream_port: int
    error: str
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_of(self, method: str, path: str) -> Fault | None:
        """What is to happen to a request, which counts as one of its times."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times and fault.method == method and fault.containing in path:
                    fault.times -= 1
                    return fault
        return None


def s3_proxy(upstream_port: int) -> AbstractContextManager[FaultProxy]:
    """Run a proxy in front of an S3 service on this machine."""
    return _running(FaultProxy(upstream_port, _XML))


def gcs_proxy(upstream_port: int) -> AbstractContextManager[FaultProxy]:
    """Run a proxy in front of a service on this machine that speaks as Google Cloud Storage does."""
    return _running(FaultProxy(upstream_port, _JSON))


@contextmanager
def _running(proxy: FaultProxy) -> Iterator[FaultProxy]:

    class Handler(_Handler):
        owner = proxy

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.closed.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.owner.fault_of(self.command, self.path)
        if fault is not None and fault.kind is Kind.STALLED:
            self.owner.closed.wait(_UPSTREAM_SECONDS)
            self.close_connection = True
        elif fault is not None and fault.kind is Kind.REFUSED:
            self._refuse(fault)
        else:
            self._done(body, fault)

    def _done(self, body: bytes, fault: Fault | None) -> None:
        connection = HTTPConnection("127.0.0.1", self.owner.upstream_port, timeout=_UPSTREAM_SECONDS)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            data = response.read()
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP]
        finally:
            connection.close()
        if fault is None or fault.kind is Kind.PASSED:
            self._answer(response.status, headers, data, response.getheader("Content-Length"))
        elif fault.kind is Kind.FAILED_AFTERWARDS:
            self._refuse(fault)
        elif fault.kind is Kind.ALTERED:
            middle = len(data) // 2
            self._answer(response.status, headers, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        elif fault.kind is Kind.CUT:
            self._answer(response.status, headers, data[: len(data) // 2], str(len(data)))
            self.close_connection = True
        else:
            self.close_connection = True

    def _refuse(self, fault: Fault) -> None:
        kind = "application/json" if self.owner.error == _JSON else "application/xml"
        self._answer(fault.status, [("Content-Type", kind)], (self.owner.error % fault.code).encode())

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: str | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = _pass  # noqa: N815 - the names that the server looks for


_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding"})
