"""Asking somebody outside over HTTP, within a time and a size that are known beforehand.

Here: one POST and its answer. Not here: what is asked and what the answer means.

Whoever answers may be anybody, so that nothing of an answer is followed, and none of it takes longer or more memory
than was allowed: not a name that does not resolve, not headers that come one byte at a time, not a body without end.
Python's own client bounds each wait and not their sum; therefore the socket here knows the moment at which all ends.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.base.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from _typeshed import ReadableBuffer, WriteableBuffer

_T = TypeVar("_T")
_PORTS: Final = {"http": 80, "https": 443}
_AGENT: Final = "compliance-pipelines"
_SHOWN: Final = 200
_LEAST_SECONDS: Final = 0.001


class NoAnswerError(TransientError):
    """Nobody answered in time, or what came is no answer in HTTP, or too large a one."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: of HTTP, 200 to 599; redirects are answers like any other and are not followed.
        content_type: without parameters, in lower case; empty where none is said.
        body: whole.
    """

    status: int
    content_type: str
    body: bytes

    def __str__(self) -> str:
        """The status and the beginning of what was said, for a message; nothing in it steers a terminal."""
        said = printable(" ".join(self.body[:_SHOWN].decode("ascii", "replace").split()), _SHOWN)
        return f"HTTP status {self.status}" + (f" ({said!r})" if said else "")


class Deadline:
    """The moment at which something has to be done.

    Args:
        seconds: from now on, more than 0.
    """

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds

    def left(self) -> float:
        """Seconds until then.

        Raises:
            TimeoutError: it is past.
        """
        left = self._end - monotonic()
        if left < _LEAST_SECONDS:
            raise TimeoutError("the time is over")
        return left


class _Reader(io.RawIOBase):
    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._socket.settimeout(self._deadline.left())
        return self._socket.recv_into(buffer)


class _TimedSocket:
    """As much of a socket as Python's client of HTTP uses, with an end to it."""

    def __init__(self, connected: socket.socket, deadline: Deadline) -> None:
        self._socket = connected
        self._deadline = deadline

    def sendall(self, data: ReadableBuffer) -> None:
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(self._deadline.left())
            rest = rest[self._socket.send(rest) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._socket, self._deadline))

    def close(self) -> None:
        self._socket.close()


def post(  # noqa: PLR0913 - what one request is made of
    url: str, body: bytes, *, content_type: str, deadline: Deadline, most: int, accept: str = "*/*"
) -> Answer:
    """Send one request and read its answer.

    Args:
        url: http or https, with a host; nothing in it is followed elsewhere.
        body: what is sent.
        content_type: of the body.
        deadline: at which the answer must be whole. Only the look-up of the host's name can take longer, see
            :func:`ask_all`.
        most: the bytes that the answer may have.
        accept: the type that is asked for.

    Raises:
        NoAnswerError: there was none, none in time, or one of more bytes.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    headers = {
        "Host": parts.netloc,
        "Content-Type": content_type,
        "Accept": accept,
        "User-Agent": _AGENT,
        "Connection": "close",
    }
    try:
        connected = _connected(host, port, deadline)
        try:
            if parts.scheme == "https":
                connected = _encrypted(connected, host, deadline)
            return _exchange(connected, host, parts.path or "/", body, headers, deadline, most)
        finally:
            connected.close()
    except TimeoutError as error:
        raise NoAnswerError(f"{url} did not answer in time") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = printable(" ".join(str(error).split()), _SHOWN) or type(error).__name__
        raise NoAnswerError(f"{url} cannot be asked: {reason}") from error


def _connected(host: str, port: int, deadline: Deadline) -> socket.socket:
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            made = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        try:
            made.settimeout(deadline.left())
            made.connect(address)
        except OSError as error:
            made.close()
            failure = error
        else:
            return made
    raise failure


def _encrypted(connected: socket.socket, host: str, deadline: Deadline) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The time of a handshake is bounded as a whole by what the socket is given.
    connected.settimeout(deadline.left())
    return context.wrap_socket(connected, server_hostname=host)


def _exchange(  # noqa: PLR0913, PLR0917 - what one request is made of
    connected: socket.socket,
    host: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    deadline: Deadline,
    most: int,
) -> Answer:
    client = http.client.HTTPConnection(host)
    client.sock = _TimedSocket(connected, deadline)
    client.request("POST", path, body, dict(headers))
    with client.getresponse() as response:
        data = response.read(most + 1)
        if len(data) > most:
            raise ValueError(f"its answer has more than {most:,} bytes")
        kind = response.headers.get_content_type() if "content-type" in response.headers else ""
        return Answer(response.status, kind, data)


def ask_all(questions: Mapping[str, Callable[[], _T]], seconds: float) -> dict[str, _T | BaseException]:
    """Ask at once, and wait for no answer longer than a time.

    Args:
        questions: by the name of whom is asked; each is called in a thread of its own, and may be left behind there
            where it does not come to its end, such as the look-up of a name, which nothing can bound.
        seconds: after which nothing is waited for.

    Returns:
        What came back or was raised, by name; NoAnswerError where nothing was in time.
    """
    done: queue.SimpleQueue[tuple[str, _T | BaseException]] = queue.SimpleQueue()

    def ask(name: str, question: Callable[[], _T]) -> None:
        try:
            done.put((name, question()))
        except BaseException as error:  # noqa: BLE001 - it is the answer, and judged where it is read
            done.put((name, error))

    for name, question in questions.items():
        threading.Thread(target=ask, args=(name, question), name=f"asking-{name}", daemon=True).start()
    answers: dict[str, _T | BaseException] = {}
    deadline = Deadline(seconds)
    while len(answers) < len(questions):
        try:
            name, answer = done.get(timeout=deadline.left())
        except (queue.Empty, TimeoutError):
            break
        answers[name] = answer
    missing = questions.keys() - answers.keys()
    return answers | {name: NoAnswerError("there was no answer in time") for name in missing}
